// Installs with `venv` and pip 22.3 or newer: the interpreter's own pip, which installs into any environment, or else
// one that ensurepip puts there.
import { readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { limits } from "../config.ts";
import { FlambeauError } from "../errors.ts";
import { announcesCuda, type InstallEvent, parseInstallLine } from "./install-progress.ts";
import {
  type Build,
  type Installer,
  type InstallerRun,
  type InstallJob,
  runInstaller,
  warnOfCuda,
} from "./installer.ts";
import { noIndex, pipVariables } from "./package-sources.ts";
import { isLinux } from "./platform.ts";
import { PIP_VERSION } from "./python-scripts.ts";
import { runTool } from "./tool.ts";
import { compareVersions, parseVersion } from "./version.ts";

interface Pip {
  readonly command: readonly [file: string, ...args: string[]];
  readonly version: string;
  /** Whether it lives in the environment itself. */
  readonly isInside: boolean;
}

/**
 * The installer of machines without uv.
 * @throws FlambeauError BAD_PYTHON if there is neither a usable pip nor ensurepip
 */
export async function pipInstaller(build: Build): Promise<Installer> {
  const pip = await findPip(build);
  return {
    name: `pip ${pip.version}`,
    create: () => createEnvironment(build, pip),
    install: (job) => install(build, pip, job),
  };
}

async function findPip(build: Build): Promise<Pip> {
  const { executable, base } = build.interpreter;
  for (const file of new Set([executable, base])) {
    const run = await runTool({
      file,
      args: ["-I", "-c", PIP_VERSION],
      env: {},
      cwd: "/",
      signal: build.signal,
      timeoutMs: limits.pythonProbeTimeoutMs,
    });
    const version = /"pip": "([^"]+)"/.exec(run.stdout)?.[1];
    if (version === undefined || !isAtLeast(version, "22.3")) continue;
    return { command: [file, "-I", "-m", "pip", "--python", pythonOf(build)], version, isInside: false };
  }
  return { command: [pythonOf(build), "-I", "-m", "pip"], version: "of ensurepip", isInside: true };
}

async function createEnvironment(build: Build, { isInside }: Pip): Promise<void> {
  const run = await runTool({
    file: build.interpreter.executable,
    args: ["-I", "-m", "venv", ...(isInside ? [] : ["--without-pip"]), build.environment],
    env: { TMPDIR: build.temporary, PATH: build.settings.environment["PATH"] ?? "" },
    cwd: build.temporary,
    signal: build.signal,
    guard: build.guard,
  });
  if (run.exitCode === 0) return;
  throw new FlambeauError(
    "BAD_PYTHON",
    `${build.interpreter.executable} cannot make a virtual environment (it said: ${run.output.trim().slice(-300)}); ` +
      "needed: Python with venv and pip. Debian and Ubuntu: apt install python3-venv",
  );
}

/** Resolves, fetches and installs in one run, watched: where CUDA is of no use, the first sign of it stops the run. */
async function install(build: Build, pip: Pip, job: InstallJob): Promise<void> {
  if (build.accelerator === "cuda" || !isLinux() || noIndex(build.sources)) {
    return await run(build, pip, job, {});
  }
  const stop = new AbortController();
  const seen: { cuda: boolean; torch: string | null } = { cuda: false, torch: null };
  const watch = (event: InstallEvent): void => {
    if ((event.kind === "resolve" || event.kind === "fetch") && event.name === "torch" && !seen.cuda) {
      seen.torch = event.version?.split("+")[0] ?? seen.torch;
    }
    if (!announcesCuda(event)) return;
    seen.cuda = true;
    stop.abort(event);
  };
  const signal = build.signal === undefined ? stop.signal : AbortSignal.any([build.signal, stop.signal]);
  try {
    return await run(build, pip, job, { onEvent: watch, signal });
  } catch (error) {
    if (!seen.cuda || build.signal?.aborted) throw error;
  }
  await installCpuBuild(build, pip, job, seen.torch);
}

/** Asks PyTorch's index for torch alone first: an index out of reach would cost retries for every package. */
async function installCpuBuild(build: Build, pip: Pip, job: InstallJob, torch: string | null): Promise<void> {
  const asked = torch === null ? ["torch"] : [`torch==${torch}+cpu`];
  build.waiting.set({ label: "looking for a build of torch without CUDA", done: 0, total: null, unit: "packages" });
  try {
    const found = await runInstaller(build, {
      ...commandOf(pip, ["install", "--dry-run", "--no-deps", "--index-url", build.cpuIndex, "--", ...asked]),
      env: {
        ...pipVariables(build.sources, { retries: 1 }),
        PIP_EXTRA_INDEX_URL: "",
        PIP_FIND_LINKS: "",
      },
    });
    const version = /torch-(\d\S*\+cpu)/.exec(found.output)?.[1];
    if (version === undefined) throw new FlambeauError("ENV_CONFLICT", `${build.cpuIndex} has no ${asked.join(" ")}`);
    await run(build, pip, job, { cpuTorch: version });
  } catch (error) {
    warnOfCuda(build, "about 2 GB or more to download", error);
    await run(build, pip, job, {});
  }
}

interface RunOptions {
  readonly onEvent?: (event: InstallEvent) => void;
  readonly signal?: AbortSignal;
  readonly cpuTorch?: string;
}

async function run(build: Build, pip: Pip, job: InstallJob, { onEvent, signal, cpuTorch }: RunOptions): Promise<void> {
  const constraints = join(build.temporary, "constraints.txt");
  await writeFile(constraints, `${job.constraints.map(({ text }) => text).join("\n")}\n`);
  const names = [...new Set(job.requirements.map(({ name }) => name))];
  build.waiting.set({ label: `resolving ${names.join(", ")}`, done: 0, total: null, unit: "packages" });
  const progress = new PipProgress(build);
  const args = [
    "install",
    "--no-compile", // What is imported is compiled then; compiling all of torch's dependencies doubles the time.
    "--no-warn-script-location",
    `--progress-bar=${isAtLeast(pip.version, "24.1") ? "raw" : "off"}`,
    "--constraint",
    constraints,
    "--",
    ...job.requirements.map(({ text }) => text),
    ...(cpuTorch === undefined ? [] : [`torch==${cpuTorch}`]),
  ];
  await runInstaller(build, {
    ...commandOf(pip, args),
    env: withExtraIndex(
      pipVariables(build.sources, { retries: limits.installIndexRetries }),
      cpuTorch === undefined ? null : build.cpuIndex,
    ),
    signal,
    onLine: (line) => {
      const event = parseInstallLine(line);
      if (event === null) return;
      progress.add(event);
      onEvent?.(event);
    },
  });
}

/** One more index beside the user's own: a setting given twice would replace theirs. */
function withExtraIndex(variables: Record<string, string>, index: string | null): Record<string, string> {
  if (index === null) return variables;
  const own = variables["PIP_EXTRA_INDEX_URL"];
  return { ...variables, PIP_EXTRA_INDEX_URL: own === undefined ? index : `${own} ${index}` };
}

function commandOf({ command: [file, ...before] }: Pip, args: readonly string[]): Pick<InstallerRun, "file" | "args"> {
  return { file, args: [...before, ...args] };
}

/** Draws pip's phases: packages chosen, bytes of the file under way, packages laid out. */
class PipProgress {
  readonly #build: Build;
  #chosen = new Set<string>();

  constructor(build: Build) {
    this.#build = build;
  }

  add(event: InstallEvent): void {
    const { waiting } = this.#build;
    if (event.kind === "resolve") {
      this.#chosen.add(event.name);
      waiting.measureWith(null);
      waiting.set({ label: `resolving ${event.name}`, done: this.#chosen.size, total: null, unit: "packages" });
    } else if (event.kind === "fetch") {
      const label = `${event.isCached ? "unpacking" : "downloading"} ${event.name} ${event.version ?? ""}`.trim();
      waiting.set({ label, done: 0, total: event.bytes, unit: "bytes" });
      const { file } = event;
      waiting.measureWith(
        file === null ? null : async () => ({ done: await sizeOfDownload(this.#build.temporary, file) }),
      );
    } else if (event.kind === "bytes") {
      waiting.measureWith(null);
      waiting.set({ done: event.done, total: event.total });
    } else if (event.kind === "build") {
      waiting.measureWith(null);
      waiting.set({ label: `building ${event.name}`, done: 0, total: null, unit: "steps" });
    } else if (event.kind === "install") {
      this.#install(event.names);
    }
  }

  #install(names: readonly string[]): void {
    const { waiting } = this.#build;
    waiting.set({ label: `installing ${names[0] ?? ""}`, done: 0, total: names.length, unit: "packages" });
    waiting.measureWith(async () => {
      const done = Math.min(await countInstalled(this.#build), names.length);
      return { done, label: `installing ${names[Math.min(done, names.length - 1)] ?? ""}` };
    });
  }
}

/** pip fetches into a folder of its own below TMPDIR, under the file's final name. */
async function sizeOfDownload(temporary: string, file: string): Promise<number> {
  const folders = (await readdir(temporary)).filter((name) => name.startsWith("pip-"));
  const sizes = await Promise.all(
    folders.map(async (folder) => (await stat(join(temporary, folder, file)).catch(() => null))?.size ?? 0),
  );
  return Math.max(0, ...sizes);
}

/** Packages that are wholly or almost there: each begins with or ends by its `.dist-info` folder. */
export async function countInstalled(build: Build): Promise<number> {
  const entries = await readdir(sitePackages(build.environment, build.interpreter.version)).catch(() => []);
  return entries.filter((entry) => entry.endsWith(".dist-info")).length;
}

/** Where a virtual environment of this Python keeps its packages. */
export function sitePackages(environment: string, version: string): string {
  const [major = "3", minor = "0"] = version.split(".");
  return join(environment, "lib", `python${major}.${minor}`, "site-packages");
}

const pythonOf = ({ environment }: Build): string => join(environment, "bin", "python");

function isAtLeast(version: string, wanted: string): boolean {
  const [ours, bound] = [parseVersion(version), parseVersion(wanted)];
  return ours !== null && bound !== null && compareVersions(ours, bound) >= 0;
}
