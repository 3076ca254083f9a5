import { describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { limits } from "../../src/config.ts";
import type { Dispatch, RequestEvent } from "../../src/queue/request.ts";
import { answering, completed, eventually, progress, untilCancelled } from "./fixture.ts";
import { client, listening } from "./socket-fixture.ts";

describe("a run over a socket", () => {
  test("sends every event of its request up to the terminal one", async () => {
    const { url, begun } = await listening({ dispatch: answering(progress(1), completed({ image: "drawn" })) });
    const { run, ended, messages } = await client(url);
    run("mine", { prompt: "a cat" }, "textToImage");
    await ended("mine");
    expect(messages).toEqual(
      [{ type: "queued", position: 0 }, { type: "started" }, progress(1), completed({ image: "drawn" })].map(
        (event) => ({
          type: "event",
          id: "mine",
          requestId: "request-1",
          event,
        }),
      ),
    );
    expect(begun).toEqual([{ id: "request-1", endpoint: "textToImage", input: { prompt: "a cat", steps: 30 } }]);
  });

  test("goes on beside others, and ids can be used again", async () => {
    const { url } = await listening();
    const { run, ended, eventsOf, messages } = await client(url);
    run("a");
    run("b", { prompt: "b" }, "/v1/:tokens");
    await Promise.all([ended("a"), ended("b")]);
    messages.length = 0;
    run("a");
    await ended("a");
    expect(eventsOf("a").map((event) => event.type)).toEqual(["queued", "started", "completed"]);
  });

  test("is cancelled on request, at once or twice, and an unknown id is no error", async () => {
    const { url, cancels } = await listening({ dispatch: untilCancelled(progress(1)) });
    const { run, send, ended, eventsOf, errors } = await client(url);
    run("a");
    await eventually(() => eventsOf("a").length === 3);
    for (const id of ["a", "a", "unknown"]) send({ type: "cancel", id });
    await ended("a");
    expect(eventsOf("a").at(-1)).toEqual({ type: "cancelled" });
    expect([cancels, errors()]).toEqual([["request-1"], []]);
  });

  test("is cancelled when the socket is dropped, those that wait as well", async () => {
    const { url, queue, cancels, begun } = await listening({ dispatch: untilCancelled(), concurrency: 1 });
    const { run, socket } = await client(url);
    run("runs");
    run("waits");
    await eventually(() => queue.stats.running === 1 && queue.stats.queued === 1);
    socket.terminate();
    await eventually(() => queue.stats.running === 0 && queue.stats.queued === 0);
    expect([cancels, begun.length]).toEqual([["request-1"], 1]);
  });

  test("ends with a failure when an output is no JSON", async () => {
    const { url, cancels } = await listening({ dispatch: untilCancelled({ type: "output", chunk: 1n }) });
    const { run, ended, eventsOf } = await client(url);
    run("a");
    await ended("a");
    expect(eventsOf("a").at(-1)).toMatchObject({ type: "failed", error: { code: "OUTPUT_INVALID" } });
    expect(eventsOf("a").at(-1)).not.toHaveProperty("error.stack");
    await eventually(() => cancels.length === 1);
  });

  test.each<[string, unknown, string | null, string]>([
    ["a wrong input", { type: "run", id: "a", endpoint: "/", input: { zoom: 1 } }, "a", "INPUT_INVALID"],
    ["no input", { type: "run", id: "a", endpoint: "/" }, "a", "BAD_REQUEST"],
    ["an unknown endpoint", { type: "run", id: "a", endpoint: "/x", input: {} }, "a", "NOT_FOUND"],
    ["no id", { type: "run", endpoint: "/", input: {} }, null, "BAD_REQUEST"],
    ["an unknown type", { type: "ruin", id: "a" }, "a", "BAD_REQUEST"],
    ["what is no JSON", "{", null, "BAD_REQUEST"],
    ["what is nested without end", "[".repeat(100_000), null, "BAD_REQUEST"],
  ])("answers %s with an error, and the socket stays usable", async (_what, message, id, code) => {
    const { url, begun } = await listening();
    const { send, run, ended, errors } = await client(url);
    send(message);
    run("good");
    await ended("good");
    expect(errors()).toEqual([{ type: "error", id, error: expect.objectContaining({ code }) }]);
    expect(begun).toHaveLength(1);
  });

  test("does not take binary messages, nor an id that is taken", async () => {
    const { url } = await listening({ dispatch: untilCancelled() });
    const { socket, run, errors } = await client(url);
    socket.send(Buffer.from("{}"), { binary: true });
    run("a");
    run("a");
    await eventually(() => errors().length === 2);
    expect(errors().map(({ id, error }) => [id, Reflect.get(Object(error), "code")])).toEqual([
      [null, "BAD_REQUEST"],
      [null, "BAD_REQUEST"],
    ]);
  });

  test("is refused when too many are open on one socket, and welcome when one has ended", async () => {
    const { url } = await listening({ dispatch: untilCancelled(), concurrency: 100 });
    const { run, send, ended, errors, eventsOf } = await client(url);
    for (let index = 0; index <= limits.requestsPerSocketMax; index++) run(`r${index}`);
    await eventually(() => errors().length === 1);
    expect(errors()[0]).toMatchObject({ id: `r${limits.requestsPerSocketMax}`, error: { code: "QUEUE_FULL" } });
    send({ type: "cancel", id: "r0" });
    await ended("r0");
    run("again");
    await eventually(() => eventsOf("again").length > 0);
  });

  test("is refused when the queue is full", async () => {
    const { url } = await listening({ dispatch: untilCancelled(), concurrency: 1, maxQueued: 1 });
    const { run, errors } = await client(url);
    for (const id of ["a", "b", "c"]) run(id);
    await eventually(() => errors().length === 1);
    expect(errors()[0]).toMatchObject({ id: "c", error: { code: "QUEUE_FULL", retryable: true } });
  });
});

describe("a slow reader", () => {
  const chunkBytes = 256 * 1024;
  const chunks = 200;

  test("is sent no more than may wait for it, loses progress but the newest, and gets every output in the end", async () => {
    const told = { outputs: 0 };
    const dispatch: Dispatch = async function* () {
      for (let index = 0; index < chunks; index++) {
        for (let step = 0; step < 10; step++) yield progress(index * 10 + step);
        yield { type: "output", chunk: `${index}:`.padEnd(chunkBytes, "x") };
        told.outputs++;
        await new Promise((resolve) => setImmediate(resolve));
      }
      yield completed(null);
    };
    const { url, queue } = await listening({ dispatch });
    const { socket, run, ended, eventsOf } = await client(url);
    const sent = vi.spyOn(WebSocket.prototype, "send");
    socket.pause();
    run("a");
    await eventually(() => told.outputs === chunks && queue.stats.running === 0);
    // What the kernel buffers of a loopback connection comes on top of what may wait in this process.
    const peer = sent.mock.contexts.find((context) => context instanceof WebSocket && context !== socket);
    const waiting = peer instanceof WebSocket ? peer.bufferedAmount : 0;
    expect(waiting).toBeGreaterThan(limits.socketBufferedBytes / 2);
    expect(waiting).toBeLessThan(limits.socketBufferedBytes + 2 * chunkBytes);
    sent.mockRestore();
    socket.resume();
    await ended("a");
    const outputs = eventsOf("a").filter((event) => event.type === "output");
    expect(outputs.map((event) => Number.parseInt(String(event.chunk), 10))).toEqual(
      Array.from({ length: chunks }, (_, index) => index),
    );
    const steps = eventsOf("a").flatMap((event) => (event.type === "progress" ? [event.step] : []));
    expect(steps.length).toBeLessThan(chunks * 10);
    expect(steps).toEqual(steps.toSorted((a, b) => a - b));
    expect(eventsOf("a").at(-1)).toEqual(completed(null));
  });

  test("that leaves frees what waits for it", async () => {
    const chunk: RequestEvent = { type: "output", chunk: "x".repeat(4 * 1024 * 1024) };
    const { url, queue, cancels } = await listening({
      dispatch: untilCancelled(...Array.from({ length: 10 }, () => chunk)),
    });
    const { socket, run } = await client(url);
    socket.pause();
    run("a");
    await eventually(() => queue.stats.running === 1);
    socket.terminate();
    await eventually(() => cancels.length === 1 && queue.stats.running === 0);
  });
});
