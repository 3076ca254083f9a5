// What `flambeau types torch diffusers` writes for the document's app, by the real compiler and the language server of editors.
// Generated once, from the real torch and diffusers.
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { outdatedTypes, readHeaders, TYPES_FOLDER, writeFolder } from "../../src/stubgen/folder.ts";
import { generateTypes } from "../../src/stubgen/generate.ts";
import { scanSources } from "../../src/stubgen/sources.ts";
import { TypeScriptServer } from "../support/tsserver.ts";
import { makeProject, repository, tsc } from "../support/user-project.ts";
import { startWorker } from "../support/worker.ts";

const apps = fileURLToPath(new URL("../types/generated", import.meta.url));
const flags = { module: "nodenext", target: "es2023", lib: ["es2023"], types: ["node"], strict: true, noEmit: true };
/** More of them than without generated types. Measured with TypeScript 5.9.3, diffusers 0.42.1 and torch 2.13.0: 405 for the example, 2,848 in all. */
const INSTANTIATIONS_MAX = 500_000;

describe("flambeau types torch diffusers", { timeout: 120_000 }, () => {
  let project: string;
  let typed: string;

  beforeAll(async () => {
    project = await makeProject();
    const examples = (await readdir(`${repository}/examples`)).filter((name) => name.endsWith(".ts"));
    const sources = [
      `${apps}/right.ts`,
      `${apps}/wrong.ts`,
      ...examples.map((name) => `${repository}/examples/${name}`),
    ];
    typed = await folderWith("typed", ...sources);
    await using worker = await startWorker();
    const { modules, words } = await scanSources(typed);
    const known = modules.filter((name) => name !== "nowhere");
    const files = await generateTypes(worker.py, { modules: known, words });
    await writeFolder(join(typed, TYPES_FOLDER), files);
  });
  afterAll(() => rm(project, { recursive: true, force: true }));

  async function folderWith(name: string, ...sources: string[]): Promise<string> {
    const folder = join(project, name);
    await mkdir(folder);
    for (const source of sources) await cp(source, join(folder, source.split("/").at(-1) ?? ""));
    await writeFile(
      join(folder, "tsconfig.json"),
      JSON.stringify({ compilerOptions: { ...flags, skipLibCheck: true } }),
    );
    return folder;
  }

  async function diagnosed(folder: string): Promise<number> {
    const { code, errors, output } = await tsc(folder, "-p", ".", "--extendedDiagnostics");
    expect({ code, errors }).toEqual({ code: 0, errors: [] });
    return Number(/Instantiations:\s+(\d+)/.exec(output)?.[1]);
  }

  it("right code passes, misspelt keywords and members fail, nothing is `any`", async () => {
    // The declarations are checked as well, as they are for users without `skipLibCheck`.
    const checked = await tsc(typed, "-p", ".", "--exactOptionalPropertyTypes", "--skipLibCheck", "false");
    expect(checked).toMatchObject({ code: 0, errors: [] });
    for (const file of await readdir(join(typed, TYPES_FOLDER))) {
      const text = await readFile(join(typed, TYPES_FOLDER, file), "utf8");
      expect(text.replace(/\/\*\*.*?\*\//g, "").match(/[^\w$.]any\b(?![(:])/g)).toBeNull();
    }
  });

  it("costs the document's app few type instantiations", async () => {
    const example = `${repository}/examples/text-to-image.ts`;
    const without = await diagnosed(await folderWith("without", example));
    const folder = await folderWith("with", example);
    await cp(join(typed, TYPES_FOLDER), join(folder, TYPES_FOLDER), { recursive: true });
    const more = (await diagnosed(folder)) - without;
    expect(more).toBeGreaterThan(0);
    expect(more).toBeLessThan(INSTANTIATIONS_MAX);
  });

  it("the header names versions, and a file from other versions is noticed", async () => {
    const folder = join(typed, TYPES_FOLDER);
    const headers = await readHeaders(folder);
    expect(headers.find(({ file }) => file === "torch.d.ts")).toMatchObject({
      distribution: "torch",
      asked: ["torch"],
    });
    const installed = Object.fromEntries(headers.map(({ distribution, version }) => [distribution, version]));
    expect(await outdatedTypes(folder, installed)).toEqual([]);
    const [warning] = await outdatedTypes(folder, { ...installed, torch: "1.0" });
    expect(warning).toContain(`torch.d.ts is of torch ${installed["torch"]}, and 1.0 is installed`);
  });

  it("an editor completes methods, keywords and parts, and underlines a misspelt keyword", async () => {
    await using editor = new TypeScriptServer(typed);
    const file = join(typed, "text-to-image.ts");
    const source = await readFile(file, "utf8");
    const at = (before: string, marked: string): string => source.replace(before, marked);
    const call = "AutoPipelineForText2Image.from_pretrained(model, {";
    expect(source).toContain(call);

    expect(await editor.completions(file, at(call, `AutoPipelineForText2Image.‸;\n${call}`))).toContain(
      "from_pretrained",
    );
    expect(await editor.completions(file, at(call, `${call} ‸,`))).toEqual(
      expect.arrayContaining(["cache_dir", "use_safetensors", "vae"]),
    );
    expect(await editor.completions(file, at('import("diffusers")', 'import("‸")'))).toEqual(
      expect.arrayContaining(["diffusers", "torch"]),
    );
    expect(
      await editor.completions(
        file,
        at("const { AutoPipelineForText2Image }", "const { AutoPipelineForText2Image, ‸ }"),
      ),
    ).toContain("FluxPipeline");
    const field = source.replace("pipeline!: Py;", 'pipeline!: Py<"diffusers.AutoPipelineForText2Image">;');
    expect(
      await editor.completions(
        file,
        field.replace("await this.pipeline({ prompt: ", "await this.pipeline({ ‸, prompt: "),
      ),
    ).toEqual(expect.arrayContaining(["prompt_2", "guidance_scale"]));
    expect(
      await editor.completions(file, field.replace("optimize(this.pipeline.unet)", "optimize(this.pipeline.‸)")),
    ).toEqual(expect.arrayContaining(["unet", "vae", "to"]));
    expect(await editor.hover(file, at(call, call.replace("from_pretrained", "‸from_pretrained")))).toContain(
      "Instantiates a text-to-image Pytorch diffusion pipeline",
    );

    editor.open(file, at("variant:", "varriant:"));
    expect((await editor.errors(file)).join("\n")).toContain("'varriant' does not exist");
    editor.open(file, source);
    expect(await editor.errors(file)).toEqual([]);
  });
});
