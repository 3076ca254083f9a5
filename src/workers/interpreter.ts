// Finds Python interpreters and asks each what it is. Knows no requirements and installs nothing.
// Answers are kept by path, size, time and inode, so that a second start runs no process.
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { z } from "zod";
import { limits } from "../config.ts";
import { inheritedEnvironment } from "./inherited.ts";
import { PROBE } from "./python-scripts.ts";
import { allOnPath, findOnPath, isExecutable, runTool } from "./tool.ts";

const Interpreter = z.object({
  executable: z.string().min(1),
  /** The interpreter that a virtual environment was made from; itself elsewhere. */
  base: z.string().min(1),
  prefix: z.string(),
  version: z.string().min(1),
  implementation: z.string(),
  abi: z.string(),
  bits: z.number(),
  platform: z.string(),
  /** Whether venv and pip (or ensurepip, which brings it) are there; Debian packages them separately. */
  canInstall: z.boolean(),
  markers: z.record(z.string(), z.string()),
});
/** What an interpreter says of itself. */
export type Interpreter = z.output<typeof Interpreter>;

/** An interpreter, or why there is none behind this path. */
export type Probe =
  | { readonly interpreter: Interpreter; readonly why?: undefined }
  | { readonly interpreter?: undefined; readonly why: string };

export interface Candidate {
  readonly path: string;
  /** What pointed to it, e.g. `VIRTUAL_ENV`. */
  readonly from: string;
}

export interface Search {
  readonly cacheDir: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly signal?: AbortSignal | undefined;
}

/** Versions that torch has wheels for first; `python3` and `python` may be anything. */
const COMMANDS = ["python3.12", "python3.11", "python3.10", "python3", "python", "python3.13", "python3.14"];
/** Files by which version switchers decide what their `shims/python3` runs. */
const SWITCHES = [".python-version", ".tool-versions", "mise.toml", ".mise.toml"];
const CACHE_FILE = "interpreters.json";

/** Where an interpreter may be, best first: the active environment, then `.venv` upwards, conda, and PATH. */
export function candidates({ environment, cwd }: Search): readonly Candidate[] {
  const found: Candidate[] = [];
  const inFolder = (folder: string | undefined, from: string): void => {
    const path = folder ? join(folder, "bin", "python") : "";
    if (path !== "" && isExecutable(path)) found.push({ path, from });
  };
  inFolder(environment["VIRTUAL_ENV"], "VIRTUAL_ENV");
  for (const folder of upwards(cwd)) inFolder(join(folder, ".venv"), `.venv in ${folder}`);
  inFolder(environment["CONDA_PREFIX"], "CONDA_PREFIX");
  for (const command of COMMANDS) {
    for (const path of allOnPath(command, environment["PATH"])) found.push({ path, from: "PATH" });
  }
  return found;
}

/** The file that a `python` setting means: a path, a virtual environment's folder, or a command on PATH. */
export function resolvePython(python: string, { environment, cwd }: Search): string | null {
  const isCommand = !isAbsolute(python) && !python.includes("/");
  const onPath = isCommand ? findOnPath(python, environment["PATH"]) : null;
  if (onPath !== null) return onPath;
  const path = resolve(cwd, python);
  const inside = join(path, "bin", "python");
  return isExecutable(path) ? path : isExecutable(inside) ? inside : null;
}

/** Asks one file what Python it is, at most once for each state of that file. */
export async function probe(path: string, search: Search): Promise<Probe> {
  const signature = signatureOf(path, search);
  const cached = signature === null ? undefined : (await readCache(search.cacheDir))[path];
  if (cached !== undefined && cached.signature === signature) {
    if (cached.interpreter === null) return { why: cached.why };
    if (isExecutable(cached.interpreter.executable)) return { interpreter: cached.interpreter };
  }
  const answer = await ask(path, search);
  // A binary that failed may be repaired beside it (a library, a package); a shim's refusal is in what it reads.
  const isFinal = answer.interpreter === undefined ? signature?.startsWith("shim") : answer.interpreter.canInstall;
  if (signature !== null && isFinal === true) {
    const entry = { signature, interpreter: answer.interpreter ?? null, why: answer.why ?? "" };
    await writeCache(search.cacheDir, { ...(await readCache(search.cacheDir)), [path]: entry });
  }
  return answer;
}

/** What keeps an interpreter from being used, in words; null if nothing does. */
export function problemOf({ implementation, version, bits }: Interpreter): string | null {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (implementation !== "CPython") return `is ${implementation} ${version}`;
  if (major !== 3 || minor < 10) return `is Python ${version}`;
  if (bits !== 64) return `is a ${bits}-bit Python`;
  return null;
}

/** What `problemOf` asks for, as errors say it. */
export const NEEDED_PYTHON = "CPython 3.10 or newer, 64-bit";

async function ask(path: string, { environment, signal }: Search): Promise<Probe> {
  const run = await runTool({
    file: path,
    args: ["-I", "-c", PROBE],
    env: inheritedEnvironment(environment, ["PYENV_ROOT", "PYENV_VERSION"]),
    cwd: "/",
    signal,
    timeoutMs: limits.pythonProbeTimeoutMs,
  });
  if (run.timedOut) return { why: `did not answer in ${limits.pythonProbeTimeoutMs / 1000} s` };
  const line = run.stdout.split("\n").findLast((text) => text.startsWith("{")) ?? "";
  const parsed = Interpreter.safeParse(parseJson(line));
  if (parsed.success) return { interpreter: parsed.data };
  const said = run.output.split("\n").find((text) => text.trim() !== "") ?? "nothing";
  const status = run.exitCode === null ? "" : ` and ended with status ${run.exitCode}`;
  return { why: `does not answer as Python does: it said "${said.trim().slice(0, 200)}"${status}` };
}

/** What of a file must be unchanged for an earlier answer to hold; null where that cannot be told. */
function signatureOf(path: string, { environment, cwd }: Search): string | null {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return null;
  const own = stamp(path);
  if (!isScript(path)) return `file ${own}`;
  if (!path.includes("/shims/")) return null;
  const home = environment["HOME"] ?? "/";
  const decisive = [
    ...upwards(cwd).flatMap((folder) => SWITCHES.map((name) => join(folder, name))),
    join(environment["PYENV_ROOT"] ?? join(home, ".pyenv"), "version"),
    join(home, ".tool-versions"),
    join(home, ".config", "mise", "config.toml"),
  ];
  return ["shim", own, environment["PYENV_VERSION"] ?? "", ...decisive.map(stamp)].join(" ");
}

function stamp(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? "-" : `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeMs}`;
}

function isScript(path: string): boolean {
  try {
    const file = openSync(path, "r");
    const start = Buffer.alloc(2);
    readSync(file, start, 0, 2, 0);
    closeSync(file);
    return start.toString("latin1") === "#!";
  } catch {
    return true;
  }
}

function upwards(folder: string): readonly string[] {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...upwards(parent)];
}

const Cache = z.record(
  z.string(),
  z.object({ signature: z.string(), interpreter: Interpreter.nullable(), why: z.string() }),
);
type Cache = z.output<typeof Cache>;

async function readCache(cacheDir: string): Promise<Cache> {
  const text = await readFile(join(cacheDir, CACHE_FILE), "utf8").catch(() => "{}");
  const parsed = Cache.safeParse(parseJson(text));
  return parsed.success ? parsed.data : {};
}

/** A cache that cannot be written costs time and nothing else. */
async function writeCache(cacheDir: string, cache: Cache): Promise<void> {
  const aside = join(cacheDir, `${CACHE_FILE}.${process.pid}`);
  try {
    await mkdir(cacheDir, { recursive: true, mode: 0o700 });
    await writeFile(aside, JSON.stringify(cache), { mode: 0o600 });
    await rename(aside, join(cacheDir, CACHE_FILE));
  } catch {
    // Asked again next time.
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
