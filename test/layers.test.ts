// The table of doors: which room may import which. Type imports count, and there are no cycles between rooms or files.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const source = fileURLToPath(new URL("../src/", import.meta.url));

/** Everyone may import these; they import nothing of ours (errors may be used by config). */
const LEAVES = new Set(["errors", "config", "log"]);
const DOORS: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  config: [],
  log: [],
  bridge: [],
  workers: ["bridge"],
  app: ["bridge"],
  toolkit: ["bridge", "app"],
  stubgen: ["bridge"],
  queue: [],
  server: ["queue", "app"],
  host: ["workers", "bridge", "app", "toolkit", "queue", "server", "stubgen"],
  cli: ["host", "workers", "app", "stubgen"],
  index: ["bridge", "app", "queue", "host", "workers"],
  toolkit_door: ["toolkit"],
  testing: ["app", "bridge", "host"],
  testing_door: ["testing"],
};

interface Import {
  readonly from: string;
  readonly to: string;
}

function roomOf(file: string): string {
  const [first = "", ...rest] = relative(source, file).split("/");
  if (rest.length > 0) return first;
  const name = first.replace(/\.ts$/, "");
  return `${name}_door` in DOORS ? `${name}_door` : name;
}

function imports(): Import[] {
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
  return files.flatMap((name) => {
    const from = join(source, name);
    const found = readFileSync(from, "utf8").matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g);
    return [...found].map(([, path = ""]) => ({ from, to: resolve(dirname(from), path) }));
  });
}

function cycles(edges: readonly Import[], name: (file: string) => string): string[] {
  const next = new Map<string, Set<string>>();
  for (const { from, to } of edges) {
    if (name(from) !== name(to)) next.set(name(from), (next.get(name(from)) ?? new Set()).add(name(to)));
  }
  const found: string[] = [];
  const walk = (at: string, path: readonly string[]): void => {
    if (path.includes(at)) {
      found.push([...path.slice(path.indexOf(at)), at].join(" → "));
      return;
    }
    for (const to of next.get(at) ?? []) walk(to, [...path, at]);
    next.delete(at);
  };
  for (const start of [...next.keys()]) walk(start, []);
  return found;
}

test("every room imports only what its door allows", () => {
  const all = imports();
  expect(all.length).toBeGreaterThan(20);
  const forbidden = all
    .map(({ from, to }) => ({ from: roomOf(from), to: roomOf(to), file: relative(source, from) }))
    .filter(({ from, to }) => from !== to && !LEAVES.has(to) && !(DOORS[from] ?? []).includes(to))
    .map(({ from, to, file }) => `${file}: ${from} may not import ${to}`);
  expect(forbidden).toEqual([]);
});

test("every room is in the table", () => {
  const rooms = new Set(imports().map(({ from }) => roomOf(from)));
  expect([...rooms].filter((room) => !(room in DOORS))).toEqual([]);
});

test("the leaves import nothing but each other", () => {
  const strays = imports().filter(({ from, to }) => LEAVES.has(roomOf(from)) && !LEAVES.has(roomOf(to)));
  expect(strays).toEqual([]);
});

test("there is no cycle between rooms and none between files", () => {
  const all = imports();
  expect(cycles(all, roomOf)).toEqual([]);
  expect(cycles(all, (file) => relative(source, file))).toEqual([]);
});
