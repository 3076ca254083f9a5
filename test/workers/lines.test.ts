// Output of a process as lines, however its bytes were cut.
import { PassThrough } from "node:stream";
import { describe, expect, test } from "vitest";
import { Lines } from "../../src/workers/lines.ts";

async function linesOf(
  parts: readonly (string | Uint8Array)[],
  limits = { logLineBytes: 100, stderrTailLines: 3 },
): Promise<{ lines: string[]; tail: readonly string[] }> {
  const stream = new PassThrough();
  const lines: string[] = [];
  const read = new Lines(stream, limits, (line) => lines.push(line));
  for (const part of parts) {
    stream.write(part);
    await new Promise((resolve) => setImmediate(resolve));
  }
  stream.end();
  await read.ended;
  return { lines, tail: read.tail };
}

describe("lines", () => {
  test("are whole wherever the bytes were cut, also inside of a character", async () => {
    const bytes = Buffer.from("naïve\n日本語 🦝\nend");
    for (let cut = 0; cut <= bytes.length; cut++) {
      const { lines } = await linesOf([bytes.subarray(0, cut), bytes.subarray(cut)]);
      expect(lines, `cut at ${cut}`).toEqual(["naïve", "日本語 🦝", "end"]);
    }
  });

  test("that are empty are left out, ends of every kind are taken off", async () => {
    expect((await linesOf(["a\r\n\n  \nb  \n"])).lines).toEqual(["a", "b"]);
  });

  test("of a progress bar are what it shows last", async () => {
    expect((await linesOf(["\r 10%\r 50%", "\r100%\nnext\n"])).lines).toEqual(["100%", "next"]);
  });

  test("of bytes that are no UTF-8 keep what can be read", async () => {
    expect((await linesOf([Uint8Array.of(0x61, 0xff, 0x62, 0x0a)])).lines).toEqual(["a\ufffdb"]);
  });

  test("are cut at their limit, also when no end ever comes", async () => {
    const { lines } = await linesOf([`${"x".repeat(500)}\n`, "y".repeat(80), "y".repeat(80), "y".repeat(80)]);
    expect(lines.map((line) => line.length)).toEqual([100, 100]);
  });

  test("the last of them are kept for messages, and no more than those", async () => {
    expect((await linesOf(["1\n2\n3\n4\n5"])).tail).toEqual(["3", "4", "5"]);
  });
});
