// Removes environments that nothing needs any more, and what dead builders have left.
import { limits, type Settings } from "../config.ts";
import { silentLogger } from "../log.ts";
import { takeLock } from "./builder-lock.ts";
import { listEnvironments, lockPath, removeEnvironment, sweep, transientKeys } from "./environment-store.ts";
import { findBuilder } from "./find-python.ts";
import { inheritedEnvironment } from "./inherited.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * Removes environments without use for `olderThanDays` (default `limits.environmentUnusedDays`), or all; never one that
 * a process runs or builds. Returns what was removed and its size in bytes.
 */
export async function pruneEnvironments(
  settings: Settings,
  options: { olderThanDays?: number; all?: boolean; signal?: AbortSignal } = {},
): Promise<readonly { key: string; bytes: number }[]> {
  const days = options.all === true ? 0 : (options.olderThanDays ?? limits.environmentUnusedDays);
  const before = Date.now() - days * DAY_MS;
  const stored = await listEnvironments(settings);
  const removable = stored.filter(({ inUse, lastUsed }) => !inUse && lastUsed.getTime() <= before);
  const python = await anyPython(settings, options.signal);
  const removed: { key: string; bytes: number }[] = [];
  for (const { key, bytes } of removable) {
    const isFree = await whileLocked(settings, { key, python, signal: options.signal }, () =>
      removeEnvironment(settings, key),
    );
    if (isFree) removed.push({ key, bytes });
  }
  for (const key of await transientKeys(settings)) {
    await whileLocked(settings, { key, python, signal: options.signal }, () => sweep(settings, key));
  }
  return removed;
}

/** Does it if nobody builds this environment; without any Python nobody can. */
async function whileLocked(
  settings: Settings,
  { key, python, signal }: { key: string; python: string | null; signal: AbortSignal | undefined },
  body: () => Promise<void>,
): Promise<boolean> {
  if (python === null) {
    await body();
    return true;
  }
  const env = inheritedEnvironment(settings.environment);
  await using lock = await takeLock({ path: lockPath(settings, key), python, env, timeoutMs: 0, signal });
  if (lock === null) return false;
  await body();
  return true;
}

async function anyPython(settings: Settings, signal: AbortSignal | undefined): Promise<string | null> {
  const search = { cacheDir: settings.cacheDir, environment: settings.environment, cwd: process.cwd(), signal };
  const found = await findBuilder(search, silentLogger).catch(() => null);
  return found?.executable ?? null;
}
