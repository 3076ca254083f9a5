// `flambeau env list` and `env prune`: the Python environments in the cache, as a table, and their removal.
// Given the two functions, so that a test needs no environment.
import type { Settings } from "../config.ts";
import { FlambeauError } from "../errors.ts";
import { bytesText, counted } from "./words.ts";

export interface EnvironmentEntry {
  readonly key: string;
  readonly dir: string;
  readonly requirements: readonly string[];
  readonly bytes: number;
  readonly lastUsed: Date;
  readonly inUse: boolean;
}

export interface EnvParts {
  readonly settings: Settings;
  readonly listEnvironments: (settings: Settings) => Promise<readonly EnvironmentEntry[]>;
  readonly pruneEnvironments: (
    settings: Settings,
    options: { olderThanDays?: number; all?: boolean },
  ) => Promise<readonly { readonly key: string; readonly bytes: number }[]>;
  readonly print: (text: string) => void;
  readonly now: () => Date;
}

export async function envList(parts: EnvParts): Promise<void> {
  const entries = await parts.listEnvironments(parts.settings);
  if (entries.length === 0) {
    parts.print(`no environments in ${parts.settings.cacheDir}; the first \`flambeau run\` makes one`);
    return;
  }
  const newestFirst = [...entries].sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
  const rows = newestFirst.map((entry) => [
    entry.key,
    bytesText(entry.bytes),
    agoText(parts.now().getTime() - entry.lastUsed.getTime()),
    entry.inUse ? "in use" : "",
    entry.requirements.join(" "),
  ]);
  parts.print(table([["KEY", "SIZE", "LAST USED", "", "REQUIREMENTS"], ...rows]));
  const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  parts.print(`${counted(entries.length, "environment")}, ${bytesText(bytes)} in ${parts.settings.cacheDir}`);
}

/**
 * Removes environments that nothing uses.
 * @throws FlambeauError SETTINGS_INVALID for an age that is not a number of days
 */
export async function envPrune(parts: EnvParts, options: { olderThan?: string; all?: boolean }): Promise<void> {
  const olderThanDays = options.olderThan === undefined ? undefined : daysOf(options.olderThan);
  const removed = await parts.pruneEnvironments(parts.settings, {
    ...(olderThanDays !== undefined && { olderThanDays }),
    ...(options.all === true && { all: true }),
  });
  for (const { key, bytes } of removed) parts.print(`removed ${key}   ${bytesText(bytes)}`);
  const bytes = removed.reduce((sum, one) => sum + one.bytes, 0);
  if (removed.length > 0) parts.print(`freed ${bytesText(bytes)} from ${counted(removed.length, "environment")}`);
  else parts.print("nothing to remove; --all removes every environment that is not in use");
}

function daysOf(text: string): number {
  const days = Number(text);
  if (text.trim() !== "" && Number.isFinite(days) && days >= 0) return days;
  throw new FlambeauError("SETTINGS_INVALID", `--older-than expects a number of days, got ${JSON.stringify(text)}`);
}

function agoText(ms: number): string {
  const minutes = Math.floor(Math.max(0, ms) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return `${Math.floor(minutes / 1440)} days ago`;
}

/** Columns as wide as their widest cell; the last one is not padded. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
