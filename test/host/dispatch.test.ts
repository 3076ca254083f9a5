// One request carried out: what of its work becomes events, in whose context, and whose failure is whose.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { App } from "../../src/app/app.ts";
import type { Context } from "../../src/app/context.ts";
import { endpoint } from "../../src/app/endpoint.ts";
import { testPython } from "../support/python.ts";
import { collect, ending, follow, hostOf, isLog, output, scratch } from "./fixture.ts";

const Nothing = z.object({});
const Count = z.object({ n: z.int() });

/** Reports progress as a model would. */
const WORK = `
import time
import flambeau

def steps(n, seconds=0.0):
    for i in range(n):
        flambeau.progress(i + 1, n)
        time.sleep(seconds)

def stage(name):
    flambeau.progress(1, 2, name)

def until(path):
    import os
    while not os.path.exists(path):
        time.sleep(0.01)

def numbers(n):
    for i in range(n):
        flambeau.log(f"number {i}")
        yield i
`;

abstract class Working extends App {
  work = this.py.import("work");
}

async function hostWith(app: typeof Working & (new () => Working)) {
  const folder = await scratch({ "work.py": WORK });
  return { ...(await hostOf(app, { file: `${folder}/app.ts` })), folder };
}

describe("progress", () => {
  it("of Python goes by the stages that it runs in, and stages nest", async () => {
    class Staged extends Working {
      run = endpoint("/", { input: Nothing, output: Nothing }, async (_input, { stage, progress }) => {
        await this.work.steps(1);
        await stage("variation 1/2", async () => {
          await this.work.steps(1);
          await stage("refine", () => this.work.stage("upscale"));
          progress(3, 4, "write");
          progress(4);
        });
        await this.work.stage("last");
        return {};
      });
    }
    const { host } = await hostWith(Staged);
    const events = await collect(host.submit("/", {}));
    const told = events.flatMap((event) => (event.type === "progress" ? [[event.step, event.total, event.stage]] : []));
    expect(told).toEqual([
      [1, 1, null],
      [1, 1, "variation 1/2"],
      [1, 2, "variation 1/2 · refine · upscale"],
      [3, 4, "variation 1/2 · write"],
      [4, null, "variation 1/2"],
      [1, 2, "last"],
    ]);
  });

  it("has a rate and the seconds that are left, from the second step on", async () => {
    class Stepping extends Working {
      run = endpoint("/", { input: Nothing, output: Nothing }, async () => {
        await this.work.steps(5, this.py.float(0.02));
        return {};
      });
    }
    const { host } = await hostWith(Stepping);
    const events = await collect(host.submit("/", {}));
    const steps = events.flatMap((event) => (event.type === "progress" ? [event] : []));
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);
    expect(steps[0]?.rate).toBeNull();
    for (const { rate, secondsLeft, step } of steps.slice(1)) {
      expect(rate).toBeGreaterThan(1);
      expect(rate).toBeLessThan(51);
      expect(secondsLeft).toBeCloseTo((5 - step) / (rate ?? 0), 6);
    }
  });

  it("inside of a shield still belongs to the request", async () => {
    class Shielded extends Working {
      run = endpoint("/", { input: Nothing, output: Nothing }, async (_input, { shield }) => {
        await shield(() => this.work.steps(2));
        return {};
      });
    }
    const { host } = await hostWith(Shielded);
    const events = await collect(host.submit("/", {}));
    expect(events.filter(({ type }) => type === "progress")).toHaveLength(2);
  });
});

describe("streams", () => {
  it("deliver each chunk as an output event, with the request's context in every next()", async () => {
    class Counting extends Working {
      count = endpoint("/", { input: Count, yields: z.object({ i: z.int() }) }, (input, context) =>
        this.counted(input, context),
      );
      async *counted({ n }: z.output<typeof Count>, { log, requestId }: Context) {
        for await (const i of this.py.as<{ readonly $each?: number }>(this.work.numbers(n))) {
          log(requestId);
          yield { i };
        }
      }
    }
    const { host } = await hostWith(Counting);
    const events = await collect(host.submit("/", { n: 3 }));
    const told = events.flatMap((event) => {
      if (event.type === "output") return [event.chunk];
      return event.type === "log" ? [event.message.startsWith("number") ? event.message : "id"] : [];
    });
    expect(told).toEqual(["number 0", "id", { i: 0 }, "number 1", "id", { i: 1 }, "number 2", "id", { i: 2 }]);
    expect(events.at(-1)).toMatchObject({ type: "completed", output: null });
    const ids = new Set(
      events.flatMap((event) => (event.type === "log" && !event.message.startsWith("number") ? [event.message] : [])),
    );
    expect(ids.size).toBe(1);
  });

  it("stop Python at a cancel that comes between two chunks, and run their clean-up", async () => {
    const cleaned: string[] = [];
    class Endless extends Working {
      count = endpoint("/", { input: Nothing, yields: z.int() }, (_input, context) => this.counted(context));
      async *counted({ shield }: Context) {
        try {
          for (let i = 0; ; i++) {
            yield i;
            await this.work.steps(1, this.py.float(0.01));
          }
        } finally {
          await shield(async () => cleaned.push(await this.py.import("builtins").str("after").$string()));
        }
      }
    }
    const { host } = await hostWith(Endless);
    const stop = new AbortController();
    const endless = follow(host.submit("/", {}, { signal: stop.signal }));
    await endless.seen((event) => event.type === "output" && event.chunk === 3);
    stop.abort();
    expect(await endless.end).toEqual({ type: "cancelled" });
    expect(cleaned).toEqual(["after"]);
  });

  it("fail with what a chunk does not fit, after the chunks before it", async () => {
    class Wrong extends Working {
      count = endpoint("/", { input: Nothing, yields: z.object({ i: z.int().max(1) }) }, () => this.counted());
      async *counted() {
        for (let i = 0; i < 3; i++) yield { i };
      }
    }
    const { host } = await hostWith(Wrong);
    const events = await collect(host.submit("/", {}));
    expect(events.filter(({ type }) => type === "output")).toHaveLength(2);
    expect(events.at(-1)).toMatchObject({
      type: "failed",
      error: { code: "OUTPUT_INVALID", issues: [{ path: ["i"] }] },
    });
  });
});

describe("work that nobody awaited", () => {
  class Careless extends Working {
    careless = endpoint("/careless", { input: Nothing, output: Nothing }, async () => {
      this.py.import("builtins").int("seven");
      return {};
    });
    assigns = endpoint("/assigns", { input: Nothing, output: Nothing }, async () => {
      this.py.import("builtins").nothing.here = this.py.of(1);
      return {};
    });
    slow = endpoint("/slow", { input: Nothing, output: Nothing }, async () => {
      this.work.steps(3, this.py.float(0.02));
      return {};
    });
    good = endpoint("/good", { input: Nothing, output: z.object({ n: z.number() }) }, async () => ({
      n: await this.py.import("builtins").int("7").$number(),
    }));
  }

  it("fails the request that started it, at its end, and not the next one", async () => {
    const { host } = await hostWith(Careless);
    const first = ending(host.submit("/careless", {}));
    const second = output(host.submit("/good", {}));
    expect(await first).toMatchObject({ type: "failed", error: { code: "PYTHON_RAISED", pythonType: "ValueError" } });
    expect(await second).toEqual({ n: 7 });
    expect(await ending(host.submit("/assigns", {}))).toMatchObject({ error: { pythonType: "AttributeError" } });
    expect(await output(host.submit("/good", {}))).toEqual({ n: 7 });
  });

  it("is waited for: its progress belongs to the request, and done means that Python is free", async () => {
    const { host } = await hostWith(Careless);
    const events = await collect(host.submit("/slow", {}));
    expect(events.filter(({ type }) => type === "progress")).toHaveLength(3);
    expect(events.at(-1)).toMatchObject({ type: "completed" });
  });

  it("fails its own request and never ends the process, also where a rejected promise is looked at late or not at all", async () => {
    const { stdout } = await careless();
    const seen: unknown = JSON.parse(stdout);
    const notAnInt = (text: string): string => `ValueError: invalid literal for int() with base 10: '${text}'`;
    expect(seen).toEqual({
      ends: {
        python: notAnInt("seven"),
        plain: "nobody looks",
        twoAtOnce: notAnInt("eight"),
        caughtLater: { why: "PyError" },
        afterwards: {},
        wait: {},
      },
      warnings: ["A promise of a request that has ended was rejected: too late"],
    });
  });

  it("leaves a rejection that no request caused to end the process, as without a host", async () => {
    const failed: unknown = await careless("foreign").catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining("Error: not of a request") });
    expect((failed as { stdout: string }).stdout).not.toContain("still here");
  });
});

/** The fixture in a process of its own: vitest looks at every rejection of its own process. */
async function careless(...args: string[]): Promise<{ stdout: string }> {
  const script = fileURLToPath(new URL("careless.ts", import.meta.url));
  const environment = { ...process.env, FLAMBEAU_PYTHON: await testPython() };
  return promisify(execFile)(process.execPath, ["--import", "tsx", script, ...args], { env: environment });
}

describe("a cancel", () => {
  it("lets what is shielded run to its end", async () => {
    class Cleaning extends Working {
      run = endpoint(
        "/",
        { input: z.object({ gate: z.string() }), output: Nothing },
        async ({ gate }, { shield, log }) => {
          try {
            log("ready");
            await this.work.until(gate);
          } finally {
            await shield(async () => {
              await this.work.steps(2);
              log(await this.py.import("builtins").str("cleaned").$string());
            });
          }
          return {};
        },
      );
    }
    const { host, folder } = await hostWith(Cleaning);
    const stop = new AbortController();
    const request = follow(host.submit("/", { gate: `${folder}/never` }, { signal: stop.signal }));
    await request.seen(isLog("ready"));
    stop.abort();
    expect(await request.end).toEqual({ type: "cancelled" });
    expect(request.all.some(isLog("cleaned"))).toBe(true);
    expect(request.all.filter(({ type }) => type === "progress")).toHaveLength(2);
  });

  it("refuses every further call of the request, so that it ends", async () => {
    const reached: string[] = [];
    class Going extends Working {
      run = endpoint("/", { input: z.object({ gate: z.string() }), output: Nothing }, async ({ gate }, { log }) => {
        log("ready");
        await this.work.until(gate).catch((error: unknown) => reached.push((error as Error).name));
        await this.work.until(gate);
        reached.push("on");
        return {};
      });
    }
    const { host, folder } = await hostWith(Going);
    const stop = new AbortController();
    const request = follow(host.submit("/", { gate: `${folder}/never` }, { signal: stop.signal }));
    await request.seen(isLog("ready"));
    stop.abort();
    expect(await request.end).toEqual({ type: "cancelled" });
    expect(reached).toEqual(["AbortError"]);
  });
});

describe("an endpoint that calls another one in the process", () => {
  class Both extends Working {
    inner = endpoint(
      "/inner",
      { input: Count, output: z.object({ id: z.string() }) },
      async ({ n }, { requestId, progress }) => {
        await this.work.steps(n);
        progress(9, 9);
        return { id: requestId };
      },
    );
    letters = endpoint(
      "/letters",
      { input: Count, yields: z.object({ i: z.int(), id: z.string() }) },
      (input, context) => this.lettered(input, context),
    );
    async *lettered({ n }: z.output<typeof Count>, { requestId }: Context) {
      for (let i = 0; i < n; i++) {
        await this.work.steps(1);
        yield { i, id: requestId };
      }
    }
    outer = endpoint(
      "/outer",
      { input: Nothing, output: z.object({ ids: z.array(z.string()) }) },
      async (_input, { requestId }) => {
        const ids = [requestId, (await this.inner.run({ n: 2 })).id];
        for await (const { id } of this.letters.run({ n: 2 })) ids.push(id);
        return { ids };
      },
    );
    misspelt = endpoint("/misspelt", { input: Nothing, output: Nothing }, async () => {
      await this.inner.run(JSON.parse('{"m": 1}'));
      return {};
    });
    hasty = endpoint(
      "/hasty",
      { input: z.object({ gate: z.string() }), output: z.object({ why: z.string() }) },
      async ({ gate }, { log }) => {
        const stop = new AbortController();
        const waits = this.waits
          .run({ gate }, { signal: stop.signal })
          .catch((error: unknown) => (error as Error).name);
        log("started");
        stop.abort();
        const why = String(await waits);
        await this.work.steps(1);
        return { why };
      },
    );
    waits = endpoint("/waits", { input: z.object({ gate: z.string() }), output: z.string() }, async ({ gate }) => {
      await this.work.until(gate);
      return "opened";
    });
  }

  it("does so inside of its own request: the same id, progress and signal", async () => {
    const { host } = await hostWith(Both);
    const events = await collect(host.submit("/outer", {}));
    const last = events.at(-1);
    if (last?.type !== "completed") throw new Error(`expected it to complete, got ${JSON.stringify(last)}`);
    const { ids } = last.output as { ids: string[] };
    expect(ids).toHaveLength(4);
    expect(new Set(ids).size).toBe(1);
    expect(events.filter(({ type }) => type === "progress")).toHaveLength(5);
  });

  it("checks the input as over the wire", async () => {
    const { host } = await hostWith(Both);
    expect(await ending(host.submit("/misspelt", {}))).toMatchObject({
      type: "failed",
      error: { code: "INPUT_INVALID" },
    });
  });

  it("can stop it without stopping itself", async () => {
    const { host, folder } = await hostWith(Both);
    expect(await output(host.submit("/hasty", { gate: `${folder}/never` }))).toEqual({ why: "AbortError" });
  });
});
