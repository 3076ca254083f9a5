// On whose behalf a flow calls Python, without a channel: one scope at a time for each of them.
import { expect, test } from "vitest";
import { Scopes } from "../../src/bridge/scope.ts";

test("a flow is in one scope of each channel that it has entered, and in their own ones again afterwards", async () => {
  const [one, other] = [new Scopes(), new Scopes()];
  const roots = [one.current, other.current];
  const [outer, inner, foreign] = [one.create(), one.create(), other.create()];
  await one.run(outer, async () => {
    expect([one.current, other.current]).toEqual([outer, roots[1]]);
    await other.run(foreign, async () => {
      expect([one.current, other.current]).toEqual([outer, foreign]);
      await one.run(inner, async () => {
        await Promise.resolve();
        expect([one.current, other.current]).toEqual([inner, foreign]);
      });
      expect(one.current).toBe(outer);
    });
    expect([one.current, other.current]).toEqual([outer, roots[1]]);
  });
  expect([one.current, other.current]).toEqual(roots);
});
