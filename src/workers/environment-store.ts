// The folder of environments: where each lies, its manifest, which are in use, and their removal.
// Knows nothing of how they are built.
import { randomBytes } from "node:crypto";
import { lstat, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Settings } from "../config.ts";
import { LAYOUT_VERSION } from "./environment-key.ts";
import { isLinux } from "./platform.ts";
import { isExecutable, runTool } from "./tool.ts";

const Manifest = z.object({
  layout: z.literal(LAYOUT_VERSION),
  key: z.string(),
  requirements: z.array(z.string()),
  packages: z.record(z.string(), z.string()),
  /** Relative to the environment, and what must be in it: files or folders that went missing mean damage. */
  sitePackages: z.string(),
  entries: z.array(z.string()),
  python: z.object({ version: z.string(), executable: z.string() }),
  accelerator: z.enum(["cuda", "cpu"]),
  installer: z.string(),
  created: z.iso.datetime(),
  flambeau: z.string(),
});
export type Manifest = z.output<typeof Manifest>;

const MANIFEST = "flambeau.json";
const KEY = /^[0-9a-f]{32}$/;
/** Folders that are being filled, were found damaged, or are on their way out: `<state>-<key>-<random>`. */
const TRANSIENT = /^\.(?:building|damaged|removing)-([0-9a-f]{32})-/;

export interface StoredEnvironment {
  readonly key: string;
  readonly dir: string;
  readonly requirements: readonly string[];
  readonly bytes: number;
  readonly lastUsed: Date;
  /** Whether a process runs its interpreter now. */
  readonly inUse: boolean;
}

export type Condition =
  | { readonly state: "absent" }
  | { readonly state: "whole"; readonly manifest: Manifest }
  | { readonly state: "damaged"; readonly why: string };

export const environmentsDir = ({ cacheDir }: Settings): string => join(cacheDir, "environments");
export const environmentDir = (settings: Settings, key: string): string => join(environmentsDir(settings), key);
export const lockPath = (settings: Settings, key: string): string => join(environmentsDir(settings), ".locks", key);
export const pythonIn = (dir: string): string => join(dir, "bin", "python");

/** A folder beside the environments, so that a rename puts it in place. */
export function transientDir(settings: Settings, key: string, state: "building" | "damaged" | "removing"): string {
  return join(environmentsDir(settings), `.${state}-${key}-${randomBytes(6).toString("hex")}`);
}

/** Looks at an environment without running it: manifest, interpreter, and every entry of its packages' folder. */
export async function conditionOf(dir: string): Promise<Condition> {
  if ((await lstat(dir).catch(() => null)) === null) return { state: "absent" };
  const manifest = await readManifest(dir);
  if (manifest === null) return { state: "damaged", why: "its manifest is missing or not readable" };
  if (!isExecutable(pythonIn(dir))) return { state: "damaged", why: "its interpreter is missing" };
  const present = new Set(await readdir(join(dir, manifest.sitePackages)).catch(() => []));
  const missing = manifest.entries.find((entry) => !present.has(entry));
  return missing === undefined
    ? { state: "whole", manifest }
    : { state: "damaged", why: `${missing} is missing from its packages` };
}

/** Written last, when everything else is there. */
export async function writeManifest(dir: string, manifest: Manifest): Promise<void> {
  await writeFile(join(dir, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600, flush: true });
}

/** Notes that it was used now; a cache that cannot be written only forgets that. */
export async function touch(dir: string): Promise<void> {
  const now = new Date();
  await utimes(join(dir, MANIFEST), now, now).catch(() => {});
}

/** Removes what builders of this key that are dead have left; only for whoever holds its lock. */
export async function sweep(settings: Settings, key: string): Promise<void> {
  const names = await readdir(environmentsDir(settings)).catch(() => []);
  const left = names.filter((name) => TRANSIENT.exec(name)?.[1] === key);
  await Promise.all(left.map((name) => removeTree(join(environmentsDir(settings), name))));
}

/** Keys of which something unfinished lies about. */
export async function transientKeys(settings: Settings): Promise<readonly string[]> {
  const names = await readdir(environmentsDir(settings)).catch(() => []);
  return [...new Set(names.flatMap((name) => TRANSIENT.exec(name)?.[1] ?? []))];
}

/** Moves it away first: nobody sees half an environment. */
export async function removeEnvironment(settings: Settings, key: string): Promise<void> {
  const aside = transientDir(settings, key, "removing");
  await rename(environmentDir(settings, key), aside);
  await removeTree(aside);
}

export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
}

/** Makes the folder, private to the user. */
export async function makeStore(settings: Settings): Promise<void> {
  await mkdir(environmentsDir(settings), { recursive: true, mode: 0o700 });
}

/** Every environment in the cache, most recently used first, with its size on disk. */
export async function listEnvironments(settings: Settings): Promise<readonly StoredEnvironment[]> {
  const names = (await readdir(environmentsDir(settings)).catch(() => [])).filter((name) => KEY.test(name));
  const commands = names.length === 0 ? "" : await runningCommands();
  const all = await Promise.all(
    names.map(async (key) => {
      const dir = environmentDir(settings, key);
      const manifest = await readManifest(dir);
      const stats = (await stat(join(dir, MANIFEST)).catch(() => null)) ?? (await stat(dir).catch(() => null));
      return {
        key,
        dir,
        requirements: manifest?.requirements ?? [],
        bytes: await sizeOf(dir, new Set()),
        lastUsed: stats?.mtime ?? new Date(0),
        inUse: commands.includes(`${dir}/bin/`),
      };
    }),
  );
  return all.sort((one, other) => other.lastUsed.getTime() - one.lastUsed.getTime());
}

async function readManifest(dir: string): Promise<Manifest | null> {
  try {
    return Manifest.parse(JSON.parse(await readFile(join(dir, MANIFEST), "utf8")));
  } catch {
    return null;
  }
}

/** Command lines of the processes that can be seen; an interpreter is started by its path in the environment. */
async function runningCommands(): Promise<string> {
  if (!isLinux()) {
    const run = await runTool({ file: "/bin/ps", args: ["-axo", "args="], env: {}, cwd: "/" });
    return run.stdout;
  }
  const ids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(ids.map((id) => readFile(`/proc/${id}/cmdline`, "utf8").catch(() => "")));
  return lines.map((line) => line.replaceAll("\0", " ")).join("\n");
}

/** Blocks on disk, each file once however many links it has. */
async function sizeOf(path: string, seen: Set<string>): Promise<number> {
  const stats = await lstat(path).catch(() => null);
  if (stats === null) return 0;
  const identity = `${stats.dev}:${stats.ino}`;
  if (stats.nlink > 1 && !stats.isDirectory() && seen.has(identity)) return 0;
  seen.add(identity);
  if (!stats.isDirectory()) return stats.blocks * 512;
  let sum = stats.blocks * 512;
  for (const name of await readdir(path).catch(() => [])) sum += await sizeOf(join(path, name), seen);
  return sum;
}
