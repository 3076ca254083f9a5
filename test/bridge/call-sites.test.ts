// Which line an error of Python names, with and without a stack that was taken when the call was made.
import { describe, expect, test } from "vitest";
import { FrameType } from "../../src/bridge/protocol.ts";
import { connected, failure, nextCall } from "../support/channel.ts";
import { failureOf } from "../support/errors.ts";

type Connected = Awaited<ReturnType<typeof connected>>;

async function refuse({ peer }: Connected): Promise<void> {
  peer.send(FrameType.failure, (await nextCall(peer)).id, failure());
}

/** The functions of this file that a stack names, innermost first. */
function named(error: Error): string[] {
  return [...(error.stack ?? "").matchAll(/at (?:async )?(\w+) \(.*call-sites\.test\.ts/g)].map(
    ([, name]) => name ?? "",
  );
}

describe("the line of a call", () => {
  test("is where it was made, also when it is awaited elsewhere or by nobody", async () => {
    const seen: Error[] = [];
    const setting = await connected({}, { onUnseen: (error) => seen.push(error) });
    const makes = () => setting.py.import("a").f();
    const awaitsIt = async (call: PromiseLike<unknown>) => await call;
    const error = failureOf(awaitsIt(makes()));
    await refuse(setting);
    expect(named(await error)[0]).toBe("makes");
    const leaves = () => {
      setting.py.import("a").g();
    };
    leaves();
    await refuse(setting);
    while (seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(named(seen[0] as Error)[0]).toBe("leaves");
  });

  test("is where it is awaited for the calls of a dense series, before Python's own lines", async () => {
    const setting = await connected({ callSitesPerSecond: 0 });
    const awaits = async () => await setting.py.import("a").f();
    const around = async () => {
      await awaits();
    };
    const error = failureOf(around());
    await refuse(setting);
    expect(named(await error).slice(0, 2)).toEqual(["awaits", "around"]);
    expect((await error).stack).toMatch(/in a\.f\(\)\n +at .*call-sites[\s\S]*— Python —\nTraceback/);
    expect((await error).stack?.match(/in a\.f\(\)/g)).toHaveLength(1);
  });

  test("is there once for a call that several await, and for one that had failed before it was awaited", async () => {
    const setting = await connected({ callSitesPerSecond: 0 });
    const call = setting.py.import("a").f();
    const first = async () => await call;
    const second = async () => await call;
    const both = Promise.all([failureOf(first()), failureOf(second())]);
    await refuse(setting);
    const [one, two] = await both;
    expect(one).toBe(two);
    expect(named(one)).toContain("first");
    expect(named(one)).not.toContain("second");
    const early = setting.py.import("a").g();
    await refuse(setting);
    const late = async () => await early;
    expect(named(await failureOf(late()))).toContain("late");
  });

  test("is taken for as many calls as the limit allows, and again when time has passed", async () => {
    const setting = await connected({ callSitesPerSecond: 20 });
    const made = () => setting.channel.openCalls.map(({ site }) => site !== undefined);
    for (let count = 0; count < 4; count++) setting.py.import("a").f();
    expect(made()).toEqual([true, true, false, false]);
    await new Promise((resolve) => setTimeout(resolve, 110));
    setting.py.import("a").f();
    expect(made()[4]).toBe(true);
    setting.channel.fail(new Error("over"));
  });
});
