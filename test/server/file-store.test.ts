import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createFileStore } from "../../src/server/file-store.ts";
import { fileResponse } from "../../src/server/files.ts";

const bytes = new TextEncoder().encode("0123456789");
const hash = createHash("sha256").update(bytes).digest("hex");
const png = { contentType: "image/png", extension: "png" };
let dir: string;

beforeEach(async () => {
  dir = join(await mkdtemp(join(tmpdir(), "flambeau-files-")), "files");
});
afterEach(() => rm(join(dir, ".."), { recursive: true, force: true }));

const store = (write?: Parameters<typeof createFileStore>[0]["write"]) =>
  createFileStore({ dir, baseUrl: () => "http://127.0.0.1:3000", ...(write && { write }) });
const get = (id: string, headers: Record<string, string> = {}, method = "GET") =>
  fileResponse(store(), id, new Request(`http://127.0.0.1/files/${id}`, { method, headers }), { isShared: false });

describe("keeping a file", () => {
  test("gives it a URL by its content, and keeps it for this user alone", async () => {
    const kept = await store().put(bytes, png);
    expect(kept).toEqual({
      url: `http://127.0.0.1:3000/files/${hash}.png`,
      fileName: `${hash}.png`,
      contentType: "image/png",
      size: 10,
    });
    expect((await stat(join(dir, kept.fileName))).mode & 0o777).toBe(0o600);
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
  });

  test("keeps the same bytes once, also when many ask at once, and leaves nothing half-written", async () => {
    const files = store();
    const kept = await Promise.all(Array.from({ length: 20 }, () => files.put(bytes, png)));
    expect(new Set(kept.map((file) => file.url)).size).toBe(1);
    expect((await readdir(dir)).sort()).toEqual([`${hash}.png`, `${hash}.png.type`]);
  });

  test("replaces a file that was cut short", async () => {
    const kept = await store().put(bytes, png);
    await writeFile(join(dir, kept.fileName), "012");
    await store().put(bytes, png);
    expect((await stat(join(dir, kept.fileName))).size).toBe(10);
  });

  test.runIf(existsSync("/dev/full"))("says DISK_FULL when there is no room, and leaves nothing behind", async () => {
    const full = store((_path, content) => writeFile("/dev/full", content));
    await expect(full.put(bytes, png)).rejects.toMatchObject({
      code: "DISK_FULL",
      message: expect.stringContaining(dir),
    });
    expect(await readdir(dir)).toEqual([]);
  });

  test.skipIf(process.getuid?.() === 0)("names the folder that it may not write", async () => {
    await store().put(bytes, png);
    await chmod(dir, 0o500);
    await expect(store().put(bytes.subarray(1), png)).rejects.toMatchObject({ code: "SETTINGS_INVALID" });
  });

  test("names a folder that is none", async () => {
    await writeFile(dir, "");
    await expect(store().put(bytes, png)).rejects.toMatchObject({
      code: "SETTINGS_INVALID",
      message: expect.stringContaining(dir),
    });
  });

  test("stops when the signal fires", async () => {
    const stop = new AbortController();
    const files = store((path, content, options) => {
      stop.abort();
      return writeFile(path, content, options);
    });
    await expect(files.put(bytes, png, { signal: stop.signal })).rejects.toMatchObject({ code: "CANCELLED" });
    await expect(store().put(bytes, png, { signal: stop.signal })).rejects.toMatchObject({ code: "CANCELLED" });
    expect(await readdir(dir)).toEqual([]);
  });

  test.each(["", "../x", "p/ng", "a".repeat(13), "p\0ng"])("refuses the extension %j", async (extension) => {
    await expect(store().put(bytes, { ...png, extension })).rejects.toMatchObject({ code: "NOT_SENDABLE" });
  });

  test("does not serve a type that would break a header", async () => {
    const kept = await store().put(bytes, { contentType: "text/html\r\nset-cookie: a=b", extension: "html" });
    expect(kept.contentType).toBe("application/octet-stream");
  });
});

describe("serving a file", () => {
  test("gives an image to be shown, with its type, size and a cache for ever", async () => {
    const { fileName } = await store().put(bytes, png);
    const response = await get(fileName);
    expect([response.status, await response.text()]).toEqual([200, "0123456789"]);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "image/png",
      "content-length": "10",
      "content-disposition": "inline",
      "content-security-policy": "default-src 'none'; sandbox",
      "cache-control": expect.stringContaining("immutable"),
    });
  });

  test.each(["image/svg+xml", "text/html", "application/pdf"])(
    "gives %s to be saved, not shown",
    async (contentType) => {
      const { fileName } = await store().put(bytes, { contentType, extension: "bin" });
      const response = await get(fileName);
      expect(response.headers.get("content-type")).toBe(contentType);
      expect(response.headers.get("content-disposition")).toBe(`attachment; filename="${fileName}"`);
      await response.body?.cancel();
    },
  );

  test.each([
    ["bytes=0-3", 206, "0123", "bytes 0-3/10"],
    ["bytes=7-", 206, "789", "bytes 7-9/10"],
    ["bytes=-2", 206, "89", "bytes 8-9/10"],
    ["bytes=4-99", 206, "456789", "bytes 4-9/10"],
  ])("answers %s with that part", async (range, status, text, contentRange) => {
    const { fileName } = await store().put(bytes, png);
    const response = await get(fileName, { range });
    expect([response.status, await response.text(), response.headers.get("content-range")]).toEqual([
      status,
      text,
      contentRange,
    ]);
  });

  test.each(["bytes=10-", "bytes=3-1", "bytes=0-1,3-4", "bytes=-", "items=0-1", `bytes=${"0-,".repeat(10_000)}`])(
    "refuses the range %.20s",
    async (range) => {
      const { fileName } = await store().put(bytes, png);
      const response = await get(fileName, { range });
      expect([response.status, response.headers.get("content-range")]).toEqual([416, "bytes */10"]);
    },
  );

  test("answers HEAD and an unchanged file without a body, and an empty file", async () => {
    const { fileName } = await store().put(bytes, png);
    const head = await get(fileName, {}, "HEAD");
    expect([head.status, head.headers.get("content-length"), head.body]).toEqual([200, "10", null]);
    expect((await get(fileName, { "if-none-match": `"${fileName}"` })).status).toBe(304);
    const empty = await store().put(new Uint8Array(), png);
    expect([(await get(empty.fileName)).status, (await get(empty.fileName, { range: "bytes=0-" })).status]).toEqual([
      200, 416,
    ]);
  });

  test.each([
    "",
    "..",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    `${hash}.png/../${hash}.png`,
    `${hash}.PNG`,
    `${hash}.png\0`,
    `${hash}.png.type`,
    `${hash.toUpperCase()}.png`,
    "a".repeat(300),
    `${"0".repeat(64)}.png`,
  ])("knows no file %j", async (id) => {
    await store().put(bytes, png);
    const response = await fileResponse(store(), id, new Request("http://127.0.0.1/"), { isShared: false });
    expect([response.status, await response.json()]).toEqual([
      404,
      expect.objectContaining({ detail: expect.any(String) }),
    ]);
  });

  test("does not follow a link out of its folder", async () => {
    await store().put(bytes, png);
    const id = `${"1".repeat(64)}.png`;
    await symlink("/etc/hostname", join(dir, id));
    expect((await get(id)).status).toBe(404);
  });
});
