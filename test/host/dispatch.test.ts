// One request carried out: what of its work becomes events, in whose context, and whose failure is whose.
import { describe, expect, it } from "vitest";
import { z } from "zod";
import type { Context } from "../../src/app/context.ts";
import { endpoint } from "../../src/app/endpoint.ts";
import { collect, ending, follow, isLog, output } from "./fixture.ts";
import { hostWith, Working } from "./working-app.ts";

const Nothing = z.object({});
const Count = z.object({ n: z.int() });

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
      // Fifty a second; the first event may arrive late, which shortens the first span.
      expect(rate).toBeLessThan(150);
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
