// `npm run bench`, first part: what a call and a megabyte cost through the bridge, beside two floors and pythonia, in one run.
import { strict as assert } from "node:assert";
import { getPriority } from "node:os";
import type { Worker } from "../../src/workers/worker.ts";
import { testPython } from "../support/python.ts";
import { pingCells, replyCells, STOPS_AT_ONCE, stopCells, WORK } from "./liveness.ts";
import { load, machine } from "./machine.ts";
import { type Cell, interleave, type Samples, timed } from "./measure.ts";
import { type BenchOptions, prepare } from "./options.ts";
import { floorPeer, type OurPeer, ourPeer, type Peer, pythoniaPeer, type RawPeer, rawPeer } from "./peers.ts";
import { type BenchRecord, keep, show, type Target } from "./record.ts";

const KINDS = ["attribute", "call", "kwargs", "object"] as const;
const IN_FLIGHT = 100;
const MIB = 1024 * 1024;
const SIZES = [3 * MIB, 64 * MIB];
const CALL_RATIO_MAX = 1.3;
const BANDWIDTH_SHARE_MIN = 0.8;
const PYTHONIA_RATE_MIN = 2;
const PING_P99_MAX_MS = 15;
const STOP_P99_MAX_MS = 20;
const START_RATIO_MAX = 1.5;

const options = prepare({ rounds: 15, quickRounds: 2 });
const python = await testPython();
const before = load();
const peers = await startPeers();
const started: Worker[] = [];
try {
  const cells = [
    ...callCells(peers.callers, options),
    ...bulkCells(peers.ours, peers.raw, options),
    ...pingCells(peers.ours, SIZES[1] ?? MIB),
    ...stopCells(peers.ours, options.isQuick ? 2 : 8),
    ...replyCells(python, started),
  ];
  await checked(peers.callers);
  const onRound = async (round: number): Promise<void> => {
    console.error(`round ${round} of ${options.rounds}`);
    await Promise.all(started.splice(0).map((worker) => worker.stop()));
  };
  const samples = await interleave(cells, options.rounds, { onRound });
  const record = await recordOf(samples);
  console.log(show(record));
  if (!options.isQuick) console.log(`\nkept in ${await keep("bridge", record)}`);
} finally {
  await Promise.all([...peers.callers, peers.raw].map((peer) => peer.close()));
}

async function startPeers(): Promise<{ ours: OurPeer; raw: RawPeer; callers: Peer[]; missing: string | undefined }> {
  const ours = await ourPeer(python);
  const callers: Peer[] = [ours, await floorPeer(python)];
  const pythonia = await pythoniaPeer(python);
  if ("missing" in pythonia) console.error(`pythonia is left out: ${pythonia.missing}`);
  else callers.push(pythonia);
  return { ours, raw: await rawPeer(python), callers, missing: "missing" in pythonia ? pythonia.missing : undefined };
}

/** All of them answer the same; a fast wrong answer would be no figure. */
async function checked(callers: readonly Peer[]): Promise<void> {
  for (const peer of callers) {
    assert.deepEqual([await peer.attribute(), await peer.call(), await peer.kwargs()], [7, 3, 3], peer.name);
    await peer.object();
  }
}

function callCells(callers: readonly Peer[], { isQuick }: BenchOptions): Cell[] {
  const calls = isQuick ? 50 : 400;
  const batches = isQuick ? 2 : 20;
  const sequential = KINDS.flatMap((kind) =>
    callers.map((peer) => ({
      name: `${peer.name} ${kind}`,
      round: async () => {
        // A process that slept through the other cells' turns wakes up slowly.
        await timed(calls / 10, () => peer[kind]());
        return timed(calls, () => peer[kind]());
      },
    })),
  );
  const inFlight = callers.map((peer) => ({
    name: `${peer.name} ${IN_FLIGHT} in flight`,
    round: () => timed(batches, () => Promise.all(Array.from({ length: IN_FLIGHT }, () => peer.call()))),
  }));
  return [...sequential, ...inFlight];
}

function bulkCells(ours: OurPeer, raw: RawPeer, { isQuick }: BenchOptions): Cell[] {
  return SIZES.flatMap((size) => {
    const bytes = new Uint8Array(size).fill(1);
    const count = isQuick ? 1 : size > 16 * MIB ? 3 : 10;
    const mib = size / MIB;
    return [
      { name: `flambeau ${mib} MiB up`, round: () => timed(count, () => ours.up(bytes)) },
      { name: `raw ${mib} MiB up`, round: () => timed(count, () => raw.up(bytes)) },
      { name: `flambeau ${mib} MiB down`, round: () => timed(count, () => ours.down(size)) },
      { name: `raw ${mib} MiB down`, round: () => timed(count, () => raw.down(size)) },
      { name: `raw ${mib} MiB up into new memory`, round: () => timed(count, () => raw.upKept(bytes)) },
      { name: `flambeau ${mib} MiB down into new memory`, round: () => timed(count, () => ours.downKept(size)) },
      { name: `raw ${mib} MiB down into new memory`, round: () => timed(count, () => raw.downKept(size)) },
    ];
  });
}

async function recordOf(samples: Samples): Promise<BenchRecord> {
  const ratios = ratiosOf(samples);
  return {
    date: new Date().toISOString(),
    machine: await machine(python),
    load: { before, after: load() },
    rounds: options.rounds,
    figures: Object.fromEntries(samples.names.map((name) => [name, figureOf(samples, name)])),
    ratios,
    targets: targetsOf(ratios, samples),
    notes: {
      ...(peers.missing === undefined ? {} : { pythonia: `left out: ${peers.missing}` }),
      // Of all peers alike; below 0 beside others that want the processor.
      ...(getPriority() === 0 ? {} : { priority: getPriority() }),
    },
  };
}

function figureOf(samples: Samples, name: string): BenchRecord["figures"][string] {
  const mib = /(\d+) MiB/.exec(name)?.[1];
  if (mib !== undefined || /^(ping|stop)|first reply$/.test(name)) return { unit: "ms", ...samples.figure(name) };
  if (name.endsWith("in flight")) return { unit: "us/call", ...samples.figure(name, (ms) => (ms * 1000) / IN_FLIGHT) };
  return { unit: "us", ...samples.figure(name, (ms) => ms * 1000) };
}

function ratiosOf(samples: Samples): Record<string, number> {
  const ratios: Record<string, number> = {};
  for (const kind of [...KINDS, `${IN_FLIGHT} in flight`]) {
    ratios[`${kind}: time of flambeau / floor`] = samples.ratio(`flambeau ${kind}`, `floor ${kind}`);
    if (samples.has(`pythonia ${kind}`))
      ratios[`${kind}: time of pythonia / flambeau`] = samples.ratio(`pythonia ${kind}`, `flambeau ${kind}`);
  }
  for (const size of SIZES) {
    for (const direction of ["up", "down"]) {
      const what = `${size / MIB} MiB ${direction}`;
      ratios[`${what}: bandwidth of flambeau / raw`] = samples.ratio(`raw ${what}`, `flambeau ${what}`);
      const kept = `${what} into new memory`;
      const ours = direction === "down" ? kept : what;
      ratios[`${kept}: bandwidth of flambeau / raw`] = samples.ratio(`raw ${kept}`, `flambeau ${ours}`);
    }
  }
  ratios["first reply: time of flambeau / bare"] = samples.ratio("flambeau first reply", "bare first reply");
  return ratios;
}

function targetsOf(ratios: Readonly<Record<string, number>>, samples: Samples): Target[] {
  const atMost = (claim: string, value: number, most: number): Target => ({
    claim,
    value,
    target: `<= ${most}`,
    reached: value <= most,
  });
  const atLeast = (claim: string, name: string, least: number): Target => {
    const value = ratios[name] ?? Number.NaN;
    return { claim, value, target: `>= ${least}`, reached: value >= least };
  };
  const ratio = (name: string): number => ratios[name] ?? Number.NaN;
  const call = "p50 of a call, beside bare msgpack frames between the same threads";
  return [
    atMost(call, ratio("call: time of flambeau / floor"), CALL_RATIO_MAX),
    atLeast("p50 of a call, pythonia's beside ours", "call: time of pythonia / flambeau", 1),
    atLeast(
      `calls a second, ${IN_FLIGHT} in flight, ours beside pythonia's`,
      `${IN_FLIGHT} in flight: time of pythonia / flambeau`,
      PYTHONIA_RATE_MIN,
    ),
    ...["up", "down"].map((direction) =>
      atLeast(
        `64 MiB ${direction} in memory used again, share of the raw floor's bandwidth`,
        `64 MiB ${direction}: bandwidth of flambeau / raw`,
        BANDWIDTH_SHARE_MIN,
      ),
    ),
    atMost(
      "ms, p99 of a ping beside 64 MiB up and down",
      samples.figure("ping beside 64 MiB up and down").p99,
      PING_P99_MAX_MS,
    ),
    ...WORK.filter((work) => STOPS_AT_ONCE.has(work)).map((work) =>
      atMost(`ms, p99 of stopping: ${work}`, samples.figure(`stop ${work}`).p99, STOP_P99_MAX_MS),
    ),
    atMost(
      "time to the first reply, beside a bare Python",
      ratio("first reply: time of flambeau / bare"),
      START_RATIO_MAX,
    ),
  ];
}
