// Functions that Python calls, against a worker that a test plays: arguments, answers, and what is given back afterwards.
import { describe, expect, test } from "vitest";
import { Ext, FrameType } from "../../src/bridge/protocol.ts";
import { connected, failure, type Setting } from "../support/channel.ts";
import { failureOf } from "../support/errors.ts";
import { handle } from "../support/peer.ts";

describe("functions that Python calls", () => {
  async function passed(
    fn: (...args: unknown[]) => unknown,
  ): Promise<Setting & { functionId: number; callId: number; call: Promise<unknown> }> {
    const setting = await connected();
    const call = setting.py
      .import("a")
      .f(fn as never)
      .then();
    // It may still be open when the test is over.
    call.catch(() => {});
    const { id, body } = await setting.peer.expect(FrameType.call);
    const { of } = (body as { 3: [{ of: [number, number] }] })[3][0];
    return { ...setting, functionId: of[0], callId: id, call };
  }

  test("get their arguments settled, keyword arguments last, and answer", async () => {
    const seen: unknown[] = [];
    const { peer, functionId } = await passed(async (...args) => {
      seen.push(...args);
      return { doubled: 4 };
    });
    peer.send(FrameType.invoke, 1, [functionId, [2, "x"], { step: 3 }, false]);
    expect(await peer.expect(FrameType.return)).toMatchObject({ id: 1, body: [true, { doubled: 4 }] });
    expect(seen).toEqual([2, "x", { step: 3 }]);
  });

  test("that return nothing answer None; that are called one way answer nothing", async () => {
    let calls = 0;
    const { peer, functionId } = await passed(() => {
      calls++;
    });
    peer.send(FrameType.invoke, 1, [functionId, [], {}, true]);
    peer.send(FrameType.invoke, 2, [functionId, [], {}, false]);
    expect(await peer.expect(FrameType.return)).toMatchObject({ id: 2, body: [true, null] });
    expect(calls).toBe(2);
  });

  test("that throw answer the error, and it is the very same one when Python lets it pass", async () => {
    const mistake = new RangeError("out of range");
    const { peer, functionId, callId, call } = await passed(() => {
      throw mistake;
    });
    peer.send(FrameType.invoke, 8, [functionId, [], {}, false]);
    const { body } = await peer.expect(FrameType.return);
    expect(body).toMatchObject([
      false,
      { name: "RangeError", message: "out of range", stack: expect.stringContaining("callbacks.test.ts") },
    ]);
    peer.send(FrameType.failure, callId, failure({ callback: 8 }));
    expect(await failureOf(call)).toBe(mistake);
  });

  test("that return what cannot travel answer why", async () => {
    const { peer, functionId } = await passed(() => ({ image: [Symbol("x")] }));
    peer.send(FrameType.invoke, 1, [functionId, [], {}, false]);
    expect((await peer.expect(FrameType.return)).body).toMatchObject([
      false,
      { message: expect.stringContaining("result.image[0] is a symbol") },
    ]);
  });

  test("are gone with the request that passed them", async () => {
    const { peer, py, channel } = await connected();
    const scope = channel.scopes.create();
    channel.scopes.run(scope, () => void py.import("a").f(() => 1));
    const { body } = await peer.expect(FrameType.call);
    const { of } = (body as { 3: [{ of: [number, number] }] })[3][0];
    scope.end();
    peer.send(FrameType.invoke, 1, [of[0], [], {}, false]);
    expect((await peer.expect(FrameType.return)).body).toMatchObject([
      false,
      { message: expect.stringContaining("after the request that passed it had ended") },
    ]);
  });

  test("give back the objects that they were lent, before Python goes on", async () => {
    let first: unknown;
    const { peer, functionId } = await passed((latents) => {
      first = latents;
    });
    peer.send(FrameType.invoke, 1, [
      functionId,
      [handle(2 ** 40, "torch.Tensor")],
      { extra: handle(2 ** 40 + 1) },
      false,
    ]);
    // Before the answer, which lets Python go on.
    expect((await peer.expect(FrameType.release)).body).toEqual([[2 ** 40, 1]]);
    expect((await peer.expect(FrameType.release)).body).toEqual([[2 ** 40 + 1, 1]]);
    await peer.expect(FrameType.return);
    expect(await failureOf((first as { sum(): PromiseLike<unknown> }).sum())).toMatchObject({
      code: "STALE_REF",
      message: expect.stringContaining("call $keep()"),
    });
  });

  test("keep what they say `$keep()` of, what they return, and what somebody else holds", async () => {
    const held: { $keep(): unknown; $released: boolean }[] = [];
    const { peer, py, functionId, callId } = await passed((kept, returned, known) => {
      held.push(kept as never, returned as never, known as never);
      expect((kept as (typeof held)[number]).$keep()).toBe(kept);
      return returned;
    });
    const mine = py.import("a").known().then();
    const { id } = await peer.expect(FrameType.call);
    peer.send(FrameType.result, id, handle(id));
    const known = await mine;
    peer.send(FrameType.invoke, 1, [functionId, [handle(2 ** 40), handle(2 ** 40 + 1), handle(id)], {}, false]);
    expect((await peer.expect(FrameType.return)).body).toEqual([true, { ext: Ext.ref, of: 2 ** 40 + 1 }]);
    // That it came twice costs nothing while a call is open.
    peer.send(FrameType.result, callId, null);
    expect((await peer.expect(FrameType.release)).body).toEqual([
      [id, 1],
      [callId, 1],
    ]);
    expect(held.map(({ $released }) => $released)).toEqual([false, false, false]);
    expect(held[2]).toBe(known);
  });
});
