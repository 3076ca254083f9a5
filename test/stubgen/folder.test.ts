import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { limits } from "../../src/config.ts";
import { outdatedTypes, readHeaders, writeFolder } from "../../src/stubgen/folder.ts";
import { scanSources, sourcesIn } from "../../src/stubgen/sources.ts";

const declared = (module: string, version: string, asked = ""): string =>
  `// ${module}, as TypeScript sees it: written by \`flambeau types\`, to be written again and not edited.\n` +
  `// from ${module.toLowerCase()} ${version}\n${asked && `// asked for: ${asked}\n`}export {};\n`;

let root: string;
let folder: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "flambeau-folder-"));
  folder = join(root, "flambeau-types");
});
afterEach(() => rm(root, { recursive: true, force: true }));

describe("the folder of declarations", () => {
  it("is made, and holds nothing but whole files", async () => {
    const files = {
      "torch.d.ts": declared("torch", "2.13.0", "torch torch.nn"),
      "PIL.d.ts": declared("PIL", "13.0.0"),
    };
    expect(await writeFolder(folder, files)).toEqual({ written: ["torch.d.ts", "PIL.d.ts"], removed: [] });
    expect((await readdir(folder)).sort()).toEqual(["PIL.d.ts", "torch.d.ts"]);
    expect(await readHeaders(folder)).toEqual([
      { file: "PIL.d.ts", distribution: "pil", version: "13.0.0", asked: [] },
      { file: "torch.d.ts", distribution: "torch", version: "2.13.0", asked: ["torch", "torch.nn"] },
    ]);
  });

  it("is left alone where nothing has changed", async () => {
    const files = { "torch.d.ts": declared("torch", "2.13.0") };
    await writeFolder(folder, files);
    const path = join(folder, "torch.d.ts");
    await utimes(path, 1, 1);
    expect(await writeFolder(folder, files)).toEqual({ written: [], removed: [] });
    expect((await stat(path)).mtimeMs).toBe(1_000);
  });

  it("loses generated files that are no longer needed, and no others", async () => {
    await writeFolder(folder, { "torch.d.ts": declared("torch", "2.13.0"), "PIL.d.ts": declared("PIL", "13.0.0") });
    await writeFile(join(folder, "mine.d.ts"), "export {};\n");
    expect(await writeFolder(folder, { "torch.d.ts": declared("torch", "2.14.0") })).toEqual({
      written: ["torch.d.ts"],
      removed: ["PIL.d.ts"],
    });
    expect((await readdir(folder)).sort()).toEqual(["mine.d.ts", "torch.d.ts"]);
    expect(await readFile(join(folder, "torch.d.ts"), "utf8")).toContain("2.14.0");
  });

  it("says which types were made from another version than the one that is installed", async () => {
    await writeFolder(folder, {
      "torch.d.ts": declared("torch", "2.13.0"),
      "diffusers.d.ts": declared("diffusers", "0.42.1"),
    });
    expect(await outdatedTypes(folder, { torch: "2.13.0+cpu", Diffusers: "0.43.0", numpy: "2.0.0" })).toEqual([
      "flambeau-types/diffusers.d.ts is of diffusers 0.42.1, and 0.43.0 is installed; `flambeau types` writes it anew",
    ]);
    expect(await outdatedTypes(join(root, "none"), { torch: "1.0" })).toEqual([]);
  });
});

describe("the sources of an app", () => {
  it("are scanned for imports with a literal name, and for words", async () => {
    await mkdir(join(root, "lib"));
    await mkdir(join(root, "node_modules/other"), { recursive: true });
    await writeFile(
      join(root, "app.ts"),
      'const { FluxPipeline } = this.py.import("diffusers");\nthis.py.import(name);\n',
    );
    await writeFile(join(root, "lib/more.mts"), "py\n  .import('torch.nn.functional').relu(x)");
    await writeFile(join(root, "node_modules/other/index.ts"), 'py.import("elsewhere")');
    await writeFile(join(root, "types.d.ts"), 'py.import("declared")');
    const { modules, words } = await scanSources(root);
    expect(modules).toEqual(["diffusers", "torch.nn.functional"]);
    expect(words).toEqual(expect.arrayContaining(["FluxPipeline", "relu", "functional"]));
    expect(words).not.toContain("elsewhere");
  });

  it("are read up to a number of files, and none that is too long to be written by hand", async () => {
    await writeFile(join(root, "a-long.js"), `py.import("long")${" ".repeat(limits.typesSourceCharacters)}`);
    await writeFile(join(root, "b-short.js"), 'py.import("short")');
    expect((await scanSources(root)).modules).toEqual(["short"]);
    const many = join(root, "many");
    await mkdir(many);
    const names = Array.from({ length: limits.typesSourcesMax + 1 }, (_, index) => join(many, `${index}.js`));
    await Promise.all(names.map((name) => writeFile(name, "")));
    expect(await sourcesIn(many)).toHaveLength(limits.typesSourcesMax);
  });
});
