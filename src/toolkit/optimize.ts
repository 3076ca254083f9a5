// optimize(): one call in setup() that makes a torch module faster, in place. The work is python/flambeau/optimize; this sends it
// there in order with the other calls and says what came of it.
import { z } from "zod";
import type { Stubs } from "../bridge/stub.ts";
import type { PyExpr, PyLike } from "../bridge/stub-types.ts";
import { recipeOf } from "../bridge/values.ts";
import { FlambeauError } from "../errors.ts";

export interface OptimizeOptions {
  /** How far results may move, as relative L2 on the inputs of the warm-up: lossless 1e-3 (1e-2 of 16-bit results), balanced 5e-2 (default), fast 1e-1. */
  readonly quality?: "lossless" | "balanced" | "fast";
}

const Report = z.object({
  state: z.string(),
  applied: z.array(z.string()),
  skipped: z.array(z.object({ what: z.string(), why: z.string() })),
  seconds: z.number(),
  speedUp: z.number().nullable(),
  relativeError: z.number().nullable(),
  bytes: z.number(),
});
/** What was done to a module, what was not and why. */
export type OptimizeReport = z.output<typeof Report>;

/**
 * Patches the module in place; the same object comes back. Measuring takes place during the first real calls (the warm-up).
 * Never fails the app: what cannot be made faster stays as it is, and the report says why.
 */
function optimizeModule<T extends PyLike>(module: T, options: OptimizeOptions = {}): T {
  const kwargs = options.quality === undefined ? {} : { quality: options.quality };
  // The result is the same Python object, so it keeps the type of what was passed.
  return toolkit(module, "optimize").$call([module], kwargs) as unknown as T;
}

export const optimize = Object.assign(optimizeModule, {
  /** What came of it so far; `state` is "waiting" until the module has run. */
  async report(module: PyLike): Promise<OptimizeReport> {
    return toolkit(module, "report").$call([module]).$value(Report);
  },
});

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
