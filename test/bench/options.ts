// The flags of a benchmark, and the build that it measures: the compiled package, as users run it.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

export interface BenchOptions {
  readonly rounds: number;
  /** Few rounds of few operations: shows that everything runs, says nothing of speed, writes no record. */
  readonly isQuick: boolean;
}

const ROOT = new URL("../../", import.meta.url);

/** Reads the command line and compiles `src/` unless told not to. */
export function prepare(defaults: { rounds: number; quickRounds: number }): BenchOptions {
  const { values } = parseArgs({
    options: { quick: { type: "boolean" }, rounds: { type: "string" }, "no-build": { type: "boolean" } },
  });
  const isQuick = values.quick ?? false;
  const rounds = values.rounds === undefined ? undefined : Number.parseInt(values.rounds, 10);
  if (rounds !== undefined && !(rounds > 0))
    throw new Error(`--rounds: expected a number above 0, got ${values.rounds}`);
  if (!values["no-build"]) build();
  return { isQuick, rounds: rounds ?? (isQuick ? defaults.quickRounds : defaults.rounds) };
}

/** A file of the package, compiled. The tests' TypeScript loader wraps every closure, which costs more than what is measured. */
export function compiled(path: string): string {
  const url = new URL(`dist/${path}`, ROOT);
  if (!existsSync(url)) throw new Error(`dist/${path} is missing: run \`npm run build\`, or leave out --no-build`);
  return url.href;
}

export function inRoot(path: string): string {
  return fileURLToPath(new URL(path, ROOT));
}

function build(): void {
  execFileSync(inRoot("node_modules/.bin/tsc"), ["-p", "tsconfig.build.json"], { cwd: inRoot("."), stdio: "inherit" });
}
