// endpoint(): paths, the check of what a handler returns, and calls in the process, outside of any request.
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { endpoint, isEndpoint } from "../../src/app/endpoint.ts";
import { limits } from "../../src/config.ts";

const Nothing = z.object({});
const Pair = z.object({ left: z.number(), right: z.object({ depth: z.int() }) });

/** What JavaScript can return whatever the types say. */
const returning = (value: unknown) =>
  endpoint("/", { input: Nothing, output: Pair }, async () => value as z.input<typeof Pair>);

describe("the path of an endpoint", () => {
  it.each([
    ["paint", "must start with a slash"],
    ["", "must start with a slash"],
    ["/two words", "in a URL this path is /two%20words"],
    ["/a?b", "in a URL this path is /a%3Fb"],
    ["/a/../b", "in a URL this path is /b"],
    ["//", "with a slash, and only one"],
    ["//host/b", "with a slash, and only one"],
  ])("%s is refused", (path, why) => {
    expect(() => endpoint(path as "/", { input: Nothing, output: Nothing }, async () => ({}))).toThrow(
      expect.objectContaining({ code: "APP_INVALID", message: expect.stringContaining(why) }),
    );
  });

  it.each(["/", "/v1/paint", "/:id", "/caf%C3%A9", "/a.b~c"])("%s is taken", (path) => {
    expect(endpoint(path as "/", { input: Nothing, output: Nothing }, async () => ({})).path).toBe(path);
  });
});

describe("the time limit of an endpoint", () => {
  const limited = (timeoutMs: number) =>
    endpoint("/", { input: Nothing, output: Nothing, timeoutMs }, async () => ({})).timeoutMs;

  it.each([0, -1, Number.NaN, 2 ** 31, Number.POSITIVE_INFINITY])("%s is refused: a timer would fire at once", (ms) => {
    expect(() => limited(ms)).toThrow(expect.objectContaining({ code: "APP_INVALID" }));
  });

  it.each([0.5, 1_000, 2 ** 31 - 1])("%s is taken", (ms) => {
    expect(limited(ms)).toBe(ms);
  });
});

describe("what a handler returns", () => {
  it("is parsed by the output schema: defaults filled in, unknown fields gone", async () => {
    const output = z.object({ n: z.number(), unit: z.string().default("s") });
    const timed = endpoint("/", { input: Nothing, output }, async () => ({ n: 1 }));
    expect(await timed.run({})).toEqual({ n: 1, unit: "s" });
    expect(await returning({ left: 1, right: { depth: 2 }, more: 3 }).run({})).toEqual({
      left: 1,
      right: { depth: 2 },
    });
  });

  it.each([
    [{ left: "1", right: { depth: 2.5 } }, [["left"], ["right", "depth"]]],
    [{ left: 1, right: {} }, [["right", "depth"]]],
    [undefined, [[]]],
  ])("%j fails as OUTPUT_INVALID with the path of every field", async (value, paths) => {
    const failed: unknown = await returning(value)
      .run({})
      .catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: "OUTPUT_INVALID", issues: paths.map((path) => ({ path })) });
  });

  it("is told by its first issues, of as many as there are", async () => {
    const numbers = endpoint(
      "/",
      { input: Nothing, output: z.array(z.number()) },
      async () => Array(1_000).fill("") as never,
    );
    const failed = await numbers.run({}).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: "OUTPUT_INVALID", issues: { length: limits.issuesTold + 1 } });
  });

  it("may be checked by an async schema", async () => {
    const output = z.string().refine(async (text) => text !== "no", "said no");
    const said = (text: string) => endpoint("/", { input: Nothing, output }, async () => text);
    expect(await said("yes").run({})).toBe("yes");
    await expect(said("no").run({})).rejects.toMatchObject({ code: "OUTPUT_INVALID", message: "(root): said no" });
  });

  it("fails as OUTPUT_INVALID also where the schema itself throws", async () => {
    const output = z.string().transform((): string => {
      throw new Error("the transform broke");
    });
    const broken = endpoint("/", { input: Nothing, output }, async () => "text");
    await expect(broken.run({})).rejects.toMatchObject({
      code: "OUTPUT_INVALID",
      message: "(root): the transform broke",
    });
  });
});

describe("a call in the process", () => {
  const double = endpoint(
    "/double",
    { input: z.object({ n: z.number().default(4) }), output: z.object({ n: z.number() }) },
    async ({ n }, { signal, requestId, stage, shield }) => {
      signal.throwIfAborted();
      expect(requestId).toBe("detached");
      return stage("doubling", () => shield(async () => ({ n: n * 2 })));
    },
  );
  const count = endpoint("/count", { input: z.object({ to: z.int() }), yields: z.int() }, ({ to }) => counted(to));
  const cleaned: string[] = [];
  async function* counted(to: number) {
    try {
      for (let i = 1; i <= to; i++) yield i;
    } finally {
      cleaned.push(`after ${to}`);
    }
  }

  it("fills in defaults and refuses what does not fit", async () => {
    expect(await double.run({})).toEqual({ n: 8 });
    await expect(double.run(JSON.parse('{"m": 1}'))).rejects.toMatchObject({
      code: "INPUT_INVALID",
      issues: [{ path: ["m"] }],
    });
  });

  it("gives the chunks of a stream one by one, and runs its clean-up when the reader leaves", async () => {
    const chunks: number[] = [];
    for await (const chunk of count.run({ to: 5 })) {
      chunks.push(chunk);
      if (chunk === 2) break;
    }
    expect(chunks).toEqual([1, 2]);
    expect(cleaned).toEqual(["after 5"]);
  });

  it("is refused when its signal has fired, and a stream ends at the next chunk", async () => {
    await expect(double.run({}, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "CANCELLED",
      name: "AbortError",
    });
    const stop = new AbortController();
    const chunks: number[] = [];
    const read = async (): Promise<void> => {
      for await (const chunk of count.run({ to: 9 }, { signal: stop.signal })) {
        chunks.push(chunk);
        if (chunk === 3) stop.abort();
      }
    };
    await expect(read()).rejects.toMatchObject({ code: "CANCELLED" });
    expect(chunks).toEqual([1, 2, 3]);
    expect(cleaned.at(-1)).toBe("after 9");
  });

  it("knows endpoints from anything else", () => {
    expect([double, count].map(isEndpoint)).toEqual([true, true]);
    expect([{}, null, undefined, { path: "/", run: () => {} }].map(isEndpoint)).toEqual([false, false, false, false]);
  });
});
