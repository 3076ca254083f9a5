// What Python reports as failed, against a worker that a test plays: which error it becomes, and that somebody is told once.
import { describe, expect, test } from "vitest";
import { FrameType } from "../../src/bridge/protocol.ts";
import { PyError, PyOutOfMemoryError } from "../../src/errors.ts";
import { connected, failure, turn } from "../support/channel.ts";
import { failureOf } from "../support/errors.ts";

describe("failures", () => {
  async function failed(body: object): Promise<Error> {
    const { peer, py } = await connected();
    const call = failureOf(py.import("loader").load("x"));
    peer.send(FrameType.failure, (await peer.expect(FrameType.call)).id, body);
    return call;
  }

  test("carry Python's type, message and traceback, and the line of TypeScript that made the call", async () => {
    const error = await failed(failure({ hint: "mount the disk" }));
    expect(error).toBeInstanceOf(PyError);
    expect(error).toMatchObject({
      code: "PYTHON_RAISED",
      name: "PyError",
      pythonType: "ValueError",
      callPath: "loader.load()",
    });
    expect(error.message).toBe("ValueError: no such file\n  hint: mount the disk");
    expect((error as PyError).is("Exception")).toBe(true);
    const lines = (error.stack ?? "").split("\n");
    expect(lines.some((line) => line.includes("failures.test.ts"))).toBe(true);
    expect(lines.filter((line) => line.includes("/src/bridge/"))).toEqual([]);
    expect(error.stack).toContain("— Python —\nTraceback");
  });

  test("carry their causes, and the members of a group", async () => {
    const cause = failure({ type: "KeyError", mro: ["KeyError"], message: "'a'" });
    expect((await failed(failure({ cause }))).cause).toMatchObject({ pythonType: "KeyError" });
    const group = await failed(
      failure({ type: "ExceptionGroup", mro: ["ExceptionGroup"], errors: [cause, failure()], cause: failure() }),
    );
    expect(group).toMatchObject({
      errors: [{ pythonType: "KeyError" }, { pythonType: "ValueError" }],
      cause: { pythonType: "ValueError", errors: [] },
    });
  });

  test("with a code of ours are that error", async () => {
    const memory = await failed(failure({ code: "OUT_OF_MEMORY", live: { handles: 3, bytes: 1_000 } }));
    expect(memory).toBeInstanceOf(PyOutOfMemoryError);
    expect(memory).toMatchObject({ code: "OUT_OF_MEMORY", retryable: true, liveBytes: 1_000, liveHandles: 3 });
    expect(await failed(failure({ code: "MODEL_UNREACHABLE" }))).toMatchObject({
      code: "MODEL_UNREACHABLE",
      cause: { pythonType: "ValueError" },
    });
    for (const code of ["NOT_SENDABLE", "STALE_REF", "TOO_LARGE", "PROTOCOL_ERROR"])
      expect(await failed(failure({ code }))).toMatchObject({ code, message: "no such file" });
    expect(await failed({ type: 5 })).toMatchObject({ code: "PROTOCOL_ERROR" });
  });

  test("of an earlier link are the same error in everything that was built on it", async () => {
    const { peer, py } = await connected();
    const first = py.import("a").b();
    const last = first.c().d();
    const ids = [
      await peer.expect(FrameType.call),
      await peer.expect(FrameType.call),
      await peer.expect(FrameType.call),
    ].map(({ id }) => id);
    const [one = 0] = ids;
    peer.send(FrameType.failure, one, failure());
    for (const id of ids.slice(1)) peer.send(FrameType.failure, id, failure({ link: one }));
    const errors = [await failureOf(first), await failureOf(last)];
    expect(errors[0]).toBe(errors[1]);
    expect(errors[0]).toMatchObject({ callPath: "a.b()" });
    // What is built on it from now on is not even sent.
    expect(await failureOf(first.e())).toBe(errors[0]);
  });

  test("that nobody asked for are told once, outside of requests", async () => {
    const unseen: string[] = [];
    const { peer, py } = await connected({}, { onUnseen: (error) => unseen.push(error.message) });
    const seen = py.import("a").seen();
    py.import("a").unseen().more();
    const [one, two, three] = [
      await peer.expect(FrameType.call),
      await peer.expect(FrameType.call),
      await peer.expect(FrameType.call),
    ];
    peer.send(FrameType.failure, one.id, failure());
    peer.send(FrameType.failure, two.id, failure({ message: "lost" }));
    peer.send(FrameType.failure, three.id, failure({ message: "lost", link: two.id }));
    await failureOf(seen);
    for (let count = 0; count < 5; count++) await turn();
    expect(unseen).toEqual(["ValueError: lost"]);
  });

  test("of an assignment fail the next flush, and are not told a second time", async () => {
    const unseen: Error[] = [];
    const { peer, py } = await connected({}, { onUnseen: (error) => unseen.push(error) });
    const model = py.import("a").model;
    model.unet = py.of(1);
    const flushed = failureOf(py.flush());
    peer.send(FrameType.failure, (await peer.expect(FrameType.call)).id, failure({ message: "cannot assign" }));
    expect(await flushed).toMatchObject({ message: "ValueError: cannot assign", callPath: "a.model.unet = …" });
    await turn();
    expect(unseen).toEqual([]);
    await py.flush();
  });

  test("of unawaited work fail the scope that started it", async () => {
    const { peer, py, channel } = await connected();
    const scope = channel.scopes.create();
    channel.scopes.run(scope, () => void py.import("a").f());
    const { id, body } = await peer.expect(FrameType.call);
    expect(body).toMatchObject({ 5: scope.tag });
    const settled = failureOf(scope.settle());
    peer.send(FrameType.failure, id, failure());
    expect(await settled).toMatchObject({ pythonType: "ValueError" });
  });
});
