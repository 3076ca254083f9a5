// `npm run bench`, second part: from a prompt to a PNG through our host, beside the same pipeline in plain Python, in one run;
// and how long a start takes.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { testPython } from "../support/python.ts";
import { load, machine } from "./machine.ts";
import { type Cell, interleave, type Samples } from "./measure.ts";
import { prepare } from "./options.ts";
import { type Order, ourPainter, type Painter, type PainterOptions, plainPainter } from "./painters.ts";
import { type BenchRecord, keep, show, type Target } from "./record.ts";
import { startCells } from "./starts.ts";

const PROMPT = "a red star on a blue background";
const FIRST_SEED = 1000;
/** Whichever is larger. */
const OVERHEAD_SHARE_MAX = 0.03;
const OVERHEAD_MS_MAX = 15;
const STARTS = 9;

const options = prepare({ rounds: 21, quickRounds: 2 });
const steps = options.isQuick ? 2 : 30;
/** Of every painter; the optimizer measures during the first calls, so one that is not done paints on. */
const WARM_UPS = { least: 2, most: 20 };
/** States of an optimizer's report. */
const UNSETTLED = new Set(["waiting", "measuring"]);
const python = await testPython();
const before = load();
const scratch = await mkdtemp(join(tmpdir(), "flambeau-bench-"));
try {
  const starts = await interleave(startCells(python), options.isQuick ? 1 : STARTS);
  const { samples, notes } = await painted();
  const record: BenchRecord = {
    date: new Date().toISOString(),
    machine: await machine(python),
    load: { before, after: load() },
    rounds: options.rounds,
    figures: { ...figures(samples), ...figures(starts) },
    ratios: ratiosOf(samples),
    targets: [targetOf(samples, "eager"), targetOf(samples, "optimized")],
    notes: { prompt: PROMPT, steps, firstSeed: FIRST_SEED, rounds_of_starts: options.isQuick ? 1 : STARTS, ...notes },
  };
  console.log(show(record));
  if (!options.isQuick) console.log(`\nkept in ${await keep("whole-path", record)}`);
} finally {
  await rm(scratch, { recursive: true, force: true });
}

async function painted(): Promise<{ samples: Samples; notes: Record<string, unknown> }> {
  const painters: Painter[] = [];
  try {
    for (const isOptimized of [false, true]) {
      const given: PainterOptions = { python, isOptimized, scratch };
      // One after the other: each takes every core while it loads.
      for (const start of [ourPainter, plainPainter]) painters.push(await start(given));
    }
    for (const painter of painters) await warmUp(painter);
    const onRound = (round: number): void => console.error(`round ${round} of ${options.rounds}`);
    const samples = await interleave(painters.map(painterCell), options.rounds, { onRound });
    const reports = await Promise.all(painters.map(async (painter) => [painter.name, await painter.report()] as const));
    const notes = {
      differences: await differences(painters),
      reports: Object.fromEntries(reports),
    };
    return { samples, notes };
  } finally {
    await Promise.all(painters.map((painter) => painter.close()));
  }
}

async function warmUp(painter: Painter): Promise<void> {
  for (let i = 0; i < WARM_UPS.most; i++) {
    const isSettled = Object.values(await painter.report()).every(({ state }) => !UNSETTLED.has(state));
    if (i >= WARM_UPS.least && isSettled) return;
    await painter.paint(order(i));
  }
}

function order(number: number): Order {
  return { prompt: PROMPT, seed: FIRST_SEED + number, steps };
}

/** Every painter paints the same seed in the same round. */
function painterCell(painter: Painter): Cell {
  let number = WARM_UPS.most;
  return {
    name: painter.name,
    round: async () => {
      const next = order(number++);
      const start = performance.now();
      await painter.paint(next);
      return [performance.now() - start];
    },
  };
}

/** Largest difference of any channel of any pixel between the first painter's picture and the others': 0 to 255. */
async function differences(painters: readonly Painter[]): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  let first: Buffer | undefined;
  for (const painter of painters) {
    const pixels = await sharp(await painter.paint(order(0)))
      .removeAlpha()
      .raw()
      .toBuffer();
    first ??= pixels;
    if (pixels.length !== first.length) throw new Error(`${painter.name} painted another size`);
    found[painter.name] = pixels.reduce((most, value, i) => Math.max(most, Math.abs(value - (first?.[i] ?? 0))), 0);
  }
  return found;
}

function figures(samples: Samples): BenchRecord["figures"] {
  return Object.fromEntries(samples.names.map((name) => [name, { unit: "ms", ...samples.figure(name) }]));
}

function ratiosOf(samples: Samples): Record<string, number> {
  return {
    "eager: time of flambeau / plain": samples.ratio("flambeau eager", "plain eager"),
    "optimized: time of flambeau / plain": samples.ratio("flambeau optimized", "plain optimized"),
    "time of plain eager / flambeau optimized": samples.ratio("plain eager", "flambeau optimized"),
  };
}

/** What our way adds to the same pipeline, as the median of the differences within pairs. */
function targetOf(samples: Samples, kind: "eager" | "optimized"): Target {
  const most = Math.max(OVERHEAD_MS_MAX, OVERHEAD_SHARE_MAX * samples.figure(`plain ${kind}`).median);
  const value = samples.difference(`flambeau ${kind}`, `plain ${kind}`);
  return {
    claim: `${kind}: ms that the whole path adds to plain Python`,
    value,
    target: `<= ${Math.round(most * 10) / 10} (3 % or 15 ms)`,
    reached: value <= most,
  };
}
