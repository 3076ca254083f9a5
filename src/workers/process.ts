// One Python process: started in a group of its own, with the channel on fd 3, its output drained, and no way to outlive the host:
// the kernel kills it with its parent (python/flambeau/__main__.py), a reaper kills what it had started.
// Knows the channel's stream and not what travels on it.
import { type ChildProcess, spawn } from "node:child_process";
import type { Duplex, Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { FlambeauError } from "../errors.ts";
import { type LineLimits, Lines } from "./lines.ts";
import { requirePlatform } from "./platform.ts";

export interface ProcessLimits extends LineLimits {
  /** How long what it said last may take to arrive after the process itself is gone. */
  readonly outputTailMs: number;
  /** How long the host still stays when nothing is open any more. */
  readonly idleHoldMs: number;
}

export interface ProcessOptions {
  /** Absolute path of the interpreter. */
  readonly python: string;
  /** The whole environment of the process. */
  readonly environment: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly limits: ProcessLimits;
  /** This one, unless a test says otherwise. */
  readonly platform?: NodeJS.Platform;
  onLine(source: "stdout" | "stderr", line: string): void;
}

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderrTail: readonly string[];
}

/** Ends its group as soon as the host is gone: the write end of its stdin closes with the host, however that dies. */
const REAPER = 'read -r word || kill -s KILL -- "-$1"';
/** The interpreter is not to blame, and later it may start. */
const EXHAUSTED: ReadonlySet<string> = new Set(["EMFILE", "ENFILE", "ENOMEM", "EAGAIN"]);
const BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from flambeau.__main__ import main; main()";

export class PythonProcess implements AsyncDisposable {
  readonly pid: number;
  /** fd 3. */
  readonly stream: Duplex;
  /** Never rejects. */
  readonly exited: Promise<ProcessExit>;
  readonly #child: ChildProcess;
  readonly #reaper: ChildProcess;
  readonly #idleHoldMs: number;
  #exit: ProcessExit | undefined;
  #isWanted = true;
  #isHeld = true;
  #letGo: NodeJS.Timeout | undefined;

  private constructor(child: ChildProcess & { readonly pid: number }, options: ProcessOptions) {
    this.#child = child;
    this.pid = child.pid;
    this.#idleHoldMs = options.limits.idleHoldMs;
    const [, stdout, stderr, channel] = child.stdio;
    this.stream = channel as Duplex;
    const out = new Lines(stdout as Readable, options.limits, (line) => options.onLine("stdout", line));
    const err = new Lines(stderr as Readable, options.limits, (line) => options.onLine("stderr", line));
    this.#reaper = spawn("/bin/sh", ["-c", REAPER, "flambeau-reaper", String(child.pid)], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
      env: {},
    });
    this.#reaper.on("error", () => {});
    this.#reaper.stdin?.on("error", () => {});
    this.#reaper.unref();
    // `exit` and not the end of the streams: a forked grandchild can hold those open long after the process is gone.
    this.exited = new Promise((resolve) => {
      child.once("exit", (code, signal) => {
        this.#killGroup("SIGKILL");
        this.#reaper.stdin?.end("done\n");
        // Answers that it gave before its end may still be on their way as well.
        const said = [out.ended, err.ended, closed(this.stream)];
        void settled(said, options.limits.outputTailMs).then(async () => {
          await drained(this.stream);
          for (const stream of [stdout, stderr]) stream?.destroy();
          this.#exit = { code, signal, stderrTail: err.tail };
          resolve(this.#exit);
        });
      });
    });
  }

  /**
   * Starts the interpreter; the worker greets on the channel.
   * @throws FlambeauError BAD_PYTHON when it cannot be executed, WORKER_EXITED when the system has no room for it,
   * UNSUPPORTED_PLATFORM on Windows
   */
  static async start(options: ProcessOptions): Promise<PythonProcess> {
    requirePlatform(options.platform);
    const arguments_ = ["-I", "-X", "utf8", "-X", "faulthandler", "-u", "-c", BOOT, fileURLToPath(pythonRoot())];
    const child = spawn(options.python, arguments_, {
      stdio: ["ignore", "pipe", "pipe", "pipe"],
      detached: true,
      env: options.environment,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (cause) => {
        reject(notStarted(options.python, cause));
      });
    });
    if (!hasPid(child)) throw new FlambeauError("BAD_PYTHON", `${options.python} started without a process id.`);
    return new PythonProcess(child, options);
  }

  /** While something is open the host stays; otherwise it may end by itself, and the worker follows. */
  hold(isHeld: boolean): void {
    this.#isWanted = isHeld;
    if (!isHeld) this.#letGo ??= setTimeout(() => this.#release(), this.#idleHoldMs);
    else if (!this.#isHeld) this.#count(true);
  }

  /** Calls follow each other closely, so nothing is let go between two of them: that would cost as much as writing a frame. */
  #release(): void {
    this.#letGo = undefined;
    if (!this.#isWanted) this.#count(false);
  }

  #count(isHeld: boolean): void {
    this.#isHeld = isHeld;
    const [, stdout, stderr] = this.#child.stdio;
    for (const part of [this.#child, stdout, stderr, this.stream]) {
      const counted = part as { ref?(): void; unref?(): void } | null | undefined;
      if (isHeld) counted?.ref?.();
      else counted?.unref?.();
    }
    (this.#reaper.stdin as { unref?(): void } | null)?.unref?.();
  }

  /** The process and everything in its group. */
  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    if (this.#exit === undefined) this.#killGroup(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hold(true);
    this.kill();
    await this.exited;
  }

  #killGroup(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.pid, signal);
    } catch {
      // ESRCH: nobody is left in the group.
    }
  }
}

/** The folder that holds the `flambeau` package: beside src/ in the repository and beside dist/ in the npm package. */
export function pythonRoot(): URL {
  return new URL("../../python/", import.meta.url);
}

function notStarted(python: string, cause: NodeJS.ErrnoException): FlambeauError {
  const isFull = EXHAUSTED.has(cause.code ?? "");
  const what = isFull
    ? "The system has no more processes, memory or open files for it: end something, or raise the limit (`ulimit -n`, `ulimit -u`)."
    : "Check the path and its permissions.";
  return new FlambeauError(
    isFull ? "WORKER_EXITED" : "BAD_PYTHON",
    `${python} cannot be started: ${cause.message}. ${what}`,
    { cause },
  );
}

function closed(stream: Duplex): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) resolve();
    else stream.once("close", resolve);
  });
}

/** Resolves when all have, or the time is up. */
async function settled(promises: readonly Promise<void>[], timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([Promise.all(promises), late]);
  clearTimeout(timer);
}

/** On a busy host the time may be up before anything was read: goes on until a whole turn of the loop has brought nothing more. */
async function drained(stream: Duplex & { readonly bytesRead?: number }): Promise<void> {
  for (let before = -1; !stream.destroyed && stream.bytesRead !== before; ) {
    before = stream.bytesRead ?? -1;
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}

function hasPid(child: ChildProcess): child is ChildProcess & { readonly pid: number } {
  return child.pid !== undefined;
}
