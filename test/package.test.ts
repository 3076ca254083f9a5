// The package as a user gets it: packed, installed into an empty folder, an example copied in, and run there.
import { execFile } from "node:child_process";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { testPython } from "./support/python.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));
const PACKED_MAX_BYTES = 16 * 1024 * 1024;
let folder = "";
let packed: { filename: string; size: number; files: { path: string }[] };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "flambeau-package-"));
  await run(join(root, "node_modules/.bin/tsc"), ["-p", "tsconfig.build.json"], { cwd: root });
  const { stdout } = await run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], {
    cwd: root,
  });
  [packed] = JSON.parse(stdout);
  await writeFile(join(folder, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }));
  await run("npm", ["install", "--no-audit", "--no-fund", `./${packed.filename}`, "zod@4"], { cwd: folder });
}, 180_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

test("the package holds what it needs, nothing else, and is small", () => {
  const paths = packed.files.map(({ path }) => path);
  expect(paths).toContain("python/models/tiny-sdxl/model_index.json");
  expect(paths).toContain("python/constraints.txt");
  expect(paths).toContain("python/flambeau/optimize/__init__.py");
  expect(paths.filter((path) => /__pycache__|tiny_sdxl\/|^test\/|^src\//.test(path))).toEqual([]);
  expect(packed.size).toBeLessThan(PACKED_MAX_BYTES);
});

test("an example copied beside it runs with npx and writes its picture", async () => {
  await copyFile(join(root, "examples/text-to-image.ts"), join(folder, "app.ts"));
  const args = ["flambeau", "run", "app.ts", "--prompt", "a red star on a blue background", "--json"];
  const { stdout } = await run("npx", args, {
    cwd: folder,
    env: { ...process.env, FLAMBEAU_PYTHON: await testPython() },
  });
  const { image } = JSON.parse(stdout);
  const png = await readFile(fileURLToPath(image.url));
  expect(png.subarray(1, 4).toString()).toBe("PNG");
  expect(png.length).toBe(image.file_size);
}, 240_000);
