import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  barLine,
  finishedLine,
  type MeasuredWait,
  plainWait,
  rateOf,
  secondsLeftOf,
  type Track,
  tracked,
} from "../../src/cli/bar.ts";
import { limits } from "../../src/config.ts";
import type { Wait } from "../../src/log.ts";

const download = (done: number, total: number | null = 100e6): Wait => ({
  id: "d",
  label: "torch",
  done,
  total,
  unit: "bytes",
});

/** Reports `[ms, wait]` one after the other. */
function reported(...reports: readonly (readonly [number, Wait | MeasuredWait])[]): Track {
  let track: Track | undefined;
  for (const [nowMs, wait] of reports) track = tracked(track, wait, nowMs);
  if (track === undefined) throw new Error("no reports");
  return track;
}

const sum = (reports: readonly (readonly [number, unknown])[]): number =>
  reports.reduce((total, [ms]) => total + ms, 0);

describe("a wait as text", () => {
  it("has rate and time left once two reports differ", () => {
    const track = reported([0, download(0)], [1000, download(10e6)]);
    expect(rateOf(track)).toBe(10e6);
    expect(secondsLeftOf(track, 1000)).toBe(9);
    expect(plainWait(track, 1000)).toBe("torch 10 MB of 100 MB 10 MB/s 9 s left");
  });

  it("has no count of one thing", () => {
    const tried: Wait = { id: "o", label: "optimize unet 3/7 int8 static", done: 0, total: 1, unit: "steps" };
    const track = reported([0, tried], [2000, { ...tried, done: 1, finished: true }]);
    expect(finishedLine(track, 2000)).toBe("optimize unet 3/7 int8 static in 2.0 s");
  });

  it("counts the time left down while no report comes", () => {
    const track = reported([0, download(0)], [1000, download(10e6)]);
    expect(secondsLeftOf(track, 4000)).toBe(6);
    expect(secondsLeftOf(track, 60_000)).toBeNull();
  });

  it("follows the rate of the last seconds and not of the whole wait", () => {
    const slowThenFast = reported([0, download(0)], [60_000, download(1e6)], [61_000, download(11e6)]);
    expect(rateOf(slowThenFast)).toBe(10e6);
  });

  it("keeps a rate for a wait that reports more seldom than the window", () => {
    const track = reported([0, download(0)], [2 * limits.rateWindowMs, download(20e6)]);
    expect(rateOf(track)).toBe(1e6);
  });

  it("starts the rate anew when the count goes back", () => {
    const track = reported([0, download(0)], [1000, download(50e6)], [2000, download(1e6)]);
    expect(rateOf(track)).toBeNull();
  });

  it("says nothing of rate and end where neither is known, but the time so far", () => {
    const track = reported([0, { id: "s", label: "setup", done: 0, total: null, unit: "seconds" }]);
    expect(plainWait(track, 0)).toBe("setup");
    expect(plainWait(track, 12_400)).toBe("setup 12 s");
  });

  it("takes a request's own measures: step 12/30 18.2 it/s 1 s left", () => {
    const step: MeasuredWait = {
      id: "r",
      label: "step",
      done: 12,
      total: 30,
      unit: "steps",
      ratePerSecond: 18.2,
      secondsLeft: 0.99,
    };
    expect(plainWait(reported([0, step]), 0)).toBe("step 12/30 18.2 it/s 1 s left");
    expect(barLine(reported([0, step]), 0, 79)).toBe(
      "step 12/30  [████████████░░░░░░░░░░░░░░░░░░]  18.2 it/s  1 s left",
    );
  });

  it("turns a slow rate round: seconds for one step", () => {
    const step: MeasuredWait = {
      id: "r",
      label: "step",
      done: 1,
      total: 3,
      unit: "steps",
      ratePerSecond: 0.25,
      secondsLeft: 8,
    };
    expect(plainWait(reported([0, step]), 0)).toBe("step 1/3 4.0 s/it 8 s left");
  });

  it("draws a moving block where the total is unknown", () => {
    const track = reported([0, { id: "s", label: "setup", done: 0, total: null, unit: "seconds" }]);
    const [first, later] = [barLine(track, 2000, 79), barLine(track, 2000 + 3 * limits.redrawMs, 79)];
    expect(first).toMatch(/^setup {2}\[░*██████░*\] {2}2 s$/);
    expect(later).not.toBe(first);
  });

  it("drops the bar on a narrow terminal, then cuts the text", () => {
    const track = reported([0, download(0)], [1000, download(10e6)]);
    expect(barLine(track, 1000, 42)).toBe("torch 10 MB of 100 MB  10 MB/s  9 s left");
    expect(barLine(track, 1000, 12)).toBe("torch 10 MB…");
  });

  it("tells in its last line how much it was and how long it took", () => {
    const track = reported([0, download(0)], [12_300, { ...download(6.94e9, 6.94e9), finished: true }]);
    expect(finishedLine(track, 12_300)).toBe("torch 6.9 GB in 12.3 s");
  });

  it("is never wider than the terminal, whatever the numbers", () => {
    const wait = fc.record({
      id: fc.constant("w"),
      label: fc.string({ unit: "grapheme-ascii" }),
      done: fc.double({ min: -1e18, max: 1e18, noNaN: true }),
      total: fc.option(fc.double({ min: -1e18, max: 1e18, noNaN: true })),
      unit: fc.constantFrom(
        "bytes" as const,
        "packages" as const,
        "steps" as const,
        "seconds" as const,
        "items" as const,
      ),
    });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(100_000), wait), { minLength: 1 }),
        fc.integer({ min: 1, max: 200 }),
        (reports, columns) => {
          const timed = reports.map(([, one], index) => [sum(reports.slice(0, index + 1)), one] as const);
          const nowMs = sum(reports);
          const track = reported(...timed);
          expect(barLine(track, nowMs, columns).length).toBeLessThanOrEqual(columns);
          expect(track.samples.length).toBeLessThanOrEqual(limits.rateSamplesMax + 1);
        },
      ),
    );
  });
});
