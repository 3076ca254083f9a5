// Bulk that one side has no memory for: its own call fails and says so, the bytes are read and forgotten, the channel goes on.
import { describe, expect, test } from "vitest";
import { Ext, FrameType } from "../../src/bridge/protocol.ts";
import { FlambeauError, PyOutOfMemoryError } from "../../src/errors.ts";
import { connected, nextCall, nextOf } from "../support/channel.ts";
import { startWorker } from "../support/worker.ts";

const MIB = 1024 * 1024;
/** More than any address space holds. */
const HUGE = 2 ** 50;
const announced = (id: number, length: number): { ext: number; of: unknown } => ({ ext: Ext.attach, of: [id, length] });

describe("Node without memory for what Python sends", () => {
  test("fails that call alone, takes its bytes and those beside them, and hears the next answer", async () => {
    const { peer, py } = await connected({ maxAttachmentBytes: 2 * HUGE });
    const { huge, small } = py.import("bulk");
    const failed = Promise.resolve(huge()).catch((error: unknown) => error);
    const first = await nextCall(peer);
    peer.send(FrameType.result, first.id, [
      announced(1, 8),
      { ext: Ext.array, of: ["uint8", [HUGE], announced(2, HUGE)] },
      announced(3, 4),
    ]);
    const error = await failed;
    expect(error).toBeInstanceOf(FlambeauError);
    expect(error).toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringContaining(`bulk.huge() comes with ${HUGE} bytes`),
    });
    peer.chunk(2, new Uint8Array(100));
    peer.chunk(1, new Uint8Array(8));
    peer.chunk(3, new Uint8Array(4));
    const answered = Promise.resolve(small());
    const second = await nextCall(peer);
    peer.send(FrameType.result, second.id, announced(4, 3));
    peer.chunk(2, new Uint8Array(100));
    peer.chunk(4, Uint8Array.of(1, 2, 3));
    expect(await answered).toEqual(Uint8Array.of(1, 2, 3));
  });

  test("answers a callback with the error instead of calling the function", async () => {
    const { peer, py } = await connected({ maxAttachmentBytes: 2 * HUGE });
    let calls = 0;
    const call = Promise.resolve(py.import("bulk").each(() => calls++));
    const { id, body } = await nextCall(peer);
    const [
      ,
      ,
      ,
      [
        {
          of: [functionId],
        },
      ],
    ] = body as [unknown, unknown, unknown, [{ of: [number] }]];
    peer.send(FrameType.invoke, 1, [functionId, [announced(1, HUGE)], {}, false, id, 0]);
    const answer = await nextOf(peer, FrameType.return);
    expect(answer).toMatchObject({
      id: 1,
      body: [false, { message: expect.stringContaining(`comes with ${HUGE} bytes`) }],
    });
    peer.chunk(1, new Uint8Array(100));
    peer.send(FrameType.result, id, null);
    await call;
    expect(calls).toBe(0);
  });
});

describe("Python without memory for what Node sends", () => {
  test.skipIf(process.platform !== "linux")(
    "fails that call alone, and a callback whose answer it is; what comes after them runs",
    async () => {
      await using python = await startWorker();
      const { py } = python;
      const resource = py.import("resource");
      const used = await py.expr`int(open("/proc/self/statm").read().split()[0]) * ${resource}.getpagesize()`.$number();
      await resource.setrlimit(resource.RLIMIT_AS, py.tuple(used + 128 * MIB, -1));
      const bulk = new Uint8Array(512 * MIB);
      const error: unknown = await Promise.resolve(py.import("builtins").len(bulk)).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(PyOutOfMemoryError);
      expect(error).toMatchObject({ code: "OUT_OF_MEMORY", message: expect.stringContaining(`${bulk.length} bytes`) });
      expect(await py.import("math").sqrt(4).$number()).toBe(2);
      const raised = py.expr`(lambda function: function())(${() => bulk})`;
      expect(await raised.catch((thrown: unknown) => thrown)).toMatchObject({
        message: expect.stringContaining(`MemoryError: ${bulk.length} bytes`),
      });
      expect(await py.import("builtins").len(new Uint8Array(MIB)).$number()).toBe(MIB);
    },
    60_000,
  );
});
