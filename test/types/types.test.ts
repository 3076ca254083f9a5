// What users' own apps compile to: with the declarations that the package ships, by the real compiler.
// apps/ under any flags, strict/ only where noUncheckedIndexedAccess is off. Each line of wrong.ts that must fail is marked in it.
// generated/ belongs to test/stubgen.
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeProject, repository, tsc } from "../support/user-project.ts";

const here = fileURLToPath(new URL(".", import.meta.url));

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
    expect(await tsc(folder, "-p", ".")).toMatchObject({ code: 0, errors: [] });
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
    expect(await tsc(folder, "-p", ".", "--noEmit")).toMatchObject({ code: 0, errors: [] });
  });
});
