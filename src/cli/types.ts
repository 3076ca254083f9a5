// `flambeau types [names…]`: what the app imports from Python as declarations beside it. Given the loader and the Python, so that
// a test needs no environment.
import { readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { App, AppClass } from "../app/app.ts";
import { FlambeauError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { readHeaders, TYPES_FOLDER, writeFolder } from "../stubgen/folder.ts";
import { generateTypes } from "../stubgen/generate.ts";
import { type SourceNames, scanSources, sourcesIn } from "../stubgen/sources.ts";
import { counted, secondsText } from "./words.ts";

export interface TypesFlags {
  /** The app whose environment is used; found in the folder where it is left out. */
  readonly app?: string;
  /** Every public class and not only those that the app names. */
  readonly all?: boolean;
}

/** An app's file and class; null: only the interpreter of the settings. */
export type TypesApp = { readonly app: AppClass; readonly file: string } | null;

export interface TypesParts {
  readonly logger: Logger;
  readonly cwd: string;
  readonly hasPython: boolean;
  readonly print: (text: string) => void;
  readonly nowMs: () => number;
  readonly loadApp: (spec: string) => Promise<Exclude<TypesApp, null>>;
  /** A running Python that has what the app requires. */
  readonly openPython: (
    app: TypesApp,
    options: { signal: AbortSignal },
  ) => Promise<{ readonly py: App["py"] } & AsyncDisposable>;
}

/**
 * Writes `flambeau-types/` beside the app. Names are modules, or `module.Class` for a class that the app does not use yet; those of
 * earlier runs count as well. Without any, what the app's sources import.
 * @throws FlambeauError APP_INVALID (no app, or several), SETTINGS_INVALID (no such module, nothing to do), ENV_BROKEN (a module that
 *   cannot be imported), and any code of an environment
 */
export async function types(
  names: readonly string[],
  flags: TypesFlags,
  parts: TypesParts,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const spec = flags.app ?? (await appFor(names, parts));
  const loaded = spec === null ? null : await parts.loadApp(spec);
  const place = loaded === null ? parts.cwd : dirname(loaded.file);
  const folder = join(place, TYPES_FOLDER);
  const sources = await scanSources(place);
  const before = await readHeaders(folder);
  const modules = asked(
    names,
    sources,
    before.flatMap((header) => header.asked),
  );
  const words = flags.all === true ? null : sources.words;

  const started = parts.nowMs();
  await using python = await parts.openPython(loaded, { signal });
  const files = await withProgress(parts.logger, (onProgress) =>
    generateTypes(python.py, { modules, words }, { signal, onProgress }),
  );
  const { written, removed } = await writeFolder(folder, files);
  for (const line of changes(before, await readHeaders(folder))) parts.print(line);
  const where = relative(parts.cwd, folder) || folder;
  const seconds = secondsText((parts.nowMs() - started) / 1000);
  parts.print(`${where}: ${modules.join(", ")}; ${happened(files, written, removed)} in ${seconds}`);
}

function asked(names: readonly string[], sources: SourceNames, earlier: readonly string[]): readonly string[] {
  const all = new Set([...(names.length > 0 ? names : sources.modules), ...earlier]);
  if (all.size > 0) return [...all].sort();
  throw new FlambeauError(
    "SETTINGS_INVALID",
    'no module is named, and no source here has py.import("…") with a literal name; name some, as in `flambeau types torch diffusers`',
  );
}

/** The one app of this folder, or the one that imports most of what is named. Null where a Python is set and there is no app. */
async function appFor(names: readonly string[], { cwd, hasPython }: TypesParts): Promise<string | null> {
  const apps: { readonly file: string; readonly uses: number }[] = [];
  for (const file of await sourcesIn(cwd)) {
    const text = await readFile(file, "utf8");
    if (!/\bextends\s+App\b/.test(text) || !/["']flambeau["']/.test(text)) continue;
    const words = new Set(text.match(/\w+/g));
    apps.push({ file, uses: names.filter((name) => words.has(name.split(".")[0] ?? name)).length });
  }
  const most = Math.max(...apps.map(({ uses }) => uses));
  const best = apps.filter(({ uses }) => uses === most);
  if (best[0] !== undefined && best.length === 1) return best[0].file;
  if (best.length === 0 && hasPython) return null;
  const listed = best.map(({ file }) => relative(cwd, file)).join(", ");
  throw new FlambeauError(
    "APP_INVALID",
    best.length === 0
      ? "no app here whose environment could be read: name one, as in `flambeau types --app src/app.ts`, or set FLAMBEAU_PYTHON"
      : `several apps are here (${listed}): name the one whose environment is read, as in \`flambeau types --app ${listed.split(", ")[0]}\``,
  );
}

async function withProgress<R>(
  logger: Logger,
  body: (onProgress: (what: string, classes: number) => void) => Promise<R>,
): Promise<R> {
  let last = { label: "reading Python", done: 0 };
  const tell = (finished: boolean): void =>
    logger.wait({ id: "types", ...last, total: null, unit: "items", ...(finished && { finished }) });
  try {
    return await body((label, done) => {
      last = { label, done };
      tell(false);
    });
  } finally {
    tell(true);
  }
}

function changes(
  before: Awaited<ReturnType<typeof readHeaders>>,
  after: Awaited<ReturnType<typeof readHeaders>>,
): readonly string[] {
  return after.flatMap(({ file, distribution, version }) => {
    const old = before.find((header) => header.file === file)?.version ?? version;
    return old === version ? [] : [`${distribution} was ${old} and is ${version}`];
  });
}

function happened(
  files: Readonly<Record<string, string>>,
  written: readonly string[],
  removed: readonly string[],
): string {
  const count = Object.keys(files).length;
  const parts = [
    written.length === 0 ? "nothing has changed" : `${written.length} of ${counted(count, "file")} written`,
  ];
  if (removed.length > 0) parts.push(`${removed.length} removed`);
  return parts.join(", ");
}
