// Whole frames over a stream in memory: any cut of the bytes, bulk that lets others pass, and bytes that are not ours.
import { type Duplex, duplexPair } from "node:stream";
import { describe, expect, test } from "vitest";
import { FrameType, HEADER_BYTES, type Header, writeHeader } from "../../src/bridge/protocol.ts";
import { Transport } from "../../src/bridge/transport.ts";
import { limits } from "../../src/config.ts";
import { FlambeauError } from "../../src/errors.ts";
import { turn } from "../support/channel.ts";
import { FrameReader, frame } from "../support/peer.ts";

const MIB = 1024 * 1024;

interface Received {
  readonly transport: Transport;
  /** The other end of the stream. */
  readonly peer: Duplex;
  readonly frames: { readonly header: Header; readonly body: string }[];
  readonly attached: number[];
  readonly ends: (Error | undefined)[];
}

function receiver(given: Partial<{ maxFrameBytes: number; chunkBytes: number }> = {}): Received {
  const [ours, peer] = duplexPair();
  const frames: Received["frames"] = [];
  const attached: number[] = [];
  const ends: (Error | undefined)[] = [];
  const transport = new Transport(
    ours,
    { ...limits, ...given },
    {
      onFrame: (header, body) => frames.push({ header, body: Buffer.from(body).toString("latin1") }),
      onAttachment: (id) => attached.push(id),
      onEnd: (error) => ends.push(error),
    },
  );
  return { transport, peer, frames, attached, ends };
}

/** A message as the encoder hands it over: room for the header, then the body. */
function message(body: string): Uint8Array {
  return Uint8Array.from([...new Uint8Array(HEADER_BYTES), ...Buffer.from(body)]);
}

describe("frames that arrive", () => {
  const wire = Buffer.concat([
    frame(FrameType.result, 1, "first"),
    frame(FrameType.event, 2 ** 40 + 1, ""),
    frame(FrameType.failure, 3, "x".repeat(40)),
  ]);
  const whole = [
    [FrameType.result, 1, "first"],
    [FrameType.event, 2 ** 40 + 1, ""],
    [FrameType.failure, 3, "x".repeat(40)],
  ];
  const seen = ({ frames }: Received): unknown[] => frames.map(({ header, body }) => [header.type, header.id, body]);

  test("are whole, wherever the bytes were cut in two", async () => {
    for (let cut = 0; cut <= wire.length; cut++) {
      const received = receiver();
      received.peer.write(wire.subarray(0, cut));
      await turn();
      received.peer.write(wire.subarray(cut));
      await turn();
      expect(seen(received), `cut at ${cut}`).toEqual(whole);
    }
  });

  test("are whole when every byte comes alone", async () => {
    const received = receiver();
    for (const byte of wire) {
      received.peer.write(Uint8Array.of(byte));
      await turn();
    }
    expect(seen(received)).toEqual(whole);
  });

  test("a stream that ends is told once, without an error", async () => {
    const received = receiver();
    received.peer.write(wire.subarray(0, 20));
    received.peer.end();
    await turn();
    received.transport.close();
    received.transport.send(FrameType.ping, 1, message("late"));
    await turn();
    expect(received.ends).toEqual([undefined]);
  });
});

describe("attachments that arrive", () => {
  test("are filled where they were announced, from chunks between other frames and any cut", async () => {
    const received = receiver();
    const [one, two] = [new Uint8Array(5), new Uint8Array(3)];
    received.transport.expect(7, one);
    received.transport.expect(8, two);
    const wire = Buffer.concat([
      frame(FrameType.chunk, 7, "abc"),
      frame(FrameType.chunk, 8, "xyz"),
      frame(FrameType.event, 1, "between"),
      frame(FrameType.chunk, 7, "de"),
    ]);
    for (const byte of wire) received.peer.write(Uint8Array.of(byte));
    await turn();
    await turn();
    expect(Buffer.from(one).toString()).toBe("abcde");
    expect(Buffer.from(two).toString()).toBe("xyz");
    expect(received.attached).toEqual([8, 7]);
    expect(received.frames).toHaveLength(1);
  });

  test("one without bytes is whole at once", () => {
    const received = receiver();
    received.transport.expect(7, new Uint8Array(0));
    expect(received.attached).toEqual([7]);
  });

  test.each([
    ["that nobody announced", [] as number[], [frame(FrameType.chunk, 7, "a")]],
    ["longer than announced", [2], [frame(FrameType.chunk, 7, "abc")]],
    ["after the last of them", [1], [frame(FrameType.chunk, 7, "a"), frame(FrameType.chunk, 7, "b")]],
  ])("bytes %s end the channel as PROTOCOL_ERROR", async (_name, announced, wire) => {
    const received = receiver();
    for (const length of announced) received.transport.expect(7, new Uint8Array(length));
    received.peer.write(Buffer.concat(wire));
    await turn();
    expect(received.ends).toMatchObject([{ code: "PROTOCOL_ERROR", message: expect.stringContaining("attachment 7") }]);
  });
});

describe("bytes that are not our protocol", () => {
  test("end the channel as PROTOCOL_ERROR and are shown, so that their writer can be found", async () => {
    const received = receiver();
    received.peer.write("Loading checkpoint shards: 100%\n");
    await turn();
    expect(received.ends).toMatchObject([
      { code: "PROTOCOL_ERROR", message: expect.stringContaining('"Loading checkpoi"') },
    ]);
    expect(received.frames).toEqual([]);
  });

  test("after whole frames are found as well, and the whole frames are delivered", async () => {
    const received = receiver();
    received.peer.write(Buffer.concat([frame(FrameType.result, 1, "good"), Buffer.from("printed into the channel")]));
    await turn();
    expect(received.frames).toMatchObject([{ body: "good" }]);
    expect(received.ends).toMatchObject([{ code: "PROTOCOL_ERROR" }]);
  });

  test("a frame longer than allowed is refused by its header, before any of it is kept", async () => {
    const received = receiver({ maxFrameBytes: 1_000 });
    const head = Buffer.alloc(HEADER_BYTES);
    writeHeader(head, 0, { length: 1_001, type: FrameType.result, lane: 0, id: 1 });
    received.peer.write(head);
    await turn();
    expect(received.ends).toMatchObject([{ code: "PROTOCOL_ERROR", message: expect.stringContaining("1001") }]);
  });

  test("an error in whoever handles a frame ends the channel as INTERNAL and not the process", async () => {
    const [ours, peer] = duplexPair();
    const ends: (Error | undefined)[] = [];
    new Transport(ours, limits, {
      onFrame: () => {
        throw new RangeError("a defect");
      },
      onAttachment: () => {},
      onEnd: (error) => ends.push(error),
    });
    peer.write(frame(FrameType.result, 1, "x"));
    await turn();
    const [error] = ends;
    expect(error).toBeInstanceOf(FlambeauError);
    expect(error).toMatchObject({ code: "INTERNAL", cause: { message: "a defect" } });
  });
});

describe("frames that leave", () => {
  test("keep their order, each with its header", async () => {
    const { transport, peer } = receiver();
    const reader = new FrameReader(peer);
    for (let id = 1; id <= 100; id++) transport.send(FrameType.call, id, message(`call ${id}`));
    for (let id = 1; id <= 100; id++) {
      expect(await reader.next()).toMatchObject({ type: FrameType.call, id, body: Buffer.from(`call ${id}`) });
    }
  });

  test("of one turn leave in one write, or in one each where that would be much to copy, in order in both", async () => {
    for (const [bytes, writes] of [
      [10, 1],
      [50, 4],
    ] as const) {
      const [ours, peer] = duplexPair();
      const written: number[] = [];
      const write = ours.write.bind(ours) as (bytes: Uint8Array) => boolean;
      Object.assign(ours, { write: (piece: Uint8Array) => written.push(piece.length) > 0 && write(piece) });
      const none = { onFrame: () => {}, onAttachment: () => {}, onEnd: () => {} };
      const transport = new Transport(ours, { ...limits, joinedBytes: 150 }, none);
      const reader = new FrameReader(peer);
      for (let id = 1; id <= 4; id++) transport.send(FrameType.call, id, message("x".repeat(bytes)));
      for (let id = 1; id <= 4; id++) expect(await reader.next()).toMatchObject({ id });
      expect(written).toHaveLength(writes);
    }
  });

  test("a frame is never behind the chunks of what was sent after it", async () => {
    const { transport, peer } = receiver();
    const reader = new FrameReader(peer);
    transport.send(FrameType.call, 1, message("names the attachment"));
    transport.sendAttachment(2, new Uint8Array(10));
    expect([(await reader.next()).type, (await reader.next()).type]).toEqual([FrameType.call, FrameType.chunk]);
  });

  test("an attachment leaves in chunks in its order, two of them in turns", async () => {
    const { transport, peer } = receiver({ chunkBytes: 100 });
    const reader = new FrameReader(peer);
    const [one, two] = [new Uint8Array(250).fill(1), new Uint8Array(150).fill(2)];
    transport.sendAttachment(1, one);
    transport.sendAttachment(2, two);
    const chunks = [];
    for (let count = 0; count < 5; count++) {
      const { type, id, body } = await reader.next();
      expect(type).toBe(FrameType.chunk);
      expect(body.every((byte) => byte === id)).toBe(true);
      chunks.push([id, body.length]);
    }
    expect(chunks.filter(([id]) => id === 1)).toEqual([
      [1, 100],
      [1, 100],
      [1, 50],
    ]);
    expect(chunks.filter(([id]) => id === 2)).toEqual([
      [2, 100],
      [2, 50],
    ]);
  });

  test("a ping that is sent while 64 MiB are under way leaves behind two chunks at most", async () => {
    const { transport, peer } = receiver();
    const reader = new FrameReader(peer);
    const bulk = new Uint8Array(64 * MIB);
    transport.sendAttachment(1, bulk);
    const total = Math.ceil(bulk.length / limits.chunkBytes);
    let sent = 0;
    for (const pingAfter of [0, 5, 20, 90]) {
      while (sent < pingAfter) {
        expect((await reader.next()).type).toBe(FrameType.chunk);
        sent++;
      }
      transport.send(FrameType.ping, pingAfter + 1, message("x"));
      let before = 0;
      for (;;) {
        const { type, id } = await reader.next();
        if (type === FrameType.ping) {
          expect(id).toBe(pingAfter + 1);
          break;
        }
        before++;
      }
      expect(before).toBeLessThanOrEqual(2);
      sent += before;
    }
    while (sent < total) {
      expect((await reader.next()).type).toBe(FrameType.chunk);
      sent++;
    }
  });

  test("a peer that reads nothing leaves no more of an attachment in the stream than two chunks", async () => {
    const { transport, peer } = receiver();
    peer.pause();
    transport.sendAttachment(1, new Uint8Array(64 * MIB));
    await turn();
    await turn();
    expect(peer.readableLength).toBeLessThanOrEqual(2 * (limits.chunkBytes + HEADER_BYTES));
  });
});
