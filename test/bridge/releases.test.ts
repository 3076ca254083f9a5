// What a worker keeps for the host and when it gets it back, against a worker that a test plays.
import { describe, expect, test } from "vitest";
import { FrameType } from "../../src/bridge/protocol.ts";
import { connected } from "../support/channel.ts";
import { failureOf } from "../support/errors.ts";
import { handle } from "../support/peer.ts";

describe("releases", () => {
  test("a value is given back under the call's id, a handle under its own only when that is another", async () => {
    const { peer, py } = await connected();
    const [scalar, fresh, known] = [py.import("a").one(), py.import("a").two(), py.import("a").three()];
    const ids = [
      await peer.expect(FrameType.call),
      await peer.expect(FrameType.call),
      await peer.expect(FrameType.call),
    ].map(({ id }) => id);
    const [one = 0, two = 0, three = 0] = ids;
    peer.send(FrameType.result, one, 5);
    peer.send(FrameType.result, two, handle(two, "list", 3));
    peer.send(FrameType.result, three, handle(two, "list", 3));
    const [value, first, second] = await Promise.all([scalar, fresh, known]);
    expect(value).toBe(5);
    expect(first).toBe(second);
    expect([first.$type, first.$length, first.$released]).toEqual(["list", 3, false]);
    const released = [];
    while (released.length < 2) released.push(...((await peer.expect(FrameType.release)).body as unknown[]));
    expect(released).toEqual([
      [one, 1],
      [three, 1],
    ]);
    // It came twice, so two are given back.
    first[Symbol.dispose]();
    expect((await peer.expect(FrameType.release)).body).toEqual([[two, 2]]);
    expect(await failureOf(first.append(1))).toMatchObject({
      code: "STALE_REF",
      message: expect.stringContaining("(a list) was released"),
    });
  });

  test("releases wait for each other and leave as one message", async () => {
    const { peer, py } = await connected({ releaseBatchMs: 20, releaseBatchCount: 3 });
    const calls = [1, 2, 3].map((n) => py.import("a").f(n));
    for (const _ of calls) peer.send(FrameType.result, (await peer.expect(FrameType.call)).id, null);
    expect((await peer.expect(FrameType.release)).body).toHaveLength(3);
  });

  test("ids of values wait while calls are open, objects that are given back do not", async () => {
    const { peer, py } = await connected();
    const [value, object] = [py.import("a").value(), py.import("a").object()];
    py.import("a")
      .open()
      .catch(() => {});
    const [one, two] = [await peer.expect(FrameType.call), await peer.expect(FrameType.call)];
    await peer.expect(FrameType.call);
    peer.send(FrameType.result, one.id, 1);
    peer.send(FrameType.result, two.id, handle(two.id));
    const [, live] = await Promise.all([value, object]);
    await new Promise((resolve) => setTimeout(resolve, 10));
    // Nothing has left in between.
    py.import("a")
      .next()
      .catch(() => {});
    await peer.expect(FrameType.call);
    live[Symbol.dispose]();
    expect((await peer.expect(FrameType.release)).body).toEqual([
      [one.id, 1],
      [two.id, 1],
    ]);
  });
});
