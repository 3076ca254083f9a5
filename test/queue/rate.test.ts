import { describe, expect, test } from "vitest";
import { limits } from "../../src/config.ts";
import { createRateMeter } from "../../src/queue/rate.ts";

function meterWithClock() {
  let atMs = 1_000;
  const report = createRateMeter(() => atMs);
  const pass = (ms: number): void => {
    atMs += ms;
  };
  return { report, pass };
}

describe("createRateMeter", () => {
  test("knows nothing at the first step", () => {
    const { report } = meterWithClock();
    expect(report(1, 30, null)).toEqual({ rate: null, secondsLeft: null });
  });

  test("gives steps per second and the seconds left", () => {
    const { report, pass } = meterWithClock();
    report(1, 30, null);
    pass(500);
    expect(report(2, 30, null)).toEqual({ rate: 2, secondsLeft: 14 });
    pass(500);
    expect(report(4, 30, null)).toEqual({ rate: 3, secondsLeft: 26 / 3 });
  });

  test("has no seconds left while the total is unknown, and none below zero", () => {
    const { report, pass } = meterWithClock();
    report(1, null, null);
    pass(100);
    expect(report(2, null, null)).toEqual({ rate: 10, secondsLeft: null });
    pass(100);
    expect(report(3, 2, null).secondsLeft).toBe(0);
  });

  test("starts afresh with a new stage and with a step that goes back", () => {
    const { report, pass } = meterWithClock();
    report(1, 2, "denoise");
    pass(100);
    report(2, 2, "denoise");
    pass(100);
    expect(report(3, 4, "decode").rate).toBeNull();
    pass(100);
    expect(report(1, 4, "decode").rate).toBeNull();
  });

  test("forgets a slow first step once the window has passed it", () => {
    const { report, pass } = meterWithClock();
    report(0, 100, null);
    pass(60_000);
    let rate: number | null = null;
    for (let step = 1; step <= limits.rateWindowSteps + 1; step++) {
      rate = report(step, 100, null).rate;
      pass(100);
    }
    expect(rate).toBeCloseTo(10);
  });

  test("does not divide by a clock that stands still", () => {
    const { report } = meterWithClock();
    report(1, 3, null);
    expect(report(2, 3, null)).toEqual({ rate: null, secondsLeft: null });
    expect(report(2, 3, null)).toEqual({ rate: null, secondsLeft: null });
  });
});
