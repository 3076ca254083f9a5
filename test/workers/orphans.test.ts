// Nothing outlives the host: killed outright, ended by itself, or broken, whatever its worker was doing. Each host is a process of
// its own, and everything it started is watched from outside.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { untilGone } from "../support/processes.ts";
import { testPython } from "../support/python.ts";

const script = fileURLToPath(new URL("../support/orphan-host.ts", import.meta.url));
const hosts: ChildProcess[] = [];

afterAll(() => {
  for (const host of hosts) host.kill("SIGKILL");
});

interface Host {
  readonly process: ChildProcess;
  /** Of the worker first, then of what it started. */
  readonly pids: readonly number[];
  /** Lines that it said after it was ready. */
  readonly said: string[];
  readonly readyAt: number;
  readonly exit: Promise<readonly [code: number | null, at: number]>;
}

async function host(state: string): Promise<Host> {
  const child = spawn(process.execPath, ["--import", "tsx", script, state, await testPython()], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  hosts.push(child);
  const errors: string[] = [];
  child.stderr.on("data", (text: Buffer) => errors.push(String(text)));
  const exit = once(child, "exit").then(([code]) => [code as number | null, performance.now()] as const);
  const lines = createInterface(child.stdout);
  const ready = await Promise.race([once(lines, "line"), exit.then(() => undefined)]);
  if (ready === undefined) throw new Error(`the host ended before it was ready: ${errors.join("")}`);
  const said: string[] = [];
  lines.on("line", (line) => said.push(line));
  return { process: child, pids: JSON.parse(String(ready[0])) as number[], said, readyAt: performance.now(), exit };
}

describe("a host that is killed takes its worker with it", () => {
  test.concurrent.each(["idle", "in a loop of Python", "in time.sleep", "holding the interpreter in C"])(
    "that is %s, within a second",
    async (state) => {
      const { process: killed, pids } = await host(state);
      killed.kill("SIGKILL");
      const tookMs = await untilGone(pids, 1_000);
      console.info(`a worker ${state}: gone ${Math.round(tookMs)} ms after its host was killed`);
    },
  );

  test.concurrent("a host that is killed leaves no worker after a second, though that is in C, and none of its children, forked or spawned", async () => {
    const { process: killed, pids } = await host(
      "holding the interpreter beside children that it has forked and spawned",
    );
    expect(pids).toHaveLength(3);
    const [worker = 0] = pids;
    killed.kill("SIGKILL");
    await untilGone([worker], 1_000);
    await untilGone(pids, 5_000);
  });

  test.concurrent("and what that had started, within five seconds", async () => {
    const { process: killed, pids } = await host("with a child that runs on");
    expect(pids).toHaveLength(2);
    killed.kill("SIGKILL");
    const tookMs = await untilGone(pids, 5_000);
    console.info(`a worker and its child: gone ${Math.round(tookMs)} ms after their host was killed`);
  });
});

describe("a host that ends", () => {
  test.concurrent("a host with nothing pending ends by itself, and its worker follows; with a call open it stays", async () => {
    const { exit, pids, readyAt } = await host("ends by itself");
    const [code, at] = await exit;
    console.info(`a host with nothing pending: ended ${Math.round(at - readyAt)} ms after its last line`);
    expect(code).toBe(0);
    // The promise is 100 ms; a machine that does other work besides is given more.
    expect(at - readyAt).toBeLessThan(1_000);
    await untilGone(pids, 1_000);
    const open = await host("with something open");
    expect((await open.exit)[0]).toBe(0);
    expect(open.said).toEqual(["answered"]);
    await untilGone(open.pids, 1_000);
  }, 120_000);

  test.concurrent.each([
    ["that calls process.exit", 3],
    ["that throws", 1],
  ])("%s leaves nothing", async (state, expected) => {
    const { exit, pids } = await host(state);
    expect((await exit)[0]).toBe(expected);
    await untilGone(pids, 1_000);
  });
});
