// When a dead worker may be replaced: the time is handed in.
import { describe, expect, test } from "vitest";
import { limits } from "../../src/config.ts";
import { RestartPolicy } from "../../src/workers/restart.ts";
import { codeOf } from "../support/errors.ts";

const cause = new Error("Python ended by SIGSEGV.");

describe("a worker that died", () => {
  test("is replaced after waits that grow to their end", () => {
    const policy = new RestartPolicy({
      restartBackoffMs: [100, 500, 2_000],
      restartWindowMs: 1_000_000,
      restartsPerWindow: 5,
    });
    expect([0, 1, 2, 3, 4].map((at) => policy.died(at, cause))).toEqual([100, 500, 2_000, 2_000, 2_000]);
  });

  test("too often in the window is not replaced, and the last cause is told", () => {
    const policy = new RestartPolicy(limits);
    for (let count = 0; count < limits.restartsPerWindow; count++) policy.died(count * 1_000, cause);
    expect(() => policy.died(60_000, cause)).toThrow(
      expect.objectContaining({ code: "CRASH_LOOP", cause, message: expect.stringContaining("6 times in 10 minutes") }),
    );
  });

  test("long ago counts no more: both the wait and the number begin again", () => {
    const policy = new RestartPolicy(limits);
    for (let count = 0; count < limits.restartsPerWindow; count++) policy.died(count, cause);
    const later = limits.restartWindowMs + 10;
    expect(policy.died(later, cause)).toBe(limits.restartBackoffMs[0]);
    expect(codeOf(() => policy.died(later + 1, cause))).toBeUndefined();
  });

  test("exactly at the edge of the window is out of it", () => {
    const policy = new RestartPolicy({ restartBackoffMs: [1, 2], restartWindowMs: 100, restartsPerWindow: 1 });
    policy.died(0, cause);
    expect(codeOf(() => policy.died(99, cause))).toBe("CRASH_LOOP");
    const other = new RestartPolicy({ restartBackoffMs: [1, 2], restartWindowMs: 100, restartsPerWindow: 1 });
    other.died(0, cause);
    expect(other.died(100, cause)).toBe(1);
  });
});
