// One app behind a host, with a real worker: start, order, cancel, failures, close.
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { App } from "../../src/app/app.ts";
import { endpoint } from "../../src/app/endpoint.ts";
import type { Py } from "../../src/bridge/stub-types.ts";
import { type FlambeauError, PyError } from "../../src/errors.ts";
import { collect, ending, follow, hostOf, isLog, output, scratch } from "./fixture.ts";
import { Nothing, Plain, quick } from "./plain-app.ts";

describe("a start", () => {
  it("runs setup once, before the first request and for all of them", async () => {
    const { host } = await hostOf(Plain);
    await Promise.all([host.start(), host.start(), output(host.submit("/", { text: "a" }))]);
    expect(await output(host.submit("/pid", {}))).toMatchObject({ setups: 1 });
    expect(host.timings.map(({ phase }) => phase)).toEqual(["environment", "python", "setup"]);
    for (const { seconds } of host.timings) expect(seconds).toBeGreaterThan(0);
  });

  it("refuses an unknown endpoint, naming those that there are, and a wrong input, naming the field, before there is a Python", async () => {
    const { host } = await hostOf(Plain);
    await expect(collect(host.submit("/nowhere", {}))).rejects.toThrow(
      /no endpoint \/nowhere; it has \/ \(echo\), \/pid/,
    );
    await expect(collect(host.submit("/", { txt: "a" }))).rejects.toMatchObject({ code: "INPUT_INVALID" });
    expect(host.timings).toEqual([]);
  });

  it("keeps Python's error as the cause when setup raises, with the line of the app's own file in its stack", async () => {
    class Broken extends App {
      override async setup() {
        await this.py.import("builtins").int("seven");
      }
      run = endpoint("/", { input: Nothing, output: Nothing }, async () => ({}));
    }
    const { host } = await hostOf(Broken);
    const thrown: unknown = await host.start().catch((error: unknown) => error);
    expect(thrown).toMatchObject({
      code: "SETUP_FAILED",
      message: expect.stringContaining("setup() of Broken failed: ValueError"),
    });
    const { cause } = thrown as FlambeauError;
    expect(cause).toBeInstanceOf(PyError);
    expect(cause).toMatchObject({ pythonType: "ValueError", callPath: "builtins.int()" });
    expect((cause as PyError).stack).toMatch(/at Broken\.setup \(.*host\.test\.ts:\d+:\d+\)/);
    expect(await ending(host.submit("/", {}))).toMatchObject({ type: "failed", error: { code: "SETUP_FAILED" } });
  });

  it("finds modules beside the app's own file", async () => {
    const folder = await scratch({ "beside.py": "WORD = 'found'\n" });
    class Beside extends App {
      word = endpoint("/", { input: Nothing, output: z.object({ word: z.string() }) }, async () => ({
        word: await this.py.import("beside").WORD.$string(),
      }));
    }
    const { host } = await hostOf(Beside, { file: `${folder}/app.ts` });
    expect(await output(host.submit("/", {}))).toEqual({ word: "found" });
  });

  it("says once that a GPU was asked for and there is none, also where Python is started again", async () => {
    class Wanting extends Plain {
      static override readonly machineType = "GPU";
      where = endpoint("/where", { input: Nothing, output: z.string() }, async () => this.device);
    }
    const { host, logger } = await hostOf(Wanting, { limits: quick });
    await ending(host.submit("/die", {}));
    const said = (await output(host.submit("/where", {}))) === "cpu" ? 1 : 0;
    expect(logger.lines.filter(({ message }) => message.includes("asks for a GPU"))).toHaveLength(said);
  });
});

describe("requests", () => {
  it("tells queued, started, then the end, and how long it took", async () => {
    const { host } = await hostOf(Plain);
    await host.start();
    const events = await collect(host.submit("echo", { text: "a" }));
    expect(events.map(({ type }) => type)).toEqual(["queued", "started", "completed"]);
    expect(events.at(-1)).toMatchObject({ output: { text: "a" }, seconds: expect.any(Number) });
  });

  it("run one after the other in the order in which they came", async () => {
    const texts = ["a", "b", "c", "d", "e"];
    const ran: string[] = [];
    class Ordered extends Plain {
      note = endpoint("/note", { input: z.object({ text: z.string() }), output: Nothing }, async ({ text }) => {
        ran.push(`${text} begins`);
        // Later ones would be quicker, if they were let.
        await this.time.sleep(this.py.float((texts.length - texts.indexOf(text)) / 100));
        ran.push(`${text} ends`);
        return {};
      });
    }
    const { host } = await hostOf(Ordered);
    await Promise.all(texts.map((text) => output(host.submit("/note", { text }))));
    expect(ran).toEqual(texts.flatMap((text) => [`${text} begins`, `${text} ends`]));
  });

  it("tell what Python prints as log events of the request in which it was printed", async () => {
    const { host } = await hostOf(Plain);
    const events = await collect(host.submit("/print", {}));
    const logs = events.flatMap((event) => (event.type === "log" ? [event] : []));
    expect(logs.filter(({ source }) => source === "stdout").map(({ message }) => message)).toEqual(
      Array.from({ length: 20 }, (_, i) => `line ${i}`),
    );
    expect(logs.filter(({ source }) => source === "stderr").map(({ message }) => message)).toEqual(["a warning"]);
    expect(await collect(host.submit("/", { text: "a" }))).toHaveLength(3);
  });

  it("fail with Python's type and traceback when Python raises, and the next one runs", async () => {
    const { host } = await hostOf(Plain);
    expect(await ending(host.submit("/raise", {}))).toMatchObject({
      type: "failed",
      error: {
        code: "PYTHON_RAISED",
        pythonType: "ValueError",
        retryable: false,
        traceback: expect.stringContaining("invalid literal for int() with base 10: 'seven'"),
      },
    });
    expect(await output(host.submit("/", { text: "b" }))).toEqual({ text: "b" });
  });

  it("that run are cancelled within a moment, and the same Python takes the next one", async () => {
    const { host } = await hostOf(Plain);
    const before = await output(host.submit("/pid", {}));
    const stop = new AbortController();
    const long = follow(host.submit("/sleep", { seconds: 60 }, { signal: stop.signal }));
    await long.seen(isLog("asleep"));
    const started = performance.now();
    stop.abort();
    expect(await long.end).toEqual({ type: "cancelled" });
    expect(await output(host.submit("/pid", {}))).toEqual(before);
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it("that wait are cancelled without ever running", async () => {
    const { host } = await hostOf(Plain);
    const running = follow(host.submit("/sleep", { seconds: 0.3 }));
    await running.seen(isLog("asleep"));
    const stop = new AbortController();
    const waiting = follow(host.submit("/print", {}, { signal: stop.signal }));
    await waiting.seen(({ type }) => type === "queued");
    stop.abort();
    expect(await waiting.end).toEqual({ type: "cancelled" });
    expect(waiting.all.map(({ type }) => type)).toEqual(["queued", "cancelled"]);
    expect(await running.end).toMatchObject({ type: "completed" });
  });

  it("are cancelled when the reader of their events leaves", async () => {
    const { host } = await hostOf(Plain);
    for await (const event of host.submit("/sleep", { seconds: 60 })) if (event.type === "log") break;
    const started = performance.now();
    expect(await output(host.submit("/", { text: "next" }))).toEqual({ text: "next" });
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it("that take longer than their endpoint allows fail with TIMEOUT, and free Python", async () => {
    const { host } = await hostOf(Plain);
    expect(await ending(host.submit("/hurry", {}))).toMatchObject({
      type: "failed",
      error: { code: "TIMEOUT", retryable: true, message: "/hurry took longer than its 150 ms." },
    });
    expect(await output(host.submit("/", { text: "next" }))).toEqual({ text: "next" });
  });

  it("whose handler ignores its cancel are left behind, and a new Python serves the next one", async () => {
    class Deaf extends Plain {
      forever = endpoint("/forever", { input: Nothing, output: Nothing }, async (_input, { log }) => {
        log("waiting for nothing");
        await new Promise(() => {});
        return {};
      });
    }
    const { host } = await hostOf(Deaf, { limits: quick });
    const before = await output(host.submit("/pid", {}));
    const stop = new AbortController();
    const deaf = follow(host.submit("/forever", {}, { signal: stop.signal }));
    await deaf.seen(isLog("waiting"));
    stop.abort();
    expect(await deaf.end).toEqual({ type: "cancelled" });
    expect(await output(host.submit("/pid", {}))).not.toEqual(before);
  });
});

describe("close", () => {
  it("runs teardown while Python is there, then ends Python", async () => {
    const folder = await scratch();
    class Tidy extends Plain {
      override async teardown() {
        await this.py.import("pathlib").Path(`${folder}/torn-down`).touch();
        torn.push(this.starts);
      }
    }
    const torn: number[] = [];
    const { host } = await hostOf(Tidy);
    const { pid } = (await output(host.submit("/pid", {}))) as { pid: number };
    await host.close();
    expect(torn).toEqual([1]);
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
    expect(await ending(host.submit("/", { text: "late" })).catch((error: unknown) => error)).toMatchObject({
      code: "QUEUE_FULL",
    });
    await expect(host.start()).rejects.toMatchObject({ code: "CANCELLED" });
  });

  it("during setup stops it, and start is told that it was cancelled", async () => {
    let asleep = (): void => {};
    const sleeping = new Promise<void>((resolve) => {
      asleep = resolve;
    });
    class Slow extends App {
      handle: Py | undefined;
      override async setup() {
        const nap = this.py.import("time").sleep(this.py.float(60));
        asleep();
        await nap;
      }
      run = endpoint("/", { input: Nothing, output: Nothing }, async () => ({}));
    }
    const { host } = await hostOf(Slow);
    const start = host.start().catch((error: unknown) => error);
    await sleeping;
    const started = performance.now();
    await host.close();
    expect(await start).toMatchObject({ code: "CANCELLED", name: "AbortError" });
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it("does not wait for a setup that ignores its cancel", async () => {
    let reached = (): void => {};
    const inSetup = new Promise<void>((resolve) => {
      reached = resolve;
    });
    class Deaf extends App {
      override async setup() {
        reached();
        await new Promise(() => {});
      }
      run = endpoint("/", { input: Nothing, output: Nothing }, async () => ({}));
    }
    const { host } = await hostOf(Deaf, { limits: quick });
    const start = host.start().catch((error: unknown) => error);
    await inSetup;
    await host.close();
    expect(await start).toMatchObject({ code: "CANCELLED" });
  });

  it("of a host that never started is quick, and twice is fine", async () => {
    const { host } = await hostOf(Plain);
    await Promise.all([host.close(), host.close()]);
    await host.close();
    expect(host.timings).toEqual([]);
  });

  it("is for good: it neither starts nor listens again", async () => {
    const { host } = await hostOf(Plain);
    await host.close();
    await expect(host.start()).rejects.toMatchObject({ code: "CANCELLED" });
    await expect(host.listen({ port: 0 })).rejects.toMatchObject({ code: "CANCELLED" });
  });

  it("lets one caller of start give up without stopping the start of the others", async () => {
    const { host } = await hostOf(Plain);
    const stop = new AbortController();
    const impatient = host.start({ signal: stop.signal }).catch((error: unknown) => error);
    const patient = host.start();
    stop.abort();
    expect(await impatient).toMatchObject({ code: "CANCELLED", name: "AbortError" });
    await patient;
  });
});

describe("over HTTP, without a socket", () => {
  it("answers with the output, and with the code and fields of what is wrong", async () => {
    const { host } = await hostOf(Plain);
    const post = (path: string, body: unknown): Promise<Response> =>
      host.fetch(
        new Request(`http://127.0.0.1:3000${path}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        }),
      );
    const good = await post("/", { text: "a" });
    expect(good.status).toBe(200);
    expect(await good.json()).toEqual({ text: "a" });
    const bad = await post("/", { text: 3 });
    expect(bad.status).toBe(422);
    expect(await bad.json()).toMatchObject({ error: { code: "INPUT_INVALID", issues: [{ path: ["text"] }] } });
    const raised = await post("/raise", {});
    expect(raised.status).toBe(500);
    expect(await raised.json()).toMatchObject({ error: { code: "PYTHON_RAISED", pythonType: "ValueError" } });
    const ready = await host.fetch(new Request("http://127.0.0.1:3000/health/ready"));
    expect(ready.status).toBe(200);
  });
});
