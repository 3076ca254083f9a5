// One builder at a time, across processes: a kernel lock that a tiny Python process holds for us, since Node has no
// flock. It is freed however we die, after the process groups that we named to it are killed.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { limits } from "../config.ts";
import { cancelled, FlambeauError } from "../errors.ts";
import { HOLD_LOCK } from "./python-scripts.ts";
import type { ToolRun } from "./tool.ts";

export interface BuilderLock extends AsyncDisposable {
  /** Process groups that are killed if this process dies before they end. */
  readonly guard: NonNullable<ToolRun["guard"]>;
}

export interface LockRequest {
  readonly path: string;
  /** Any Python 3; it runs isolated. */
  readonly python: string;
  readonly env: Readonly<Record<string, string>>;
  /** How long to wait for another builder; 0 for not at all. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Called once, when another process holds it. */
  readonly onWaiting?: () => void;
}

/**
 * Waits for the lock. Null if it was held by another for the whole of `timeoutMs`.
 * @throws FlambeauError BAD_PYTHON when the helper does not run; CANCELLED
 */
export async function takeLock(request: LockRequest): Promise<BuilderLock | null> {
  if (request.signal?.aborted) throw cancelled(request.signal.reason, "waiting for the lock of the environment");
  await mkdir(dirname(request.path), { recursive: true, mode: 0o700 });
  const poll = String(limits.environmentLockPollMs / 1000);
  const helper = spawn(request.python, ["-I", "-S", "-c", HOLD_LOCK, request.path, poll], {
    env: request.env,
    cwd: "/",
    detached: true,
    stdio: ["pipe", "pipe", "ignore"],
  });
  helper.stdin.on("error", () => {}); // It has ended; `exit` says so.
  const release = async (): Promise<void> => {
    if (helper.exitCode !== null || helper.signalCode !== null || helper.pid === undefined) return;
    const exited = new Promise((resolve) => helper.once("exit", resolve));
    helper.stdin.end();
    await exited;
  };
  const outcome = await outcomeOf(helper, request);
  if (outcome === "held") {
    const tell = (sign: "+" | "-") => (group: number) => void helper.stdin.write(`${sign}${group}\n`);
    return { guard: { started: tell("+"), ended: tell("-") }, [Symbol.asyncDispose]: release };
  }
  await release();
  if (outcome === "aborted") throw cancelled(request.signal?.reason, "waiting for another builder of the environment");
  if (outcome === "waited") return null;
  throw new FlambeauError(
    "BAD_PYTHON",
    `${request.python} could not hold the lock ${request.path}: it ended with ${helper.exitCode ?? helper.signalCode ?? "an error"}; ` +
      "needed: a Python with the fcntl module, and a cache folder that can be written",
  );
}

/** What becomes of the helper: it holds the lock, time is up, the caller gave up, or it ended. */
async function outcomeOf(
  helper: ChildProcessByStdio<Writable, Readable, null>,
  { timeoutMs, signal, onWaiting }: LockRequest,
): Promise<"held" | "waited" | "aborted" | "died"> {
  const settled = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const outcome = await new Promise<"held" | "waited" | "aborted" | "died">((resolve) => {
    signal?.addEventListener("abort", () => resolve("aborted"), { signal: settled.signal });
    helper.once("error", () => resolve("died"));
    helper.once("exit", () => resolve("died"));
    createInterface({ input: helper.stdout }).on("line", (line) => {
      if (line === "held") return resolve("held");
      timer = setTimeout(() => resolve("waited"), timeoutMs);
      if (timeoutMs > 0) onWaiting?.();
    });
  });
  clearTimeout(timer);
  settled.abort();
  return outcome;
}
