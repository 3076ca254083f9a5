// Python dies, by itself or by a signal: whose request fails, what replaces it, and when that ends.
import { describe, expect, it } from "vitest";
import { App } from "../../src/app/app.ts";
import { endpoint } from "../../src/app/endpoint.ts";
import { ending, follow, hostOf, isLog, output } from "./fixture.ts";
import { Nothing, Plain, quick } from "./plain-app.ts";

describe("a worker that dies", () => {
  it("fails the request that runs with WORKER_EXITED, and a new one with a setup of its own takes the next", async () => {
    const { host, logger } = await hostOf(Plain, { limits: quick });
    const before = (await output(host.submit("/pid", {}))) as { pid: number; setups: number };
    const doomed = follow(host.submit("/sleep", { seconds: 60 }));
    await doomed.seen(isLog("asleep"));
    const next = ending(host.submit("/pid", {}));
    process.kill(before.pid, "SIGKILL");
    expect(await doomed.end).toMatchObject({
      type: "failed",
      error: {
        code: "WORKER_EXITED",
        retryable: true,
        message: expect.stringContaining("SIGKILL during time.sleep()"),
      },
    });
    const after = await next;
    expect(after).toMatchObject({ type: "completed", output: { setups: 1 } });
    expect(after).not.toMatchObject({ output: { pid: before.pid } });
    expect(logger.lines).toContainEqual({ level: "warn", message: "Python is started again in 5 ms." });
  });

  it("between two requests is replaced before the next one asks", async () => {
    const { host } = await hostOf(Plain, { limits: quick });
    const before = (await output(host.submit("/pid", {}))) as { pid: number };
    process.kill(before.pid, "SIGKILL");
    expect(await ending(host.submit("/", { text: "a" }))).toMatchObject({
      // The kill may be noticed only by this request; it then fails once, and says that it can be tried again.
      type: expect.stringMatching(/completed|failed/),
    });
    expect(await output(host.submit("/", { text: "b" }))).toEqual({ text: "b" });
  });

  it("too often is not started again: CRASH_LOOP, with the last cause", async () => {
    const { host } = await hostOf(Plain, { limits: quick });
    for (let i = 0; i < 3; i++) {
      expect(await ending(host.submit("/die", {}))).toMatchObject({
        type: "failed",
        error: { code: "WORKER_EXITED", message: expect.stringContaining("exit code 3") },
      });
    }
    const refused = await ending(host.submit("/", { text: "a" }));
    expect(refused).toMatchObject({ type: "failed", error: { code: "CRASH_LOOP", retryable: false } });
    const ready = await host.fetch(new Request("http://127.0.0.1:3000/health/ready"));
    expect(ready.status).toBe(503);
    expect(await ready.text()).toContain("died 3 times");
  });

  it("in setup each time ends in CRASH_LOOP as well", async () => {
    class Doomed extends App {
      override async setup() {
        await this.py.import("os")._exit(4);
      }
      run = endpoint("/", { input: Nothing, output: Nothing }, async () => ({}));
    }
    const { host } = await hostOf(Doomed, { limits: quick });
    for (let i = 0; i < 2; i++) {
      expect(await ending(host.submit("/", {}))).toMatchObject({ error: { code: "WORKER_EXITED" } });
    }
    await ending(host.submit("/", {}));
    expect(await ending(host.submit("/", {}))).toMatchObject({ error: { code: "CRASH_LOOP" } });
  });

  it("is what becomes of one whose Python swallows its cancel: the next request runs on another", async () => {
    class Stubborn extends Plain {
      swallow = endpoint("/swallow", { input: Nothing, output: Nothing }, async () => {
        await this.py.importFile(new URL("../support/subject.py", import.meta.url)).swallows(60);
        return {};
      });
    }
    const { host } = await hostOf(Stubborn, { limits: quick });
    const before = (await output(host.submit("/pid", {}))) as { pid: number };
    const stop = new AbortController();
    const deaf = follow(host.submit("/swallow", {}, { signal: stop.signal }));
    await deaf.seen(isLog("swallowing"));
    stop.abort();
    expect(await deaf.end).toEqual({ type: "cancelled" });
    const after = (await output(host.submit("/pid", {}))) as { pid: number; setups: number };
    expect(after.pid).not.toBe(before.pid);
    expect(after.setups).toBe(1);
  });
});
