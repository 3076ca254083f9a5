// The table of forty behaviours in src/bridge/README.md against the tests that it names.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");
const rows = [...read("../../src/bridge/README.md").matchAll(/^\| (\d+) \| (.+) \| (\S+) \|$/gm)].map(
  ([, number, title = "", file = ""]) => ({ number: Number(number), title, file }),
);

test("the table has forty rows", () => {
  expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: 40 }, (_, at) => at + 1));
});

test.each(rows.filter(({ file }) => file !== "—"))(
  "behaviour $number is a test of $file: $title",
  ({ title, file }) => {
    expect(read(`../${file}`)).toContain(JSON.stringify(title));
  },
);
