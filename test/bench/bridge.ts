// `npm run bench`, first part: what a call and a megabyte cost through the bridge, beside two floors and pythonia, in one run.
import { strict as assert } from "node:assert";
import { testPython } from "../support/python.ts";
import { load, machine } from "./machine.ts";
import { type Cell, interleave, type Samples, timed } from "./measure.ts";
import { type BenchOptions, prepare } from "./options.ts";
import { floorPeer, type OurPeer, ourPeer, type Peer, pythoniaPeer, type RawPeer, rawPeer } from "./peers.ts";
import { type BenchRecord, keep, show, type Target } from "./record.ts";

const KINDS = ["attribute", "call", "kwargs", "object"] as const;
const IN_FLIGHT = 100;
const MIB = 1024 * 1024;
const SIZES = [3 * MIB, 64 * MIB];
const CALL_RATIO_MAX = 1.5;
const BANDWIDTH_SHARE_MIN = 0.6;

const options = prepare({ rounds: 15, quickRounds: 2 });
const python = await testPython();
const before = load();
const peers = await startPeers();
try {
  const cells = [...callCells(peers.callers, options), ...bulkCells(peers.ours, peers.raw, options)];
  await checked(peers.callers);
  const onRound = (round: number): void => console.error(`round ${round} of ${options.rounds}`);
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
    targets: targetsOf(ratios),
    notes: peers.missing === undefined ? {} : { pythonia: `left out: ${peers.missing}` },
  };
}

function figureOf(samples: Samples, name: string): BenchRecord["figures"][string] {
  const mib = /(\d+) MiB/.exec(name)?.[1];
  if (mib !== undefined) return { unit: "ms", ...samples.figure(name) };
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
    }
  }
  return ratios;
}

function targetsOf(ratios: Readonly<Record<string, number>>): Target[] {
  const value = (name: string): number => ratios[name] ?? Number.NaN;
  const call = value("call: time of flambeau / floor");
  const bulk = ["up", "down"].map((direction): Target => {
    const share = value(`64 MiB ${direction}: bandwidth of flambeau / raw`);
    return {
      claim: `64 MiB ${direction}, share of the raw floor's bandwidth`,
      value: share,
      target: `>= ${BANDWIDTH_SHARE_MIN}`,
      reached: share >= BANDWIDTH_SHARE_MIN,
    };
  });
  const claim = "p50 of a call, beside bare msgpack frames between the same threads";
  return [{ claim, value: call, target: `<= ${CALL_RATIO_MAX}`, reached: call <= CALL_RATIO_MAX }, ...bulk];
}
