// One cache folder, one folder of wheels and a logger that remembers, per test; removed at the end.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { readSettings, type Settings } from "../../src/config.ts";
import type { Logger, Wait } from "../../src/log.ts";
import { type Environment, type ProvisionRequest, provision } from "../../src/workers/environment.ts";
import { makeCodecWheel } from "./package-index.ts";

export interface Said {
  readonly logger: Logger;
  readonly infos: string[];
  readonly warnings: string[];
  readonly waits: Wait[];
}

export interface Place {
  readonly wheels: string;
  readonly cacheDir: string;
  /** Variables of a host here: the machine's PATH, an empty home, packages from `wheels` alone. */
  readonly variables: Record<string, string>;
  settings(more?: Readonly<Record<string, string>>): Settings;
  provision(
    request: ProvisionRequest,
    more?: { variables?: Readonly<Record<string, string>>; said?: Said; signal?: AbortSignal },
  ): Promise<Environment>;
  /** Names in the folder of environments that a finished or failed build must not leave. */
  leftovers(): readonly string[];
}

export function collectingLogger(): Said {
  const [infos, warnings, waits]: [string[], string[], Wait[]] = [[], [], []];
  const logger: Logger = {
    debug: () => {},
    info: (message) => void infos.push(message),
    warn: (message) => void warnings.push(message),
    error: () => {},
    wait: (wait) => void waits.push(wait),
  };
  return { logger, infos, warnings, waits };
}

/** PATH without uv: what pip does is tested everywhere, uv where it is installed. */
export function pathWithoutUv(): string {
  const folders = (process.env["PATH"] ?? "").split(":");
  return folders.filter((folder) => folder !== "" && !namesIn(folder).includes("uv")).join(":");
}

export function makePlace(): Place {
  const root = mkdtempSync(join(tmpdir(), "flambeau environment "));
  onTestFinished(() => rmSync(root, { recursive: true, force: true, maxRetries: 5 }));
  const [wheels, cacheDir] = [join(root, "wheels"), join(root, "cache")];
  makeCodecWheel(wheels);
  const pyenv = process.env["PYENV_ROOT"];
  const variables: Record<string, string> = {
    PATH: pathWithoutUv(),
    HOME: join(root, "home"),
    FLAMBEAU_CACHE_DIR: cacheDir,
    PIP_NO_INDEX: "1",
    PIP_FIND_LINKS: `file://${encodeURI(wheels)}`,
    PIP_NO_CACHE_DIR: "1",
    ...(pyenv === undefined ? {} : { PYENV_ROOT: pyenv }),
  };
  const settings = (more: Readonly<Record<string, string>> = {}): Settings => readSettings({ ...variables, ...more });
  return {
    wheels,
    cacheDir,
    variables,
    settings,
    provision: (request, { variables: more = {}, said = collectingLogger(), signal } = {}) =>
      provision(request, {
        settings: settings(more),
        logger: said.logger,
        ...(signal === undefined ? {} : { signal }),
      }),
    leftovers: () =>
      namesIn(join(cacheDir, "environments")).filter((name) => name.startsWith(".") && name !== ".locks"),
  };
}

/** Variables that replace find-links by an index. */
export function fromIndex(url: string): Record<string, string> {
  return { PIP_NO_INDEX: "0", PIP_FIND_LINKS: "", PIP_INDEX_URL: url, PIP_RETRIES: "1" };
}

/** What an interpreter prints for these lines, isolated from the folder it runs in. */
export function python(executable: string, code: string): string {
  return execFileSync(executable, ["-I", "-c", code], { encoding: "utf8" }).trim();
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
