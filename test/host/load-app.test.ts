import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { editDistance, nearest } from "../../src/host/nearest.ts";

interface Loaded {
  readonly name?: string;
  readonly file?: string;
  readonly endpoints?: readonly string[];
  readonly same?: boolean;
  readonly code?: string;
  readonly message?: string;
  readonly hasCause?: boolean;
}

const repository = fileURLToPath(new URL("../..", import.meta.url));
const fixtures = join(repository, "test/fixtures/apps");

/** Loads all specs in one process, as the command line would each. */
async function load(cwd: string, specs: readonly string[]): Promise<Map<string, Loaded>> {
  const script = join(repository, "test/fixtures/load-apps.ts");
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", script, cwd, ...specs], {
    cwd: repository,
  });
  const lines = stdout.trim().split("\n");
  return new Map(lines.map((line, index) => [specs[index] ?? "", JSON.parse(line) as Loaded]));
}

const endpointField = `run = endpoint("/", { input: z.object({}), output: z.object({}) }, async () => ({}));`;
const imports = `import { App, endpoint } from "flambeau";\nimport { z } from "zod";\n`;

/** Broken files live outside the repository: type checker and linter would stumble over them. */
const broken: Readonly<Record<string, string>> = {
  "good.ts": `${imports}export class Good extends App {\n  ${endpointField}\n}\n`,
  "commonjs/good.ts": `${imports}import { size } from "./part.js";\nawait 0;\nexport class Good extends App {\n  size: number = size;\n  ${endpointField}\n}\n`,
  "commonjs/part.ts": "export const size: number = 3;\n",
  "commonjs/package.json": `{ "type": "commonjs" }`,
  "draft #2.ts": `${imports}export class Draft extends App {\n  ${endpointField}\n}\n`,
  "plain.mjs": `${imports}export class Plain extends App {\n  ${endpointField}\n}\n`,
  "syntax.ts": `${imports}export class Broken extends App {\n  size = ;\n}\n`,
  "reference.ts": `${imports}interface Size {\n  width: number;\n}\nexport const size: Size = { width: widht };\n`,
  "part-syntax.ts": `import "./syntax.ts";\n`,
  "package.ts": `${imports}\nimport { x } from "@scope/not-there/part";\nexport const y = x;\n`,
  "file.ts": `${imports}import { x } from "./gud.ts";\nexport const y = x;\n`,
  "export.ts": `import { Ap } from "flambeau";\nexport const y = Ap;\n`,
  "nothing.ts": "const x = 1;\nvoid x;\n",
  "no-endpoints.ts": `${imports}export class Idle extends App {}\nvoid [endpoint, z];\n`,
  "same-path.ts": `${imports}export class Twice extends App {\n  ${endpointField}\n  ${endpointField.replace("run", "again")}\n}\n`,
  "field.ts": `${imports}export class Fails extends App {\n  size = JSON.parse("{");\n  ${endpointField}\n}\n`,
  "url.ts": `${imports}export class Lost extends App {\n  page = new URL("nowhere");\n  ${endpointField}\n}\n`,
  "notes.txt": "no code",
};

describe("loading an app's file", () => {
  let folder: string;
  let good: Map<string, Loaded>;
  let bad: Map<string, Loaded>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "flambeau-load-"));
    await mkdir(join(folder, "commonjs"));
    await symlink(join(repository, "node_modules"), join(folder, "node_modules"));
    for (const [name, text] of Object.entries(broken)) await writeFile(join(folder, name), text);
    const goodSpecs = [
      "painter.ts",
      "two-doors.ts",
      "two-doors.ts#Base",
      "several.ts",
      "several.ts#Blue",
      "several.ts#Blu",
      "no-app.ts",
      "paniter.ts",
    ];
    const badSpecs = [...Object.keys(broken), ".", "good.js", "nowhere/good.ts"];
    [good, bad] = await Promise.all([load(fixtures, goodSpecs), load(folder, badSpecs)]);
  });
  afterAll(() => rm(folder, { recursive: true }));

  it("finds the only App, built on the very App of the loader", () => {
    expect(good.get("painter.ts")).toEqual({
      name: "Painter",
      file: join(fixtures, "painter.ts"),
      endpoints: ["/"],
      same: true,
    });
  });

  it("takes the leaf, not the exported base it extends", () => {
    expect(good.get("two-doors.ts")).toMatchObject({ name: "TwoDoors", endpoints: ["/", "/steps"] });
  });

  it("takes the base when it is named", () => {
    expect(good.get("two-doors.ts#Base")).toMatchObject({ name: "Base", endpoints: ["/"] });
  });

  it("asks for a name when two apps are exported, and takes it", () => {
    expect(good.get("several.ts")).toMatchObject({
      code: "APP_INVALID",
      message: expect.stringContaining("several.ts#Blue or several.ts#Red"),
    });
    expect(good.get("several.ts#Blue")).toMatchObject({ name: "Blue" });
  });

  it("suggests the class that was probably meant", () => {
    expect(good.get("several.ts#Blu")?.message).toBe(
      "several.ts exports no App named Blu; did you mean several.ts#Blue?",
    );
  });

  it("says what a file without an App exports", () => {
    expect(good.get("no-app.ts")?.message).toMatch(/^no-app\.ts has no exported App: it exports Painter, size;/);
    expect(bad.get("nothing.ts")?.message).toMatch(/it exports nothing/);
  });

  it("suggests the file that was probably meant", () => {
    expect(good.get("paniter.ts")?.message).toBe("paniter.ts does not exist; did you mean painter.ts?");
    expect(bad.get("good.js")?.message).toBe("good.js does not exist; did you mean good.ts?");
    expect(bad.get("nowhere/good.ts")?.message).toBe(
      "nowhere/good.ts does not exist, and neither does the folder nowhere",
    );
  });

  it("refuses a folder and a file that is no code", () => {
    expect(bad.get(".")?.message).toMatch(/is a folder; name the file in it that exports the App; there is /);
    expect(bad.get("notes.txt")?.message).toMatch(/^notes\.txt is not TypeScript or JavaScript/);
  });

  it("loads an app where no package.json stands beside it", () => {
    expect(bad.get("good.ts")).toMatchObject({ name: "Good", same: true });
  });

  it("loads an app of a package that says commonjs, with an await at its top", () => {
    expect(bad.get("commonjs/good.ts")).toMatchObject({ name: "Good", same: true });
  });

  it("loads plain JavaScript", () => {
    expect(bad.get("plain.mjs")).toMatchObject({ name: "Plain", same: true });
  });

  it("loads a file that has the sign for a class in its name", () => {
    expect(bad.get("draft #2.ts")).toMatchObject({ name: "Draft", same: true });
  });

  it.each([
    ["syntax.ts", `syntax.ts:4:10: syntax error: Unexpected ";"`],
    ["part-syntax.ts", `syntax.ts:4:10: syntax error: Unexpected ";"`],
    ["reference.ts", "reference.ts:6:36: ReferenceError: widht is not defined"],
    [
      "package.ts",
      `package.ts:4: the package "@scope/not-there" is not installed; run \`npm install @scope/not-there\``,
    ],
    ["file.ts", "file.ts:3: there is no file gud.ts; did you mean good.ts?"],
    ["export.ts", `export.ts:1: "flambeau" has no export named Ap; if it is a type, write \`import { type Ap }\``],
  ])("names file and line of what is wrong in %s", (file, message) => {
    expect(bad.get(file)).toEqual({ code: "APP_INVALID", message, hasCause: true });
  });

  it("refuses an App without endpoints, with two under one path, or that cannot be made", () => {
    expect(bad.get("no-endpoints.ts")?.message).toMatch(/^no-endpoints\.ts: Idle has no endpoints/);
    expect(bad.get("same-path.ts")?.message).toMatch(
      /^same-path\.ts: Twice: the endpoints run and again have the same path \//,
    );
    expect(bad.get("field.ts")?.message).toMatch(/^field\.ts:4:15: new Fails\(\) failed: SyntaxError: /);
    expect(bad.get("url.ts")?.message).toMatch(/^url\.ts:4:10: new Lost\(\) failed: TypeError: Invalid URL/);
  });
});

describe("the nearest name", () => {
  it("counts a swap of neighbours as one slip", () => {
    expect(editDistance("promtp", "prompt")).toBe(1);
    expect(editDistance("", "abc")).toBe(3);
  });

  it("is none when nothing is near", () => {
    expect(nearest("seed", ["prompt", "width"])).toBeNull();
    expect(nearest("promt", ["width", "prompt"])).toBe("prompt");
  });
});
