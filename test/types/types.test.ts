// What users' own apps compile to: with the declarations that the package ships, by the real compiler.
// apps/ under any flags, strict/ only where noUncheckedIndexedAccess is off. Each line of wrong.ts that must fail is marked in it.
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const here = fileURLToPath(new URL(".", import.meta.url));

interface Compiled {
  readonly code: number;
  /** One line for each error. */
  readonly errors: readonly string[];
}

function tsc(cwd: string, ...args: string[]): Promise<Compiled> {
  const compiler = join(repository, "node_modules/typescript/bin/tsc");
  return new Promise((resolve) => {
    execFile(process.execPath, [compiler, ...args], { cwd, maxBuffer: 2 ** 24 }, (error, stdout) => {
      const errors = stdout.split("\n").filter((line) => /error TS\d+/.test(line));
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), errors });
    });
  });
}

/** A user's project beside an installed flambeau: its package.json, and declarations built from this checkout. */
async function makeProject(): Promise<string> {
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

describe("apps of users", { timeout: 300_000 }, () => {
  let project: string;
  beforeAll(async () => {
    project = await makeProject();
  });
  afterAll(() => rm(project, { recursive: true, force: true }));

  async function folderWith(name: string, ...sources: string[]): Promise<string> {
    const folder = join(project, name);
    await mkdir(folder);
    for (const source of sources) await cp(source, join(folder, source.split("/").at(-1) ?? ""), { recursive: true });
    return folder;
  }

  it("compile, and fail where they must, under strict and exactOptionalPropertyTypes, our declarations checked as well", async () => {
    const folder = await folderWith("strict", `${here}apps`, `${here}strict`, `${repository}/examples`);
    const compilerOptions = {
      module: "nodenext",
      target: "es2023",
      lib: ["es2023"],
      types: ["node"],
      strict: true,
      exactOptionalPropertyTypes: true,
      noImplicitOverride: true,
      noEmit: true,
      skipLibCheck: false,
    };
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
    expect(await tsc(folder, "-p", ".")).toEqual({ code: 0, errors: [] });
  });

  it("compile, and fail where they must, under the flags that `tsc --init` writes, declarations of their own included", async () => {
    const folder = await folderWith("init", `${here}apps`, `${repository}/examples`);
    await tsc(folder, "--init");
    const written = await readFile(join(folder, "tsconfig.json"), "utf8");
    expect(written).toContain('"noUncheckedIndexedAccess": true');
    // The file itself tells users of Node to set these two.
    const node = written.replace('"types": []', '"types": ["node"], "lib": ["esnext"]');
    expect(node).not.toBe(written);
    await writeFile(join(folder, "tsconfig.json"), node);
    expect(await tsc(folder, "-p", ".", "--noEmit")).toEqual({ code: 0, errors: [] });
  });
});
