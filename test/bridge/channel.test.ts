// A channel against a worker that a test plays: what is sent in which order, what is given back, and that everything ends once.
import { describe, expect, test } from "vitest";
import { Ext, FrameType } from "../../src/bridge/protocol.ts";
import { FlambeauError } from "../../src/errors.ts";
import { connected, failure, nextCall, nextOf, turn, ungreeted } from "../support/channel.ts";
import { failureCode, failureOf } from "../support/errors.ts";
import { handle } from "../support/peer.ts";

describe("the greeting", () => {
  test("tells the setup and gives what the worker says of itself", async () => {
    const { peer, channel } = ungreeted();
    const hello = channel.hello({ paths: ["/srv/app"] });
    peer.send(FrameType.hello, 0, {
      protocol: "flambeau",
      version: 1,
      pid: 7,
      python: "3.11.2",
      executable: "/usr/bin/python3",
      platform: "linux",
    });
    expect((await peer.expect(FrameType.hello)).body).toEqual({
      protocol: "flambeau",
      version: 1,
      setup: { paths: ["/srv/app"] },
    });
    expect(await hello).toMatchObject({ pid: 7, python: "3.11.2" });
  });

  test("of another version is refused, naming both", async () => {
    const { peer, channel } = ungreeted();
    peer.send(FrameType.hello, 0, { protocol: "flambeau", version: 9 });
    const error = await failureOf(channel.hello({}));
    expect(error).toMatchObject({
      code: "PROTOCOL_ERROR",
      message: expect.stringMatching(/version 9 .*host version 1/),
    });
  });

  test("of something else is refused", async () => {
    const { peer, channel } = ungreeted();
    peer.send(FrameType.hello, 0, "hello world");
    expect(await failureOf(channel.hello({}))).toMatchObject({
      code: "PROTOCOL_ERROR",
      message: expect.stringContaining("something else"),
    });
  });

  test("that does not come is a TIMEOUT", async () => {
    const { channel } = ungreeted({ helloTimeoutMs: 5 });
    expect(await failureOf(channel.hello({}))).toMatchObject({
      code: "TIMEOUT",
      message: expect.stringContaining("5 ms"),
    });
  });

  test("comes first: any other frame ends the channel", async () => {
    const { peer, channel } = ungreeted();
    peer.send(FrameType.result, 1, 5);
    expect(await failureCode(channel.hello({}))).toBe("PROTOCOL_ERROR");
  });
});

describe("calls", () => {
  test("leave at once in program order, and build on each other without waiting", async () => {
    const { peer, py } = await connected();
    const model = py.import("diffusers").Pipeline.from_pretrained("tiny", { dtype: "float32", variant: undefined });
    const moved = model.unet.to("cpu");
    model.scheduler = moved;
    const [load, to, set] = [
      await peer.expect(FrameType.call),
      await peer.expect(FrameType.call),
      await peer.expect(FrameType.call),
    ];
    expect(load.body).toEqual([
      "call",
      { ext: Ext.module, of: "diffusers" },
      ["Pipeline", "from_pretrained"],
      ["tiny"],
      { dtype: "float32" },
      1,
    ]);
    expect(to.body).toEqual(["call", { ext: Ext.ref, of: load.id }, ["unet", "to"], ["cpu"], {}, 1]);
    expect(set.body).toEqual([
      "set",
      { ext: Ext.ref, of: load.id },
      ["scheduler"],
      [{ ext: Ext.ref, of: to.id }],
      {},
      1,
    ]);
    expect([to.id - load.id, set.id - to.id]).toEqual([1, 1]);
  });

  test("reading a path sends nothing until it is awaited, and then one message", async () => {
    const { peer, py } = await connected();
    const path = py.import("torch").cuda.memory;
    const shown = String(path);
    await turn();
    const value = path
      .$get("name")
      .$item("key")[0]
      .then((settled: unknown) => settled);
    const { id, body } = await peer.expect(FrameType.call);
    expect(body).toEqual([
      "get",
      { ext: Ext.module, of: "torch" },
      ["cuda", "memory", "name", ["key"], [0]],
      [],
      {},
      1,
    ]);
    peer.send(FrameType.result, id, "x");
    expect(await value).toBe("x");
    expect(shown).toBe("torch.cuda.memory");
  });

  test("a result whose bytes follow is delivered when they are whole, later ones before it", async () => {
    const { peer, py } = await connected();
    const [slow, fast] = [py.import("a").bytes(), py.import("a").number()];
    const [one, two] = [await peer.expect(FrameType.call), await peer.expect(FrameType.call)];
    peer.send(FrameType.result, one.id, [{ ext: Ext.attach, of: [1, 4] }, { ext: Ext.attach, of: [2, 0] }, "x"]);
    peer.chunk(1, Uint8Array.of(1, 2));
    peer.send(FrameType.result, two.id, 7);
    expect(await fast).toBe(7);
    peer.chunk(1, Uint8Array.of(3, 4));
    expect(await slow).toEqual([Uint8Array.of(1, 2, 3, 4), new Uint8Array(0), "x"]);
  });

  test("what cannot travel fails its own call; later ones are sent", async () => {
    const { peer, py } = await connected();
    const error = await failureOf(py.import("a").f({ prompt: [Symbol("x")] as never }));
    expect(error).toMatchObject({
      code: "NOT_SENDABLE",
      message: expect.stringContaining("kwargs.prompt[0] is a symbol"),
    });
    py.import("a").g();
    expect((await peer.expect(FrameType.call)).body).toMatchObject({ 2: ["g"] });
  });

  test("more open calls than allowed are refused until some have ended", async () => {
    const { peer, py } = await connected({ maxPendingCalls: 2 });
    const [first] = [py.import("a").f(1), py.import("a").f(2)];
    expect(await failureCode(py.import("a").f(3))).toBe("QUEUE_FULL");
    peer.send(FrameType.result, (await peer.expect(FrameType.call)).id, "done");
    expect(await first).toBe("done");
    const again = py.import("a").f(4);
    await peer.expect(FrameType.call);
    peer.send(FrameType.result, (await nextCall(peer)).id, "again");
    expect(await again).toBe("again");
  });

  test("the owner is told when something is open and when nothing is any more", async () => {
    const busy: boolean[] = [];
    const { peer, py, channel } = await connected({}, { onBusy: (isBusy) => busy.push(isBusy) });
    const calls = Promise.all([py.import("a").f(), py.import("a").g()]);
    for (let count = 0; count < 2; count++) peer.send(FrameType.result, (await peer.expect(FrameType.call)).id, 1);
    await calls;
    const ping = channel.ping();
    const { id } = await nextOf(peer, FrameType.ping);
    peer.send(FrameType.pong, id, { running: null, running_ms: 0, queued: 0, handles: 2, bytes: 10 });
    expect(await ping).toMatchObject({ handles: 2 });
    // The greeting itself is the first pair.
    expect(busy).toEqual([true, false, true, false, true, false]);
  });

  test("the stack of a busy worker can be asked for", async () => {
    const { peer, channel } = await connected();
    const stack = channel.stack();
    peer.send(FrameType.stack, (await peer.expect(FrameType.dump)).id, "Main thread:\n  …");
    expect(await stack).toContain("Main thread");
  });
});

describe("the end", () => {
  test("fails every open call and question once with the reason, and every later call at once", async () => {
    const { py, channel } = await connected();
    const outcomes: unknown[] = [];
    const calls = [py.import("a").f(), py.import("a").g().h(), py.import("a").x];
    const pending = calls.map((call) =>
      call.then(
        () => outcomes.push("value"),
        (error: unknown) => outcomes.push(error),
      ),
    );
    const ping = failureOf(channel.ping());
    const reason = new FlambeauError("WORKER_EXITED", "Python ended by SIGSEGV.");
    channel.fail(reason);
    channel.fail(new Error("again"));
    await Promise.all(pending);
    expect(outcomes).toEqual([reason, reason, reason]);
    expect(await ping).toBe(reason);
    expect(await failureOf(py.import("a").f())).toBe(reason);
    expect(await failureOf(channel.ping())).toBe(reason);
    expect(channel.openCalls).toEqual([]);
  });

  test("makes every handle stale with a message that says so", async () => {
    const { peer, py, channel } = await connected();
    const pending = py.import("a").f();
    const { id } = await peer.expect(FrameType.call);
    peer.send(FrameType.result, id, handle(id, "a.Model"));
    const model = await pending;
    channel.fail(new FlambeauError("WORKER_EXITED", "gone"));
    expect(model.$released).toBe(true);
    const other = await connected();
    expect(await failureOf(other.py.import("a").f(model))).toMatchObject({ code: "STALE_REF" });
  });

  test("of the stream ends the calls where nobody else takes care of it", async () => {
    const { peer, py } = await connected();
    const call = failureOf(py.import("a").f());
    await peer.expect(FrameType.call);
    peer.end();
    expect(await call).toMatchObject({ code: "WORKER_EXITED" });
  });

  test.each([
    ["that only the host sends", FrameType.call, 1, null],
    ["whose body cannot be read", FrameType.result, 1, { ext: 99, of: 1 }],
    ["with the same attachment twice", FrameType.result, 1, [1, 2].map(() => ({ ext: Ext.attach, of: [5, 10] }))],
    ["that calls no function of ours by a number", FrameType.invoke, 1, ["x", [], {}, false]],
  ] as const)("comes with a frame %s, as PROTOCOL_ERROR", async (_name, type, id, body) => {
    const { peer, py } = await connected();
    const call = failureOf(py.import("a").f());
    peer.send(type, id, body);
    expect(await call).toMatchObject({ code: "PROTOCOL_ERROR" });
  });

  test("late frames change nothing: an answer nobody waits for, a second answer, an answer after the end", async () => {
    const { peer, py, channel } = await connected();
    const call = py.import("a").f();
    const { id } = await peer.expect(FrameType.call);
    peer.send(FrameType.result, 999, 1);
    peer.send(FrameType.result, id, "first");
    peer.send(FrameType.result, id, "second");
    peer.send(FrameType.failure, id, failure());
    peer.send(FrameType.pong, 5, null);
    expect(await call).toBe("first");
    expect((await peer.expect(FrameType.release)).body).toContainEqual([999, 1]);
    channel.fail(new Error("over"));
    peer.send(FrameType.result, id, "third");
    await turn();
    expect(await call).toBe("first");
  });
});
