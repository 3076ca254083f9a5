// An interpreter that was named (`static python`, FLAMBEAU_PYTHON) instead of an environment of ours: checked against
// the requirements, and nothing is ever installed into it.
import { z } from "zod";
import { limits } from "../config.ts";
import { FlambeauError } from "../errors.ts";
import { inheritedEnvironment } from "./inherited.ts";
import type { Interpreter, Search } from "./interpreter.ts";
import { PACKAGES } from "./python-scripts.ts";
import { applies, normalizeName, type Requirement } from "./requirement.ts";
import { runTool } from "./tool.ts";
import { satisfies } from "./version.ts";

const Answer = z.object({ packages: z.record(z.string(), z.string()) });
export type Packages = Readonly<Record<string, string>>;

/**
 * What is installed there.
 * @throws FlambeauError BAD_PYTHON; CANCELLED
 */
export async function packagesOf(interpreter: Interpreter, search: Search): Promise<Packages> {
  const run = await runTool({
    file: interpreter.executable,
    args: ["-I", "-c", PACKAGES],
    env: inheritedEnvironment(search.environment),
    cwd: "/",
    signal: search.signal,
    timeoutMs: limits.pythonProbeTimeoutMs,
  });
  const line = run.stdout.split("\n").findLast((text) => text.startsWith("{")) ?? "null";
  const parsed = run.exitCode === 0 ? Answer.safeParse(JSON.parse(line)) : null;
  if (parsed?.success === true) return parsed.data.packages;
  throw new FlambeauError(
    "BAD_PYTHON",
    `${interpreter.executable} could not list its packages${run.timedOut ? " in time" : ""}: ${run.output.trim().slice(-300)}`,
  );
}

/**
 * Compares what is installed with what is required, extras aside.
 * @throws FlambeauError ENV_CONFLICT naming every package at fault and the command that adds them
 */
export function checkPackages(
  interpreter: Interpreter,
  requirements: readonly Requirement[],
  packages: Packages,
): void {
  const installed = new Map(Object.entries(packages).map(([name, version]) => [normalizeName(name), version]));
  const faults = requirements.filter((requirement) => {
    const version = installed.get(requirement.name);
    const fits = version !== undefined && satisfies(version, requirement.specifiers);
    return !fits && applies(requirement, interpreter.markers);
  });
  if (faults.length === 0) return;
  const listed = faults.map(({ name, text }) => `${text} (${installed.get(name) ?? "not installed"})`).join(", ");
  const quoted = faults.map(({ text }) => `'${text}'`).join(" ");
  throw new FlambeauError(
    "ENV_CONFLICT",
    `${interpreter.executable} (Python ${interpreter.version}) lacks what the app requires: ${listed}. Flambeau installs ` +
      `nothing into a Python that was named; run: ${interpreter.executable} -m pip install ${quoted}`,
  );
}
