// The table of forty behaviours in src/bridge/README.md against the tests that it names.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");
const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const rows = [...read("../../src/bridge/README.md").matchAll(/^\| (\d+) \| (.+) \| (\S+) \|$/gm)].map(
  ([, number, title = "", file = ""]) => ({ number: Number(number), title, file }),
);

test("the table has forty rows", () => {
  expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: 40 }, (_, at) => at + 1));
});

test.each(rows)("behaviour $number is a test of $file: $title", ({ title, file }) => {
  expect(read(`../${file}`)).toMatch(new RegExp(`\\b(?:test|it)\\b.*\\(\\s*${escaped(JSON.stringify(title))}`));
});
