// `kill -9` of the host while its worker is deep in torch: nothing of ours may be left.
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { testPython } from "../support/python.ts";
import { scratch } from "./fixture.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const script = fileURLToPath(new URL("./killed-host.ts", import.meta.url));

/** A zombie has ended: it only waits for its parent to look. */
async function lives(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat !== "" && !/\) Z /.test(stat);
}

/** Milliseconds until the process is gone, or null if it outlives the limit. */
async function goneAfter(pid: number, limitMs: number): Promise<number | null> {
  const started = performance.now();
  while (performance.now() - started < limitMs) {
    if (!(await lives(pid))) return performance.now() - started;
    await sleep(10);
  }
  return null;
}

async function startPainting(phase: "setup" | "request") {
  const args = ["--import", "tsx", script, await testPython(), await scratch(), phase];
  const host = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void host.kill("SIGKILL"));
  let pids: { worker: number; compiler: number } | undefined;
  for await (const line of createInterface({ input: host.stdout })) {
    if (line.startsWith("{")) pids = JSON.parse(line);
    else if (line === "painting" && pids !== undefined) return { host, ...pids };
  }
  throw new Error("the host ended before it painted");
}

describe.runIf(process.platform === "linux")("a host that is killed", () => {
  it.each(["setup", "request"] as const)(
    "in a %s leaves no worker after a second and no compiler after five",
    async (phase) => {
      const { host, worker, compiler } = await startPainting(phase);
      expect([await lives(worker), await lives(compiler)]).toEqual([true, true]);
      host.kill("SIGKILL");
      const [workerMs, compilerMs] = await Promise.all([goneAfter(worker, 1_000), goneAfter(compiler, 5_000)]);
      console.log(
        `killed in ${phase}: worker gone after ${workerMs?.toFixed()} ms, its child after ${compilerMs?.toFixed()} ms`,
      );
      expect(workerMs).not.toBeNull();
      expect(compilerMs).not.toBeNull();
    },
    120_000,
  );
});
