// optimize(): one call in setup() that makes a torch module faster, in place. The work is python/flambeau/optimize; this sends it
// there in order with the other calls and says what came of it.
import { z } from "zod";
import type { Stubs } from "../bridge/stub.ts";
import type { PyExpr, PyLike } from "../bridge/stub-types.ts";
import { type Recipe, recipeOf } from "../bridge/values.ts";
import { FlambeauError } from "../errors.ts";

export interface OptimizeOptions {
  /** How far results may move, as relative L2 on the inputs of the warm-up: lossless 1e-3 (1e-2 of 16-bit results), balanced 5e-2 (default), fast 1e-1. */
  readonly quality?: "lossless" | "balanced" | "fast";
  /** Seconds that measuring may take in all; by default 30, and more where the warm-up itself is longer. */
  readonly budgetS?: number;
  /** Where plans and compiled packages are kept for the next process: a folder, or false for nowhere. By default in the user's cache. */
  readonly store?: string | false;
  /**
   * When packages are compiled: "background" in a child process of low priority, "now" while a call waits, "never". By default in the
   * background under `flambeau serve`, never under `flambeau run`.
   */
  readonly builds?: "background" | "now" | "never";
  /** What its lines and progress call it; by default as it was written, such as `unet` of `this.pipeline.unet`. */
  readonly name?: string;
}

const Report = z.object({
  /** "waiting" until the module has run, then "measuring", then "done" or "unchanged". */
  state: z.enum(["waiting", "measuring", "done", "unchanged", "restored"]),
  applied: z.array(z.string()),
  /** `speedUp` of what was timed and not taken: below 1 it was slower. */
  skipped: z.array(z.object({ what: z.string(), why: z.string(), speedUp: z.number().nullable() })),
  /** Spent on recording and measuring. */
  seconds: z.number(),
  /** Over eager, on the inputs of the warm-up; null until something was applied. */
  speedUp: z.number().nullable(),
  /** Relative L2, the worst of the warm-up's inputs. */
  relativeError: z.number().nullable(),
  cosine: z.number().nullable(),
  /** Memory held beside the module's own. */
  bytes: z.number(),
  moduleBytes: z.number(),
  /** Calls that ran the module as it came, and why. */
  eagerCalls: z.array(z.object({ why: z.string(), count: z.int() })),
  /** Layers that were prepared again because their weights had changed. */
  repacked: z.int(),
  /** Of what computes in 8 bits: in how many of the layers that it could be for, and why not in the others, of which some are named. */
  extents: z.array(
    z.object({
      what: z.string(),
      count: z.int(),
      of: z.int(),
      leftOut: z.array(z.object({ why: z.string(), count: z.int(), layers: z.array(z.string()) })),
    }),
  ),
  /** Where the time of one fast call goes, the largest share first; empty until there was one. */
  breakdown: z.array(z.object({ what: z.string(), seconds: z.number() })),
});
/** What was done to a module, what was not and why. */
export type OptimizeReport = z.output<typeof Report>;

/**
 * Patches the module in place; the same object comes back, at once: nothing is awaited. Measuring takes place during the first real calls
 * (the warm-up). Never fails the app: what cannot be made faster stays as it is, and the report says why.
 * @throws FlambeauError NOT_SENDABLE for what does not come from Python
 */
function optimizeModule<T extends PyLike>(module: T, options: OptimizeOptions = {}): T {
  const { budgetS, name = nameOf(recipeOf(module)), ...rest } = options;
  const given = { ...rest, budget_s: budgetS, name };
  const kwargs = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  // The result is the same Python object, so it keeps the type of what was passed.
  return toolkit(module, "optimize").$call([module], kwargs) as unknown as T;
}

export const optimize = Object.assign(optimizeModule, {
  /**
   * What came of it so far; of a module that was never given to `optimize`, a report that says so. A request's cancel stops the question.
   * @throws FlambeauError NOT_SENDABLE for what does not come from Python; WORKER_EXITED; CANCELLED
   */
  async report(module: PyLike): Promise<OptimizeReport> {
    return toolkit(module, "report").$call([module]).$value(Report);
  },
});

/** The attribute that a module was read from. */
function nameOf(recipe: Recipe | undefined): string | undefined {
  const last = recipe?.kind === "path" ? recipe.steps.at(-1) : undefined;
  return typeof last === "string" ? last : undefined;
}

function toolkit(module: PyLike, name: string): PyExpr {
  const recipe = recipeOf(module);
  if (recipe === undefined) {
    throw new FlambeauError(
      "NOT_SENDABLE",
      "optimize: expected a torch module from Python, such as this.pipeline.unet",
    );
  }
  const { stubs } = recipe.owner as { readonly stubs: Stubs };
  return stubs.expression({
    kind: "path",
    owner: recipe.owner,
    base: { kind: "module", owner: recipe.owner, name: "flambeau.toolkit" },
    steps: [name],
  }) as PyExpr;
}
