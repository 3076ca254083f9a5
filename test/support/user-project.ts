// A user's project beside an installed flambeau: its package.json, and declarations built from this checkout.
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const repository = fileURLToPath(new URL("../..", import.meta.url));

export interface Compiled {
  readonly code: number;
  /** One line for each error. */
  readonly errors: readonly string[];
  readonly output: string;
}

export function tsc(cwd: string, ...args: string[]): Promise<Compiled> {
  const compiler = join(repository, "node_modules/typescript/bin/tsc");
  return new Promise((resolve) => {
    execFile(process.execPath, [compiler, ...args], { cwd, maxBuffer: 2 ** 24 }, (error, output) => {
      const errors = output.split("\n").filter((line) => /error TS\d+/.test(line));
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), errors, output });
    });
  });
}

export async function makeProject(): Promise<string> {
  const project = await mkdtemp(join(tmpdir(), "flambeau-types-"));
  const installed = join(project, "node_modules/flambeau");
  await mkdir(installed, { recursive: true });
  await cp(join(repository, "package.json"), join(installed, "package.json"));
  for (const name of ["zod", "@types"])
    await symlink(join(repository, "node_modules", name), join(project, "node_modules", name));
  await writeFile(join(project, "package.json"), '{ "type": "module" }');
  const build = join(repository, "tsconfig.build.json");
  await tsc(repository, "-p", build, "--emitDeclarationOnly", "--outDir", join(installed, "dist"));
  return project;
}
