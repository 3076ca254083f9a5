// `flambeau bench app.ts`: the user's own requests, eager against optimised. Two workers take turns with the same input, so that
// whatever else the machine does meets both. Knows no modules: the lines about those come from Python.
import type { FileStore } from "../app/files.ts";
import { limits, type Settings } from "../config.ts";
import { FlambeauError } from "../errors.ts";
import type { Host } from "../host/contract.ts";
import type { Logger } from "../log.ts";
import {
  type Asked,
  carriedOut,
  endpointOf,
  helpText,
  inputOf,
  type RunParts,
  type RunRequest,
  wantsHelp,
} from "./run.ts";
import { secondsText } from "./words.ts";

interface Side {
  readonly name: "eager" | "optimized";
  readonly host: Host;
  readonly seconds: number[];
}

/**
 * Prints what a request takes with and without `optimize()`, and the ratio.
 * @throws FlambeauError SETTINGS_INVALID for a number of rounds that is none; every code that input, host and request can have;
 *   CANCELLED when the signal fires
 */
export async function bench(request: RunRequest, parts: RunParts, { signal }: { signal: AbortSignal }): Promise<void> {
  if (wantsHelp(request.argv)) {
    parts.print(helpText(request, parts.columns));
    return;
  }
  const endpoint = endpointOf(request);
  const { own, input } = await inputOf(request, endpoint, parts, signal);
  const rounds = roundsOf(own.rounds);
  const asked = { endpoint, input };
  const unseen = { ...parts, logger: withoutWaits(parts.logger) };
  await using eager = hostOf(request, parts, "off");
  await using optimized = hostOf(request, parts, "on");
  const sides: readonly Side[] = [
    { name: "eager", host: eager, seconds: [] },
    { name: "optimized", host: optimized, seconds: [] },
  ];
  // One after the other: what setup takes is told as well, and two at once would slow each other down.
  for (const { name, host } of sides) {
    parts.logger.info(`starting ${name}`);
    await host.start({ signal });
    for (let i = 0; i < limits.benchWarmUps; i++) await carriedOut(host, asked, unseen, signal);
  }
  for (let round = 0; round < rounds; round++) {
    for (const side of round % 2 === 0 ? sides : [...sides].reverse()) {
      side.seconds.push(await timed(side.host, asked, unseen, signal));
    }
    parts.logger.wait(roundOf(round + 1, rounds));
  }
  parts.print(table(sides));
}

function hostOf(request: RunRequest, parts: RunParts, optimize: "on" | "off"): Host {
  const settings: Settings = {
    ...parts.settings,
    environment: { ...parts.settings.environment, FLAMBEAU_OPTIMIZE: optimize },
  };
  return parts.createHost(request.app, { settings, logger: parts.logger, file: request.file, files: discarded });
}

/** A bar for every request would hide what is measured. */
function withoutWaits(logger: Logger): Logger {
  return {
    debug: (message) => logger.debug(message),
    info: (message) => logger.info(message),
    warn: (message) => logger.warn(message),
    error: (message) => logger.error(message),
    wait: () => {},
  };
}

async function timed(host: Host, asked: Asked, parts: RunParts, signal: AbortSignal): Promise<number> {
  const result = await carriedOut(host, asked, parts, signal);
  return result.seconds;
}

const roundOf = (done: number, total: number) =>
  ({ id: "bench", label: "pair", done, total, unit: "items", finished: done === total }) as const;

/** Files are made as ever, which takes its time, and then dropped. */
const discarded: FileStore = {
  async put(bytes, { contentType, extension }) {
    return { url: "about:blank", fileName: `dropped.${extension}`, contentType, size: bytes.length };
  },
};

function table(sides: readonly Side[]): string {
  const [eager, optimized] = sides;
  if (eager === undefined || optimized === undefined) {
    throw new FlambeauError("INTERNAL", "bench needs two sides; this is a defect of Flambeau");
  }
  const ratios = eager.seconds.map((seconds, i) => seconds / (optimized.seconds[i] ?? Number.NaN));
  const ratio = `${median(ratios).toFixed(2)}x`;
  const spread = `${Math.min(...ratios).toFixed(2)}x to ${Math.max(...ratios).toFixed(2)}x over ${ratios.length} pairs`;
  const rows = sides.map(({ name, host, seconds }) => [
    name,
    secondsTextOf(median(seconds)),
    secondsText(host.timings.find(({ phase }) => phase === "setup")?.seconds ?? 0),
  ]);
  const cells = [["", "request", "setup"], ...rows];
  const lines = cells.map(([name = "", request = "", setup = ""]) =>
    [name.padEnd(10), request.padStart(10), setup.padStart(10)].join(" "),
  );
  return [...lines, "", `optimized is ${ratio} of eager's speed (${spread})`].join("\n");
}

/** Pairs of requests that are timed. */
function roundsOf(text: string | undefined): number {
  if (text === undefined) return limits.benchRounds;
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new FlambeauError("SETTINGS_INVALID", `--rounds expects a number from 1 to 9999, got ${JSON.stringify(text)}`);
}

/** A request may take milliseconds. */
function secondsTextOf(seconds: number): string {
  return seconds < 1 ? `${(seconds * 1000).toFixed(1)} ms` : secondsText(seconds);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = Number.NaN, high = Number.NaN] = [sorted[sorted.length % 2 === 0 ? middle - 1 : middle], sorted[middle]];
  return (low + high) / 2;
}
