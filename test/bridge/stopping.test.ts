// Calls that are stopped by a signal, by time or with their request, against a worker that a test plays.
import { describe, expect, test } from "vitest";
import { FrameType } from "../../src/bridge/protocol.ts";
import { FlambeauError } from "../../src/errors.ts";
import { connected, failure, nextCall, nextOf, turn } from "../support/channel.ts";
import { failureCode, failureOf } from "../support/errors.ts";

describe("stopping", () => {
  test("by a signal: CANCEL is sent once, and the answer is an AbortError at the line of the call", async () => {
    const { peer, py } = await connected();
    const controller = new AbortController();
    const call = failureOf(py.import("a").slow.$opts({ signal: controller.signal })());
    const { id } = await peer.expect(FrameType.call);
    controller.abort(new Error("the caller left"));
    expect(await peer.expect(FrameType.cancel)).toMatchObject({ id });
    peer.send(FrameType.failure, id, failure({ code: "CANCELLED" }));
    const error = await call;
    expect(error).toMatchObject({ name: "AbortError", code: "CANCELLED", cause: { message: "the caller left" } });
    expect(error.stack).toContain("stopping.test.ts");
  });

  test("by a signal that has fired already: nothing is sent", async () => {
    const { peer, py } = await connected();
    expect(await failureCode(py.import("a").slow.$opts({ signal: AbortSignal.abort() })())).toBe("CANCELLED");
    py.import("a").next();
    expect((await peer.expect(FrameType.call)).body).toMatchObject({ 2: ["next"] });
  });

  test("by time: the failure is TIMEOUT, also when Python answers with an error of its own", async () => {
    const { peer, py } = await connected();
    for (const answer of [failure({ code: "CANCELLED" }), failure()]) {
      const call = failureOf(py.import("a").slow.$opts({ timeoutMs: 1 })());
      const { id } = await nextCall(peer);
      await nextOf(peer, FrameType.cancel);
      peer.send(FrameType.failure, id, answer);
      expect(await call).toMatchObject({
        code: "TIMEOUT",
        message: expect.stringContaining("a.slow() took longer than 1 ms"),
      });
    }
  });

  test("no time limit is too long for a timer", async () => {
    const { peer, py } = await connected();
    const limited = [Number.POSITIVE_INFINITY, 2 ** 40].map((timeoutMs) => py.import("a").slow.$opts({ timeoutMs })());
    const ids = [await peer.expect(FrameType.call), await peer.expect(FrameType.call)].map(({ id }) => id);
    // A timer that cannot hold its time fires after a millisecond.
    await new Promise((resolve) => setTimeout(resolve, 10));
    const next = py.import("a").next();
    ids.push((await peer.expect(FrameType.call)).id);
    for (const id of ids) peer.send(FrameType.result, id, 1);
    expect(await Promise.all([...limited, next])).toEqual([1, 1, 1]);
  });

  test("a result that was on its way when the signal fired is kept", async () => {
    const { peer, py } = await connected();
    const controller = new AbortController();
    const call = py.import("a").f.$opts({ signal: controller.signal })();
    const { id } = await peer.expect(FrameType.call);
    controller.abort();
    peer.send(FrameType.result, id, "done");
    expect(await call).toBe("done");
  });

  test("a request that ends stops its calls and refuses more, except those that ask for no signal", async () => {
    const { peer, py, channel } = await connected();
    const controller = new AbortController();
    const scope = channel.scopes.create(controller.signal);
    const [stopped, shielded] = channel.scopes.run(scope, () => [
      py.import("a").f().then(),
      py.import("a").g.$opts({ signal: null })().then(),
    ]);
    const [one, two] = [await peer.expect(FrameType.call), await peer.expect(FrameType.call)];
    controller.abort();
    expect(await peer.expect(FrameType.cancel)).toMatchObject({ id: one.id });
    peer.send(FrameType.failure, one.id, failure({ code: "CANCELLED" }));
    peer.send(FrameType.result, two.id, "kept");
    expect(await failureCode(stopped as Promise<unknown>)).toBe("CANCELLED");
    expect(await shielded).toBe("kept");
    expect(await channel.scopes.run(scope, () => failureCode(py.import("a").f()))).toBe("CANCELLED");
    const late = channel.scopes.run(scope, () => py.import("a").g.$opts({ signal: null })().then());
    peer.send(FrameType.result, (await nextCall(peer)).id, "late");
    expect(await late).toBe("late");
  });

  test("a call that does not end within the grace is reported, and one that does is not", async () => {
    const stuck: string[] = [];
    const { peer, py, channel } = await connected({ cancelGraceMs: 5 }, { onStuck: ({ path }) => stuck.push(path) });
    const controller = new AbortController();
    const [ends, stays] = [py.import("a").ends, py.import("a").stays].map((f) =>
      failureOf(f.$opts({ signal: controller.signal })()),
    );
    const { id } = await peer.expect(FrameType.call);
    controller.abort();
    peer.send(FrameType.failure, id, failure({ code: "CANCELLED" }));
    await ends;
    while (stuck.length === 0) await turn();
    expect(stuck).toEqual(["a.stays()"]);
    // The process is ended then; whoever gave up is told so, not that a process ended.
    channel.fail(new FlambeauError("WORKER_EXITED", "Python ended by SIGKILL."));
    expect(await stays).toMatchObject({ code: "CANCELLED" });
  });
});
