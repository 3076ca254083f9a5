// `static requirements` → a Python that has them: an immutable environment in the cache, built once and used from then
// on, or the interpreter that was named. Knows no worker and no app.
import { limits, PYTORCH_CPU_INDEX, type Settings } from "../config.ts";
import { cancelled, FlambeauError, toError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { accelerator } from "./accelerator.ts";
import { buildEnvironment } from "./build-environment.ts";
import { type BuilderLock, takeLock } from "./builder-lock.ts";
import { readConstraints } from "./constraints.ts";
import { environmentKey, type KeyParts, readyKey } from "./environment-key.ts";
import {
  conditionOf,
  environmentDir,
  lockPath,
  type Manifest,
  makeStore,
  pythonIn,
  sweep,
  touch,
} from "./environment-store.ts";
import { findBuilder, namedPython } from "./find-python.ts";
import { inheritedEnvironment } from "./inherited.ts";
import type { Search } from "./interpreter.ts";
import { readPackageSources } from "./package-sources.ts";
import { checkPackages, packagesOf } from "./ready-python.ts";
import { parseRequirement, parseRequirements, type Requirement } from "./requirement.ts";
import { Waiting } from "./waiting.ts";

export { pruneEnvironments } from "./environment-prune.ts";
export { listEnvironments, type StoredEnvironment } from "./environment-store.ts";

/** A Python that has what an app requires. */
export interface Environment {
  /** Absolute path of the interpreter. */
  readonly python: string;
  /** The folder in the cache; null for an interpreter that was named. */
  readonly dir: string | null;
  /** Changes with everything that could change how packages behave. */
  readonly key: string;
  /** Installed versions by package name. */
  readonly packages: Readonly<Record<string, string>>;
}

export interface ProvisionRequest {
  readonly requirements: readonly string[];
  /** An interpreter, virtual environment or command to use as it is; `settings.python` counts where this is left out. */
  readonly python?: string | undefined;
}

export interface ProvisionContext {
  readonly settings: Settings;
  readonly logger: Logger;
  readonly signal?: AbortSignal;
}

/** The worker's codec, in every environment. */
const WORKER_REQUIREMENT = "msgpack";

/**
 * Finds or builds the environment. The first build may take minutes and tells `logger.wait` how far it is; from then on
 * it takes milliseconds. Cancelling kills the installer and leaves nothing behind.
 * @throws FlambeauError REQUIREMENT_INVALID, NO_PYTHON, BAD_PYTHON, ENV_CONFLICT, ENV_BROKEN, INDEX_UNREACHABLE, DISK_FULL,
 *   SETTINGS_INVALID (a cache folder that cannot be written), TIMEOUT (another builder holds the lock), CANCELLED
 */
export async function provision(request: ProvisionRequest, context: ProvisionContext): Promise<Environment> {
  const { settings, logger, signal } = context;
  const requirements = parseRequirements(request.requirements);
  const search = { cacheDir: settings.cacheDir, environment: settings.environment, cwd: process.cwd(), signal };
  const named = request.python ?? settings.python;
  try {
    if (named !== undefined) return await readyEnvironment(named, requirements, search);
    return await ownEnvironment(requirements, search, {
      settings,
      logger,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (signal?.aborted) throw cancelled(signal.reason, "preparing the Python environment");
    throw fromFileSystem(error, settings);
  }
}

async function readyEnvironment(
  python: string,
  requirements: readonly Requirement[],
  search: Search,
): Promise<Environment> {
  const interpreter = await namedPython(python, search);
  // Listing packages takes a process; an app that asks for none need not wait for it.
  const packages = requirements.length === 0 ? {} : await packagesOf(interpreter, search);
  checkPackages(interpreter, requirements, packages);
  return { python: interpreter.executable, dir: null, key: readyKey(interpreter, packages), packages };
}

async function ownEnvironment(
  asked: readonly Requirement[],
  search: Search,
  context: ProvisionContext,
): Promise<Environment> {
  const { settings, logger } = context;
  const interpreter = await findBuilder(search, logger);
  const [constraints, sources] = await Promise.all([
    readConstraints(),
    readPackageSources(settings.environment, interpreter.prefix),
  ]);
  const requirements = withWorker(asked);
  const parts = { requirements, constraintsText: constraints.text, interpreter, accelerator: accelerator(), sources };
  const key = environmentKey(parts);
  const dir = environmentDir(settings, key);
  const first = await conditionOf(dir);
  if (first.state === "whole") return await use(dir, first.manifest);
  if (first.state === "damaged") logger.warn(`the environment ${dir} is damaged (${first.why}); it is built again`);
  const manifest = await buildUnderLock(key, { ...parts, constraints: constraints.lines }, context);
  return await use(dir, manifest);
}

async function buildUnderLock(
  key: string,
  parts: Omit<KeyParts, "constraintsText"> & { constraints: readonly Requirement[] },
  { settings, logger, signal }: ProvisionContext,
): Promise<Manifest> {
  await makeStore(settings);
  using waiting = new Waiting(logger, "environment", {
    label: "preparing Python",
    done: 0,
    total: null,
    unit: "steps",
  });
  await using lock = await waitForLock(key, parts.interpreter.executable, { settings, logger, waiting, signal });
  const condition = await conditionOf(environmentDir(settings, key));
  if (condition.state === "whole") return condition.manifest;
  await sweep(settings, key);
  return await buildEnvironment({
    ...parts,
    key,
    settings,
    logger,
    waiting,
    signal,
    guard: lock.guard,
    cpuIndex: PYTORCH_CPU_INDEX,
  });
}

async function waitForLock(
  key: string,
  python: string,
  {
    settings,
    waiting,
    signal,
  }: { settings: Settings; logger: Logger; waiting: Waiting; signal: AbortSignal | undefined },
): Promise<BuilderLock> {
  const path = lockPath(settings, key);
  const lock = await takeLock({
    path,
    python,
    env: inheritedEnvironment(settings.environment),
    timeoutMs: limits.environmentLockTimeoutMs,
    signal,
    onWaiting: () => {
      const since = performance.now();
      const elapsed = (): number => Math.floor((performance.now() - since) / 1000);
      waiting.set({ label: "waiting for another process that builds this environment", done: 0, unit: "seconds" });
      waiting.measureWith(async () => ({ done: elapsed() }));
    },
  });
  waiting.measureWith(null);
  if (lock !== null) return lock;
  throw new FlambeauError(
    "TIMEOUT",
    `another process has been building this environment for over ${limits.environmentLockTimeoutMs / 60_000} minutes ` +
      `(it holds the lock ${path}); stop that process or wait for it, then try again`,
  );
}

async function use(dir: string, { key, packages }: Manifest): Promise<Environment> {
  await touch(dir);
  return { python: pythonIn(dir), dir, key, packages };
}

function withWorker(asked: readonly Requirement[]): readonly Requirement[] {
  if (asked.some(({ name, marker }) => name === WORKER_REQUIREMENT && marker === null)) return asked;
  return [...asked, parseRequirement(WORKER_REQUIREMENT)];
}

/** A full or read-only cache folder, in our words; anything else as it is. */
function fromFileSystem(thrown: unknown, { cacheDir }: Settings): unknown {
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : "";
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new FlambeauError(
      "DISK_FULL",
      `${cacheDir}: ${toError(thrown).message}; free some space or set FLAMBEAU_CACHE_DIR`,
      {
        cause: thrown,
      },
    );
  }
  if (["EACCES", "EPERM", "EROFS", "ENOTDIR", "ENAMETOOLONG"].includes(code)) {
    return new FlambeauError(
      "SETTINGS_INVALID",
      `the cache folder ${cacheDir} cannot be used (${toError(thrown).message}); set FLAMBEAU_CACHE_DIR to one that can be written`,
      { cause: thrown },
    );
  }
  return thrown;
}
