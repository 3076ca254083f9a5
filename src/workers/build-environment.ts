// Builds one environment aside, proves that it imports, and puts it in place with a rename.
// Its caller holds the lock; whoever looks meanwhile sees the old state or the new one, never half of it.
import { lstat, mkdir, readdir, readFile, realpath, rename, statfs, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { z } from "zod";
import { limits } from "../config.ts";
import { FlambeauError } from "../errors.ts";
import type { KeyParts } from "./environment-key.ts";
import { LAYOUT_VERSION } from "./environment-key.ts";
import {
  conditionOf,
  environmentDir,
  type Manifest,
  pythonIn,
  removeTree,
  transientDir,
  writeManifest,
} from "./environment-store.ts";
import { inheritedEnvironment } from "./inherited.ts";
import { type Build, type Installer, type InstallJob, installAll } from "./installer.ts";
import { pipInstaller, sitePackages } from "./pip.ts";
import { LAYOUT, VERIFY } from "./python-scripts.ts";
import { applies } from "./requirement.ts";
import { findOnPath, runTool } from "./tool.ts";
import { uvInstaller } from "./uv.ts";

/** What is to be built, and the parts of a `Build` that are known before there is a folder. */
export interface BuildRequest extends Omit<Build, "environment" | "temporary">, Pick<KeyParts, "requirements"> {
  readonly key: string;
  readonly constraints: InstallJob["constraints"];
}

const MAX_SCRIPT_BYTES = 1024 * 1024;
const Verdict = z.object({ failures: z.record(z.string(), z.string()), packages: z.record(z.string(), z.string()) });
const Step = z.object({ importing: z.string(), done: z.number() });

/**
 * Builds, verifies and renames into place; an older folder of the same key that is damaged is replaced at the end.
 * @throws FlambeauError ENV_CONFLICT, ENV_BROKEN, INDEX_UNREACHABLE, DISK_FULL, BAD_PYTHON, CANCELLED
 */
export async function buildEnvironment(request: BuildRequest): Promise<Manifest> {
  await requireDisk(request.settings.cacheDir);
  const root = transientDir(request.settings, request.key, "building");
  const build: Build = { ...request, environment: join(root, "env"), temporary: join(root, "tmp") };
  try {
    await mkdir(build.temporary, { recursive: true, mode: 0o700 });
    const uv = findOnPath("uv", request.settings.environment["PATH"]);
    const installer = uv === null ? await pipInstaller(build) : await uvInstaller(build, uv);
    request.logger.debug(`building ${build.environment} with ${installer.name}`);
    await installAll(installer, build, request);
    const dir = environmentDir(request.settings, request.key);
    await retarget(build.environment, dir);
    const packages = await verify(build, request);
    const manifest = await describe(build, request, { installer, packages });
    await writeManifest(build.environment, manifest);
    await putInPlace(build, request, dir);
    return manifest;
  } finally {
    await removeTree(root);
  }
}

/** @throws FlambeauError DISK_FULL before anything is downloaded. */
async function requireDisk(folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= limits.minFreeDiskBytes) return;
  const inMiB = (bytes: number): string => `${Math.floor(bytes / 1024 ** 2)} MiB`;
  throw new FlambeauError(
    "DISK_FULL",
    `${folder} has ${inMiB(free)} free, and an environment needs at least ${inMiB(limits.minFreeDiskBytes)}; free some space, ` +
      "run `flambeau env prune`, or move the cache with FLAMBEAU_CACHE_DIR",
  );
}

/** Console scripts begin with the path of their interpreter, written at the place of building: make it the final one. */
async function retarget(environment: string, dir: string): Promise<void> {
  const names = await readdir(join(environment, "bin"));
  for (const path of [join(environment, "pyvenv.cfg"), ...names.map((name) => join(environment, "bin", name))]) {
    const stats = await lstat(path);
    if (!stats.isFile() || stats.size > MAX_SCRIPT_BYTES) continue;
    const text = await readFile(path, "latin1"); // Byte for byte, whatever it holds.
    const replaced = text.replaceAll(bytesAsLatin1(environment), bytesAsLatin1(dir));
    if (replaced !== text) await writeFile(path, replaced, "latin1");
  }
}

const bytesAsLatin1 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

/** Imports every required package in one process. Returns what is installed. */
async function verify(build: Build, { requirements }: BuildRequest): Promise<Readonly<Record<string, string>>> {
  const names = requirements.filter((one) => applies(one, build.interpreter.markers)).map(({ name }) => name);
  build.waiting.measureWith(null);
  build.waiting.set({ label: "verifying", done: 0, total: names.length, unit: "packages" });
  const run = await runTool({
    file: pythonIn(build.environment),
    args: ["-I", "-c", VERIFY, ...names],
    env: { ...inheritedEnvironment(build.settings.environment), TMPDIR: build.temporary },
    cwd: build.temporary,
    signal: build.signal,
    guard: build.guard,
    timeoutMs: limits.environmentVerifyTimeoutMs,
    onLine: (line) => {
      const step = Step.safeParse(parseJson(line));
      if (step.success) build.waiting.set({ label: `verifying ${step.data.importing}`, done: step.data.done });
    },
  });
  const verdict = Verdict.safeParse(parseJson(run.stdout.split("\n").at(-1) ?? ""));
  const failures = verdict.success ? Object.entries(verdict.data.failures) : [];
  if (verdict.success && failures.length === 0) return verdict.data.packages;
  const what = run.timedOut
    ? `its imports took longer than ${limits.environmentVerifyTimeoutMs / 60_000} minutes`
    : verdict.success
      ? failures.map(([name, why]) => `${name}: ${why}`).join("\n")
      : `Python ended with status ${run.exitCode ?? "unknown (killed)"}: ${run.output.trim().slice(-500)}`;
  throw new FlambeauError(
    "ENV_BROKEN",
    `the environment was installed but does not import:\n${what}\nOften a system library is missing, or the package does ` +
      "not support this Python or processor; it was not kept",
  );
}

async function describe(
  build: Build,
  request: BuildRequest,
  { installer, packages }: { installer: Installer; packages: Readonly<Record<string, string>> },
): Promise<Manifest> {
  const folder = sitePackages(build.environment, build.interpreter.version);
  const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  return {
    layout: LAYOUT_VERSION,
    key: request.key,
    requirements: request.requirements.map((requirement) => requirement.text),
    packages: Object.fromEntries(Object.entries(packages).sort()),
    sitePackages: relative(build.environment, folder),
    entries: (await readdir(folder)).filter((name) => name !== "__pycache__").sort(),
    python: { version: build.interpreter.version, executable: build.interpreter.executable },
    accelerator: build.accelerator,
    installer: installer.name,
    created: new Date().toISOString(),
    flambeau: z.object({ version: z.string() }).parse(JSON.parse(text)).version,
  };
}

async function putInPlace(build: Build, { settings, key }: BuildRequest, dir: string): Promise<void> {
  const aside = transientDir(settings, key, "damaged");
  if ((await conditionOf(dir)).state !== "absent") await rename(dir, aside);
  await rename(build.environment, dir);
  await removeTree(aside);
  const run = await runTool({ file: pythonIn(dir), args: ["-I", "-c", LAYOUT], env: {}, cwd: "/" });
  const layout = z.object({ prefix: z.string() }).safeParse(parseJson(run.stdout));
  if (layout.success && (await realpath(layout.data.prefix)) === (await realpath(dir))) return;
  await removeTree(dir);
  throw new FlambeauError(
    "ENV_BROKEN",
    `the environment does not work at its final place ${dir} (Python said: ${run.output.trim().slice(-300)}); it was not kept`,
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
