// What one run of a benchmark came to, as a file: one record for each processor model, the newest in place of the one before.
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Machine } from "./machine.ts";
import type { Figure } from "./measure.ts";

export interface Target {
  readonly claim: string;
  readonly value: number;
  /** In words, such as `<= 1.5`. */
  readonly target: string;
  readonly reached: boolean;
}

export interface BenchRecord {
  /** ISO 8601. */
  readonly date: string;
  readonly machine: Machine;
  readonly load: { readonly before: readonly number[]; readonly after: readonly number[] };
  readonly rounds: number;
  readonly figures: Readonly<Record<string, Figure & { readonly unit: string }>>;
  readonly ratios: Readonly<Record<string, number>>;
  readonly targets: readonly Target[];
  /** What was left out, and whatever else belongs to the figures: seeds, options, reports. */
  readonly notes: Readonly<Record<string, unknown>>;
}

/** Writes `results/<name>.json`; returns the path. */
export async function keep(name: string, record: BenchRecord): Promise<string> {
  const path = fileURLToPath(new URL(`./results/${name}.json`, import.meta.url));
  const text = await readFile(path, "utf8").catch(() => "{}");
  const records: Record<string, unknown> = JSON.parse(text);
  records[record.machine.cpu] = rounded(record);
  await mkdir(dirname(path), { recursive: true });
  // In one step: a run that is ended while it writes leaves the old records.
  await writeFile(`${path}.new`, `${JSON.stringify(records, undefined, 2)}\n`);
  await rename(`${path}.new`, path);
  return path;
}

export function show(record: BenchRecord): string {
  const lines = [`load before ${record.load.before.join(" ")}, after ${record.load.after.join(" ")}`, ""];
  for (const [name, { unit, min, median, p99, count }] of Object.entries(record.figures)) {
    const [least, middle, high] = [min, median, p99].map((value) => significant(value).toString().padStart(9));
    lines.push(`${name.padEnd(34)} ${unit.padEnd(7)} min ${least}  median ${middle}  p99 ${high}  n ${count}`);
  }
  lines.push("");
  for (const [name, ratio] of Object.entries(record.ratios)) lines.push(`${name.padEnd(58)} ${significant(ratio)}`);
  lines.push("");
  for (const { claim, value, target, reached } of record.targets) {
    lines.push(`${reached ? "reached" : "MISSED "}  ${claim}: ${significant(value)} (${target})`);
  }
  for (const [name, note] of Object.entries(record.notes)) lines.push(`${name}: ${JSON.stringify(note)}`);
  return lines.join("\n");
}

function rounded(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_key, item) => (typeof item === "number" ? significant(item) : item)));
}

/** Four digits: more would say what was not measured. Whole numbers stay. */
function significant(value: number): number {
  return Number.isInteger(value) ? value : Number(value.toPrecision(4));
}
