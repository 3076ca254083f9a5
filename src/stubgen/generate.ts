// Asks Python for the declarations of some modules. The reading and writing is python/flambeau/stubgen, in the app's own environment.
import { z } from "zod";
import type { Python } from "../bridge/stub-types.ts";
import { FlambeauError, PyError } from "../errors.ts";

export interface TypesRequest {
  /** As in `py.import`: `torch`, `torch.nn.functional`. */
  readonly modules: readonly string[];
  /** The words of the app's sources; a public class is written if it is among them. Null: every public class. */
  readonly words: readonly string[] | null;
}

export interface TypesOptions {
  readonly signal?: AbortSignal;
  /** What is going on, and how many classes have been read. */
  onProgress?(what: string, classes: number): void;
}

const Files = z.record(z.string().regex(/^\w+\.d\.ts$/), z.string());

/**
 * Imports the modules in Python and describes them. Their import may take as long as it does in an app.
 * @returns file name → text, one for each top-level module that was asked for or is referred to
 * @throws FlambeauError SETTINGS_INVALID (no such module), ENV_BROKEN (it cannot be imported), CANCELLED, WORKER_EXITED; PyError
 */
export async function generateTypes(
  py: Python,
  request: TypesRequest,
  { signal, onProgress }: TypesOptions = {},
): Promise<Readonly<Record<string, string>>> {
  const describe = py.import("flambeau.stubgen.service").$get("describe");
  const bounded = signal === undefined ? describe : describe.$opts({ signal });
  const report = (what: string, classes: number): void => onProgress?.(what, classes);
  try {
    return await bounded.$call([[...request.modules], request.words && [...request.words], report]).$value(Files);
  } catch (thrown) {
    throw inOurWords(thrown);
  }
}

function inOurWords(thrown: unknown): unknown {
  if (!(thrown instanceof PyError)) return thrown;
  const said = thrown.message.slice(thrown.message.indexOf(": ") + 2);
  if (thrown.is("ModuleMissingError")) return new FlambeauError("SETTINGS_INVALID", said);
  if (thrown.is("ModuleUnusableError")) return new FlambeauError("ENV_BROKEN", said, { cause: thrown });
  return thrown;
}
