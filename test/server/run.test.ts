import { describe, expect, test } from "vitest";
import { z } from "zod";
import { openapi } from "../../src/app/openapi.ts";
import { limits } from "../../src/config.ts";
import { ERROR_CODES, type ErrorCode } from "../../src/errors.ts";
import type { RequestEvent } from "../../src/queue/request.ts";
import { STATUS } from "../../src/server/status.ts";
import { answering, app, completed, eventually, fixture, progress, untilCancelled } from "./fixture.ts";

const base = "http://127.0.0.1:3000";

type Body = NonNullable<RequestInit["body"]>;

function post(path: string, body: Body, init: RequestInit & { duplex?: "half" } = {}): Request {
  return new Request(base + path, {
    method: "POST",
    body,
    ...init,
    headers: { "content-type": "application/json", ...init.headers },
  });
}
const ask = (path: string, input: unknown, init: RequestInit = {}) => post(path, JSON.stringify(input), init);
const codeOf = async (response: Response): Promise<string> =>
  z.object({ error: z.object({ code: z.string() }) }).parse(await response.json()).error.code;
const failed = (code: ErrorCode, more: object = {}): RequestEvent => ({
  type: "failed",
  error: { code, message: `because of ${code}`, retryable: ERROR_CODES[code].retryable, ...more },
});

describe("an endpoint", () => {
  test("answers with the output and the id of the request", async () => {
    const { server, begun } = fixture();
    const response = await server.fetch(ask("/", { prompt: "a cat" }));
    expect([response.status, await response.json()]).toEqual([200, { image: "drawn" }]);
    expect(response.headers.get("x-flambeau-request-id")).toBe("request-1");
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(begun).toEqual([{ id: "request-1", endpoint: "textToImage", input: { prompt: "a cat", steps: 30 } }]);
  });

  test("names every field at fault, as fal does, and nothing is queued", async () => {
    const { server, begun } = fixture();
    const response = await server.fetch(ask("/", { steps: "30", zoom: 1 }));
    expect(response.status).toBe(422);
    expect(await response.json()).toEqual({
      error: { code: "INPUT_INVALID", message: expect.any(String), retryable: false, issues: expect.any(Array) },
      detail: [
        { loc: ["body", "prompt"], msg: expect.any(String), type: "missing" },
        { loc: ["body", "steps"], msg: expect.any(String), type: "value_error" },
        { loc: ["body", "zoom"], msg: "unknown field; known are: prompt, steps", type: "value_error" },
      ],
    });
    expect(begun).toEqual([]);
  });

  test.each(["NaN", "-1e999", '{"steps":1e999,"prompt":"a"}', '{"steps":18446744073709551616,"prompt":"a"}'])(
    "refuses the number in %s",
    async (body) => {
      const { server, begun } = fixture();
      expect([400, 422]).toContain((await server.fetch(post("/", body))).status);
      expect(begun).toEqual([]);
    },
  );

  test.each<[string, Body]>([
    ["no body", ""],
    ["half a body", '{"prompt":'],
    ["bytes that are no UTF-8", new Uint8Array([0x7b, 0xff, 0x7d])],
    ["too much nesting", `{"prompt":${"[".repeat(limits.jsonDepth)}${"]".repeat(limits.jsonDepth)}}`],
    ["endless nesting", "[".repeat(250_000)],
  ])("answers 400 to %s", async (_what, body) => {
    const { server, begun } = fixture();
    const response = await server.fetch(post("/", body));
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: "BAD_REQUEST" }, detail: expect.any(String) });
    expect(begun).toEqual([]);
  });

  test("takes brackets and quotes inside of a text for what they are", async () => {
    const { server, begun } = fixture();
    const prompt = `${'\\"[{'.repeat(1_000)}\\`;
    expect((await server.fetch(ask("/", { prompt }))).status).toBe(200);
    expect(begun[0]?.input).toMatchObject({ prompt });
  });

  test("counts a body that announces no length, and refuses it at the limit", async () => {
    const { server, begun } = fixture();
    const chunk = new Uint8Array(1024 * 1024).fill(0x20);
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += chunk.byteLength;
        controller.enqueue(chunk);
      },
    });
    const response = await server.fetch(post("/", body, { duplex: "half" }));
    expect([response.status, await codeOf(response)]).toEqual([413, "TOO_LARGE"]);
    expect(sent).toBeLessThanOrEqual(limits.bodyBytes + 3 * chunk.byteLength);
    expect(begun).toEqual([]);
  });

  test("accepts a body as large as the limit", async () => {
    const { server } = fixture();
    const start = '{"prompt":"a","steps":1';
    const body = `${start}${" ".repeat(limits.bodyBytes - start.length - 1)}}`;
    expect((await server.fetch(post("/", body))).status).toBe(200);
  });

  test("refuses a prompt that is too long", async () => {
    const { server } = fixture();
    expect((await server.fetch(ask("/", { prompt: "a".repeat(limits.promptCharacters + 1) }))).status).toBe(422);
  });

  test("answers 429 and when to try again while the queue is full", async () => {
    const { server, queue } = fixture({ dispatch: untilCancelled(), concurrency: 1, maxQueued: 1 });
    void server.fetch(ask("/", { prompt: "runs" }));
    void server.fetch(ask("/", { prompt: "waits" }));
    await eventually(() => queue.stats.running === 1 && queue.stats.queued === 1);
    const response = await server.fetch(ask("/", { prompt: "too many" }));
    expect([response.status, response.headers.get("retry-after")]).toEqual([429, "1"]);
  });

  test("cancels its request when the caller leaves, running or waiting", async () => {
    const { server, queue, cancels } = fixture({ dispatch: untilCancelled(), concurrency: 1 });
    const [running, waiting] = [new AbortController(), new AbortController()];
    const first = server.fetch(ask("/", { prompt: "a" }, { signal: running.signal }));
    const second = server.fetch(ask("/", { prompt: "b" }, { signal: waiting.signal }));
    await eventually(() => queue.stats.running === 1 && queue.stats.queued === 1);
    waiting.abort();
    running.abort();
    expect([(await first).status, (await second).status]).toEqual([499, 499]);
    expect(cancels).toEqual(["request-1"]);
  });

  test("does not even queue a request whose caller has left", async () => {
    const { server, begun } = fixture();
    const left = new AbortController();
    const request = ask("/", { prompt: "a" }, { signal: left.signal });
    left.abort();
    expect((await server.fetch(request)).status).toBe(499);
    expect(begun).toEqual([]);
  });

  test("that returns what is no JSON fails with a sentence", async () => {
    const { server } = fixture({ dispatch: answering(completed({ seed: 1n })) });
    const response = await server.fetch(ask("/", { prompt: "a" }));
    expect([response.status, await codeOf(response)]).toEqual([500, "OUTPUT_INVALID"]);
  });

  test("that returns nothing answers null", async () => {
    const { server } = fixture({ dispatch: answering(completed(undefined)) });
    expect(await (await server.fetch(ask("/", { prompt: "a" }))).json()).toBeNull();
  });
});

describe("a failed request", () => {
  test.each(Object.keys(ERROR_CODES).filter((code): code is ErrorCode => code in STATUS))(
    "with %s has the status of the table",
    async (code) => {
      const { server } = fixture({ dispatch: answering(progress(1), failed(code)) });
      const response = await server.fetch(ask("/", { prompt: "a" }));
      expect(response.status).toBe(STATUS[code]);
      expect(await response.json()).toMatchObject({
        error: { code, message: `because of ${code}` },
        detail: `because of ${code}`,
      });
      expect(response.headers.get("x-flambeau-request-id")).toBe("request-1");
    },
  );

  test("answers only with statuses that the OpenAPI document tells of, or 404", () => {
    const { post: operation } = openapi(app).paths["/"] ?? {};
    const told = Object.keys(Object(operation?.["responses"]));
    const untold = Object.values(STATUS).filter((status) => !told.includes(String(status)));
    expect(new Set(untold)).toEqual(new Set([404]));
  });

  const python = {
    pythonType: "ValueError",
    traceback: "Traceback: at 0x7f3a2b1c",
    message: "<Tensor at 0x7f3a2b1c> is no picture",
  };

  test("tells Python's traceback on the developer's own machine", async () => {
    const { server } = fixture({ dispatch: answering(failed("PYTHON_RAISED", python)) });
    expect(await (await server.fetch(ask("/", { prompt: "a" }))).json()).toMatchObject({ error: python });
  });

  test("tells others neither traceback nor memory address", async () => {
    const access = { host: "0.0.0.0", key: "0123456789abcdef" };
    const { server } = fixture({ dispatch: answering(failed("PYTHON_RAISED", python)), access });
    const headers = { authorization: `Key ${access.key}` };
    const text = await (await server.fetch(ask("/", { prompt: "a" }, { headers }))).text();
    expect(text).not.toMatch(/0x[0-9a-f]{6,}|traceback/);
    expect(text).toContain("ValueError");
  });
});

describe("a stream endpoint", () => {
  const chunk = (text: string): RequestEvent => ({ type: "output", chunk: text });

  test("answers with one event for each chunk", async () => {
    const { server } = fixture({ dispatch: answering(chunk("a"), progress(1), chunk("b\n\nc"), completed(null)) });
    const response = await server.fetch(ask("/v1/:tokens", { prompt: "a" }));
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
    expect(await response.text()).toBe('data: "a"\n\ndata: "b\\n\\nc"\n\n');
  });

  test("has the status of its failure when nothing was sent before", async () => {
    const { server } = fixture({ dispatch: answering(failed("OUT_OF_MEMORY")) });
    expect((await server.fetch(ask("/v1/:tokens", { prompt: "a" }))).status).toBe(503);
  });

  test.each<[string, RequestEvent[], string]>([
    ["a failure", [chunk("a"), failed("OUT_OF_MEMORY")], "OUT_OF_MEMORY"],
    ["a cancel", [chunk("a"), { type: "cancelled" }], "CANCELLED"],
    ["a chunk that is no JSON", [chunk("a"), { type: "output", chunk: 1n }, completed(null)], "OUTPUT_INVALID"],
  ])("ends with an error event after %s", async (_what, events, code) => {
    const { server } = fixture({ dispatch: answering(...events) });
    const text = await (await server.fetch(ask("/v1/:tokens", { prompt: "a" }))).text();
    const [first, last] = text.split("\n\n");
    expect(first).toBe('data: "a"');
    expect(last).toMatch(/^event: error\ndata: \{/);
    expect(JSON.parse(last?.slice("event: error\ndata: ".length) ?? "")).toMatchObject({ error: { code } });
  });

  test("cancels its request when the caller stops reading", async () => {
    const { server, cancels } = fixture({ dispatch: untilCancelled(chunk("a")) });
    const response = await server.fetch(ask("/v1/:tokens", { prompt: "a" }));
    await response.body?.cancel();
    await eventually(() => cancels.length === 1);
  });
});
