// Installs requirements into an empty environment: with which constraints, how often, and when to ask for a CPU build.
// Knows the two installers only by their common shape; where the environment ends up is not its concern.
import { setTimeout as sleep } from "node:timers/promises";
import { limits, type Settings } from "../config.ts";
import { cancelled, FlambeauError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Accelerator } from "./accelerator.ts";
import { reconcile } from "./constraints.ts";
import { inheritedEnvironment } from "./inherited.ts";
import { installError, isWorthRepeating } from "./install-errors.ts";
import type { Interpreter } from "./interpreter.ts";
import { describeSources, type PackageSources, redact } from "./package-sources.ts";
import { normalizeName, type Requirement } from "./requirement.ts";
import { runTool, type ToolResult, type ToolRun } from "./tool.ts";
import type { Waiting } from "./waiting.ts";

/** Everything about one build that its steps share. */
export interface Build {
  readonly settings: Settings;
  readonly logger: Logger;
  readonly waiting: Waiting;
  readonly signal: AbortSignal | undefined;
  readonly guard: NonNullable<ToolRun["guard"]>;
  readonly interpreter: Interpreter;
  readonly sources: PackageSources;
  readonly accelerator: Accelerator;
  /** PyTorch's index of builds without CUDA. */
  readonly cpuIndex: string;
  /** The environment being made, and a folder for what installers put aside; both on the cache's disk. */
  readonly environment: string;
  readonly temporary: string;
}

/** What one run of an installer is to achieve. */
export interface InstallJob {
  readonly requirements: readonly Requirement[];
  readonly constraints: readonly Requirement[];
}

export interface Installer {
  /** With its version, as in `pip 26.0`. */
  readonly name: string;
  /** Makes the empty environment. */
  create(): Promise<void>;
  /** @throws FlambeauError DISK_FULL, ENV_CONFLICT, INDEX_UNREACHABLE, ENV_BROKEN, CANCELLED */
  install(job: InstallJob): Promise<void>;
}

/**
 * Creates the environment and installs into it. Tested versions first; where they make the request unsolvable, only
 * those of packages that the app names; then none.
 */
export async function installAll(installer: Installer, build: Build, job: InstallJob): Promise<void> {
  build.waiting.set({ label: "creating the environment", done: 0, total: null, unit: "steps" });
  await installer.create();
  const { kept, dropped } = reconcile(job.constraints, job.requirements);
  if (dropped.length > 0) {
    build.logger.info(`the app's requirements win over the tested versions ${listOf(dropped)}`);
  }
  const named = new Set(job.requirements.map(({ name }) => name));
  const ladder = [kept, kept.filter(({ name }) => named.has(name)), []];
  for (const [step, constraints] of ladder.entries()) {
    try {
      return await installer.install({ requirements: job.requirements, constraints });
    } catch (error) {
      const isOurs = error instanceof FlambeauError && error.code === "ENV_CONFLICT" && names(error, constraints);
      if (!isOurs || step === ladder.length - 1) throw error;
      build.logger.info(
        step === 0
          ? "the tested versions do not go together with the app's requirements; trying with those of named packages only"
          : "trying without the tested versions",
      );
    }
  }
}

export interface InstallerRun {
  readonly file: string;
  readonly args: readonly string[];
  /** On top of what Python inherits anyway. */
  readonly env: Readonly<Record<string, string>>;
  readonly onLine?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs an installer, again after a pause where a transfer broke.
 * @throws FlambeauError as `installError` says; CANCELLED
 */
export async function runInstaller(build: Build, run: InstallerRun): Promise<ToolResult> {
  for (let attempt = 0; ; attempt += 1) {
    const result = await runTool({
      ...run,
      env: { ...inheritedEnvironment(build.settings.environment), ...run.env, TMPDIR: build.temporary },
      cwd: build.temporary,
      signal: run.signal ?? build.signal,
      guard: build.guard,
    });
    if (result.exitCode === 0) return result;
    if (attempt >= limits.installRetries || !isWorthRepeating(result.output)) {
      throw installError({
        output: redact(result.output),
        sources: describeSources(build.sources),
        folder: build.settings.cacheDir,
      });
    }
    const pauseMs = limits.installRetryDelayMs * 2 ** attempt;
    build.logger.warn(`a download broke off; trying again in ${pauseMs / 1000} s`);
    await pause(pauseMs, build.signal);
  }
}

/**
 * Says what is coming where the machine has no use for CUDA and nothing else can be had.
 * @throws the error itself if it is not about what that index has
 */
export function warnOfCuda(build: Build, size: string, error: unknown): void {
  if (!(error instanceof FlambeauError) || !["INDEX_UNREACHABLE", "ENV_CONFLICT"].includes(error.code)) throw error;
  const why = error.code === "INDEX_UNREACHABLE" ? "is out of reach" : "has none that fits";
  build.logger.warn(
    `this machine has no NVIDIA GPU, yet torch comes with CUDA (${size}): PyTorch's index of builds without it, ` +
      `${build.cpuIndex}, ${why}. A setting of pip or uv such as find-links can name another place`,
  );
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, { ...(signal === undefined ? {} : { signal }) });
  } catch {
    throw cancelled(signal?.reason, "installing the environment");
  }
}

/** Both installers name the packages that stand against each other; without one of ours it is the app's own conflict. */
function names(conflict: FlambeauError, constraints: readonly Requirement[]): boolean {
  const words = new Set(conflict.message.split(/[^A-Za-z0-9._-]+|==|[._]+$/).map(normalizeName));
  return constraints.some(({ name }) => words.has(name));
}

const listOf = (lines: readonly Requirement[]): string => lines.map(({ text }) => text).join(", ");
