// From `app.ts` or `app.ts#Name` to the App class in it. Everything that can be wrong with such a file is said in one sentence,
// with file and line. Knows no Python: the class is read, never set up.
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type AppClass, describeApp, isAppClass } from "../app/app.ts";
import { FlambeauError, toError } from "../errors.ts";
import { importFailure, placeInStack } from "./load-failure.ts";
import { installLoadHooks } from "./load-hooks.ts";
import { nearest } from "./nearest.ts";

export interface LoadedApp {
  readonly app: AppClass;
  /** Absolute. */
  readonly file: string;
  /** The class's name, or that of its export where the class has none. */
  readonly name: string;
}

const EXTENSIONS = /\.(?:[cm]?[jt]s|[jt]sx)$/;

/**
 * Loads the file and picks the App class: the one named after `#`, or the only one that no other exported class extends.
 * Runs what the file does when imported.
 * @throws FlambeauError APP_INVALID, naming the file, the line where there is one, and what to write instead
 */
export async function loadApp(spec: string, { cwd }: { cwd: string }): Promise<LoadedApp> {
  // A file may have the sign in its name.
  const isWhole = (await stat(resolve(cwd, spec)).catch(() => null))?.isFile() === true;
  const at = isWhole ? -1 : spec.lastIndexOf("#");
  const [path, wanted] = at > 0 ? [spec.slice(0, at), spec.slice(at + 1)] : [spec, ""];
  const file = resolve(cwd, path);
  await requireFile(file, cwd);
  const shown = shownPath(file, cwd);
  const exported = await imported(file, cwd);
  const { name, app } = chosen(appsIn(exported), { shown, wanted, exported: Object.keys(exported) });
  requireDescribable(app, { shown, name, cwd });
  return { app, file, name };
}

async function requireFile(file: string, cwd: string): Promise<void> {
  const found = await stat(file).catch(() => null);
  const shown = shownPath(file, cwd);
  if (found?.isFile()) {
    if (EXTENSIONS.test(file)) return;
    throw invalid(`${shown} is not TypeScript or JavaScript; name the file that exports the App, as in app.ts`);
  }
  if (found?.isDirectory()) {
    const files = (await readdir(file)).filter((name) => EXTENSIONS.test(name));
    throw invalid(
      `${shown} is a folder; name the file in it that exports the App${listed(files.map((name) => join(shown, name)))}`,
    );
  }
  const folder = dirname(file);
  const present = await readdir(folder).catch(() => null);
  if (present === null) throw invalid(`${shown} does not exist, and neither does the folder ${shownPath(folder, cwd)}`);
  const near =
    nearest(basename(file), present) ??
    present.find((name) => name.replace(EXTENSIONS, "") === basename(file).replace(EXTENSIONS, ""));
  const files = present.filter((name) => EXTENSIONS.test(name) && !name.endsWith(".d.ts"));
  const advice = near
    ? `; did you mean ${shownPath(join(folder, near), cwd)}?`
    : listed(files.map((name) => shownPath(join(folder, name), cwd)));
  throw invalid(`${shown} does not exist${advice}`);
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "" : `; there is ${names.slice(0, 6).join(", ")}${names.length > 6 ? ", …" : ""}`;
}

async function imported(file: string, cwd: string): Promise<Readonly<Record<string, unknown>>> {
  await installLoadHooks();
  try {
    const module: unknown = await import(pathToFileURL(file).href);
    return { ...(module as object) };
  } catch (thrown) {
    // What the package itself throws on purpose already says what to do: MODEL_UNREACHABLE, SETTINGS_INVALID.
    if (thrown instanceof FlambeauError) throw thrown;
    throw invalid(await importFailure(toError(thrown), { file, cwd }), thrown);
  }
}

interface Candidate {
  readonly name: string;
  readonly app: AppClass;
}

/** Every exported App once, under its first name; `default` gives way to a class's own name. */
function appsIn(exported: Readonly<Record<string, unknown>>): readonly Candidate[] {
  const byApp = new Map<AppClass, string>();
  for (const [key, value] of Object.entries(exported)) {
    if (!isAppClass(value)) continue;
    const name = key === "default" ? value.name || key : key;
    if (!byApp.has(value) || key !== "default") byApp.set(value, name);
  }
  return [...byApp].map(([app, name]) => ({ name, app }));
}

function chosen(
  apps: readonly Candidate[],
  about: { shown: string; wanted: string; exported: readonly string[] },
): Candidate {
  const { shown, wanted, exported } = about;
  if (apps.length === 0) {
    const what = exported.length === 0 ? "exports nothing" : `exports ${exported.join(", ")}`;
    throw invalid(`${shown} has no exported App: it ${what}; write \`export class MyApp extends App { … }\``);
  }
  if (wanted !== "") {
    const named = apps.find(({ name, app }) => name === wanted || app.name === wanted);
    if (named) return named;
    const near = nearest(
      wanted,
      apps.map(({ name }) => name),
    );
    const advice =
      near === null ? `its Apps are ${apps.map(({ name }) => name).join(", ")}` : `did you mean ${shown}#${near}?`;
    throw invalid(`${shown} exports no App named ${wanted}; ${advice}`);
  }
  // A class that another exported one extends is that one's base, and not what is meant to run.
  const leaves = apps.filter(({ app }) => !apps.some((other) => Object.prototype.isPrototypeOf.call(app, other.app)));
  const [only] = leaves;
  if (only !== undefined && leaves.length === 1) return only;
  throw invalid(
    `${shown} exports ${leaves.length} Apps; name one: ${leaves.map(({ name }) => `${shown}#${name}`).join(" or ")}`,
  );
}

/** Makes an instance, as the host will: no endpoints, two under one path, or a field that fails is better known now. */
function requireDescribable(app: AppClass, about: { shown: string; name: string; cwd: string }): void {
  try {
    describeApp(app);
  } catch (thrown) {
    const error = toError(thrown);
    if (thrown instanceof FlambeauError) {
      throw thrown.code === "APP_INVALID" ? invalid(`${about.shown}: ${error.message}`, thrown) : thrown;
    }
    const place = placeInStack(error, about.cwd) ?? about.shown;
    throw invalid(`${place}: new ${about.name}() failed: ${error.name}: ${error.message}`, thrown);
  }
}

function shownPath(file: string, cwd: string): string {
  const short = relative(cwd, file);
  return short === "" || short.startsWith("..") ? file : short;
}

function invalid(message: string, cause?: unknown): FlambeauError {
  return new FlambeauError("APP_INVALID", message, cause === undefined ? {} : { cause });
}
