// Memory that bulk data arrives in: given back by hand, used again, and never seen by whoever gave it back.
import { describe, expect, test } from "vitest";
import { Blocks } from "../../src/bridge/blocks.ts";
import { Ext, FrameType } from "../../src/bridge/protocol.ts";
import { connected, nextCall } from "../support/channel.ts";

const MIB = 1024 * 1024;

describe("memory that was given back", () => {
  test("is what the next bytes of the same length arrive in, and the old array is empty by then", async () => {
    const { peer, py } = await connected();
    const fetched = async (byte: number): Promise<Uint8Array> => {
      const bytes = py.import("a").bytes().then();
      const { id } = await nextCall(peer);
      peer.send(FrameType.result, id, { ext: Ext.attach, of: [id, MIB] });
      peer.chunk(id, new Uint8Array(MIB).fill(byte));
      return (await bytes) as unknown as Uint8Array;
    };
    const first = await fetched(1);
    const view = new DataView(first.buffer);
    expect(first[MIB - 1]).toBe(1);
    py.recycle(first);
    expect([first.length, view.buffer.byteLength]).toEqual([0, 0]);
    const second = await fetched(2);
    expect([second.length, second[0], second[MIB - 1]]).toEqual([MIB, 2, 2]);
    expect(first.length).toBe(0);
  });

  test("is filled again only once: what is not given back stays its owner's", () => {
    const blocks = new Blocks({ blockBytes: 4, keptBytes: 100 });
    const one = blocks.take(10).fill(7);
    blocks.giveBack(one);
    expect(blocks.take(10)[9]).toBe(7);
    const fresh = blocks.take(10);
    expect(fresh.length).toBe(10);
    fresh.fill(8);
    expect(blocks.take(10)).not.toBe(fresh);
  });

  test("is kept up to a limit, the newest of it, and not at all where it is small or not ours to take", () => {
    const blocks = new Blocks({ blockBytes: 4, keptBytes: 20 });
    for (const byte of [1, 2, 3]) blocks.giveBack(new Uint8Array(10).fill(byte));
    expect([blocks.take(10)[0], blocks.take(10)[0]]).toEqual([3, 2]);
    const small = new Uint8Array(3);
    const shared = new Uint8Array(new SharedArrayBuffer(10));
    for (const array of [small, shared]) blocks.giveBack(array);
    expect([small.length, shared.length]).toEqual([3, 10]);
    blocks.giveBack(new Uint8Array(30));
    blocks.clear();
    expect(blocks.take(30).length).toBe(30);
  });
});
