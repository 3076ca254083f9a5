// Many objects of a real Python at once: scopes that give them back together, and as many made and dropped as one likes.
import { describe, expect, test } from "vitest";
import type { PyExpr, PyRef } from "../../src/bridge/stub-types.ts";
import { failureOf } from "../support/errors.ts";
import { trackedBy } from "../support/tracked.ts";
import { workerForFile } from "../support/worker.ts";

const { py, subject, worker } = await workerForFile();
const { live, collected } = trackedBy(subject);

describe("a scope", () => {
  test("gives back what came inside at its end, but for what it returns and what says `$keep()`", async () => {
    const outside = await subject.Tracked();
    const kept: PyRef[] = [];
    const { picture } = await py.scope(async () => {
      const [one, two, three] = [await subject.Tracked(), await subject.Tracked(), await subject.Tracked()];
      expect(await subject.echo(outside)).toBe(outside);
      expect(await subject.echo(one)).toBe(one);
      for await (const item of subject.tracked(3)) expect((item as PyRef).$type).toContain("Tracked");
      kept.push(two.$keep());
      return { picture: three, notes: [1, "text"] };
    });
    expect(await live()).toBe(3);
    expect(await picture.values[0]).toBe(1);
    expect(await kept[0]?.values[0]).toBe(1);
    expect(await outside.values[0]).toBe(1);
    for (const one of [picture, outside, ...kept]) one[Symbol.dispose]();
    expect(await live()).toBe(0);
  });

  test("nests: what the inner one returns belongs to the outer one, also when the body fails", async () => {
    const seen: PyRef[] = [];
    const thrown = await failureOf(
      py.scope(async () => {
        const inner = await py.scope(async () => subject.Tracked());
        seen.push(inner);
        expect(await inner.values[0]).toBe(1);
        throw new RangeError("in the body");
      }),
    );
    expect(thrown).toBeInstanceOf(RangeError);
    expect(await live()).toBe(0);
    expect(await failureOf(seen[0]?.values)).toMatchObject({
      code: "STALE_REF",
      message: expect.stringContaining("py.scope that has ended"),
    });
  });

  test("takes what comes late as well, unless that was returned", async () => {
    const [returned] = await py.scope(async () => {
      void subject.Tracked().then();
      return [subject.Tracked()];
    });
    await subject.echo(1);
    expect(await live()).toBe(1);
    (await (returned as PyExpr))[Symbol.dispose]();
    expect(await live()).toBe(0);
  });
});

/** A million in all. Calls make one object each and take their time; lists bring their items 64 at once, several lists side by side. */
const BY_CALLS = 24_000;
const BY_LISTS = 976_000;
const LISTS = 8;

describe("without end", () => {
  test("objects are made and dropped with a bounded number alive in Python; a release never frees what came again", async () => {
    let most = 0;
    const count = async (): Promise<void> => {
      most = Math.max(most, worker.channel.handles.size, await live());
    };
    for (let made = 0; made < BY_CALLS; made += 1_000) {
      await Promise.all(Array.from({ length: 1_000 }, () => subject.Tracked().then()));
      if (made % 4_000 === 0) await count();
    }
    let seen = 0;
    const drop = async (): Promise<void> => {
      for await (const _ of subject.tracked(1_000)) seen++;
    };
    while (seen < BY_LISTS) {
      await Promise.all(Array.from({ length: LISTS }, drop));
      await count();
    }
    expect(seen).toBe(BY_LISTS);
    console.log(`1,000,000 objects: at most ${most} at once`);
    expect(most).toBeGreaterThan(1_000);
    expect(most).toBeLessThan(25_000);
    expect(await collected(0)).toBe(0);
    const one = await subject.Tracked();
    const again = subject.echo(one);
    one[Symbol.dispose]();
    expect(await (await again).values[0]).toBe(1);
    {
      using used = await subject.Tracked();
      expect(used.$released).toBe(false);
      (await again)[Symbol.dispose]();
      expect(await live()).toBe(1);
    }
    expect(await live()).toBe(0);
    const pending = (await subject.Tracked()).values.copy().$value();
    expect(await collected(0)).toBe(0);
    expect(await pending).toEqual([1, 2, 3]);
  }, 600_000);
});
