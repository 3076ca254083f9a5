// Runs one short-lived command (an interpreter probe, an installer) in a process group of its own, line by line.
// Knows nothing of Python. The worker process itself is started elsewhere.
import { statSync } from "node:fs";
import { basename, delimiter, join } from "node:path";
import { limits } from "../config.ts";
import { cancelled } from "../errors.ts";

export interface ToolRun {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly signal?: AbortSignal | undefined;
  /** No limit by default: an installation may take as long as the network needs. */
  readonly timeoutMs?: number;
  /** Every line of both outputs, ends cut. */
  readonly onLine?: ((line: string) => void) | undefined;
  /** Called with the id of the process group once it runs, and when it is gone. */
  readonly guard?: { started(group: number): void; ended(group: number): void };
}

export interface ToolResult {
  /** Null when it could not be started or was killed. */
  readonly exitCode: number | null;
  readonly timedOut: boolean;
  readonly stdout: string;
  /** Both outputs, in the order of arrival, the last `limits.installOutputBytes` of them. */
  readonly output: string;
}

/**
 * Runs to the end and never throws for a failing command. Its whole process group is killed on cancel and time-out.
 * @throws FlambeauError CANCELLED
 */
export async function runTool(run: ToolRun): Promise<ToolResult> {
  const { execa } = await import("execa");
  if (run.signal?.aborted) throw cancelled(run.signal.reason, `running ${basename(run.file)}`);
  const child = execa(run.file, run.args, {
    cwd: run.cwd,
    env: run.env,
    extendEnv: false,
    stdin: "ignore",
    buffer: false,
    reject: false,
    detached: true,
    cleanup: false,
  });
  const kill = (): void => killGroup(child.pid);
  let timedOut = false;
  const timer = setTimeout(
    () => {
      timedOut = true;
      kill();
    },
    Math.min(run.timeoutMs ?? 2 ** 31 - 1, 2 ** 31 - 1),
  );
  run.signal?.addEventListener("abort", kill, { once: true });
  if (child.pid !== undefined) run.guard?.started(child.pid);
  const all = new Tail();
  const stdout = new Tail();
  readLines(child.stdout, (line) => {
    stdout.add(line);
    all.add(line);
    run.onLine?.(line);
  });
  readLines(child.stderr, (line) => {
    all.add(line);
    run.onLine?.(line);
  });
  const result = await child.finally(() => {
    clearTimeout(timer);
    run.signal?.removeEventListener("abort", kill);
    if (child.pid !== undefined) run.guard?.ended(child.pid);
  });
  if (run.signal?.aborted) throw cancelled(run.signal.reason, `running ${basename(run.file)}`);
  if (child.pid === undefined) all.add(result.message ?? "it could not be started");
  return { exitCode: result.exitCode ?? null, timedOut, stdout: stdout.text, output: all.text };
}

/** The absolute path of a command on PATH, or null. */
export function findOnPath(command: string, path: string | undefined): string | null {
  return allOnPath(command, path)[0] ?? null;
}

/** Every file of this name on PATH, in order. */
export function allOnPath(command: string, path: string | undefined): readonly string[] {
  const folders = (path ?? "").split(delimiter).filter((folder) => folder.startsWith("/"));
  return [...new Set(folders)].map((folder) => join(folder, command)).filter(isExecutable);
}

export function isExecutable(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats?.isFile() === true && (stats.mode & 0o111) !== 0;
}

function killGroup(group: number | undefined): void {
  if (group === undefined) return;
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // It has ended already.
  }
}

/** Splits at line feeds and carriage returns (progress bars); a line without end is cut at `limits.logLineBytes`. */
function readLines(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const lines = (rest + chunk).split(/[\r\n]+/);
    rest = (lines.pop() ?? "").slice(-limits.logLineBytes);
    for (const line of lines) if (line !== "") onLine(line);
  });
  stream.on("end", () => {
    if (rest !== "") onLine(rest);
  });
}

/** The last lines of an output, within a bound. */
class Tail {
  #lines: string[] = [];
  #bytes = 0;

  add(line: string): void {
    this.#lines.push(line);
    this.#bytes += line.length + 1;
    if (this.#bytes <= limits.installOutputBytes) return;
    this.#lines = this.#lines.slice(Math.ceil(this.#lines.length / 2));
    this.#bytes = this.#lines.reduce((sum, kept) => sum + kept.length + 1, 0);
  }

  get text(): string {
    return this.#lines.join("\n");
  }
}
