import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { OutputFolder } from "../../src/cli/output-folder.ts";

const png = { contentType: "image/png", extension: "png" };
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "flambeau-out-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("the output folder", () => {
  it("makes itself, and names a file by endpoint and content", async () => {
    const store = new OutputFolder(join(folder, "a/b"), "text-to-image");
    const file = await store.put(Buffer.from("picture"), png);
    expect(file).toMatchObject({
      fileName: expect.stringMatching(/^text-to-image-[0-9a-f]{6}\.png$/),
      size: 7,
      contentType: "image/png",
    });
    expect(await readFile(fileURLToPath(file.url), "utf8")).toBe("picture");
    expect(store.pathOf(file.url)).toBe(join(folder, "a/b", file.fileName));
  });

  it("keeps one file of the same bytes, also when they are put at once", async () => {
    const store = new OutputFolder(folder, "x");
    const files = await Promise.all(Array.from({ length: 8 }, () => store.put(Buffer.from("same"), png)));
    expect(new Set(files.map(({ url }) => url)).size).toBe(1);
    expect(await readdir(folder)).toHaveLength(1);
  });

  it("never replaces other bytes under the same name", async () => {
    const store = new OutputFolder(folder, "x");
    const first = await store.put(Buffer.from("mine"), { contentType: "text/plain", extension: ".txt" });
    await writeFile(fileURLToPath(first.url), "changed by hand");
    const second = await store.put(Buffer.from("mine"), { contentType: "text/plain", extension: "txt" });
    expect(second.fileName).not.toBe(first.fileName);
    expect(await readFile(fileURLToPath(first.url), "utf8")).toBe("changed by hand");
  });

  it("says what to do where it cannot write", async () => {
    await writeFile(join(folder, "file"), "");
    const store = new OutputFolder(join(folder, "file"), "x");
    await expect(store.put(Buffer.from("b"), png)).rejects.toMatchObject({
      code: "SETTINGS_INVALID",
      message: expect.stringContaining("--out"),
    });
  });

  it("writes nothing once it is cancelled", async () => {
    const store = new OutputFolder(folder, "x");
    await expect(store.put(Buffer.from("b"), png, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "CANCELLED",
    });
    expect(await readdir(folder)).toEqual([]);
  });
});
