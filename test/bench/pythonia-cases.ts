// Runs every program of cases.ts on pythonia and on ours, each in a process of its own, and keeps the table of what came of them.
import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { testPython } from "../support/python.ts";
import type { Case } from "./case.ts";
import { CASES } from "./cases.ts";
import { inRoot, prepare } from "./options.ts";
import { installPythonia } from "./peers.ts";

const PATIENCE_MS = 20_000;
const BRIDGES = ["flambeau", "pythonia"] as const;
/** Longest text of an outcome. */
const CHARACTERS = 90;

interface Row {
  readonly case: string;
  readonly from: Case["from"];
  readonly right: string;
  readonly flambeau: string;
  readonly pythonia: string;
}

prepare({ rounds: 1, quickRounds: 1 });
const missing = await installPythonia();
const python = await testPython();
const { version } = JSON.parse(
  await readFile(inRoot("test/bench/pythonia/node_modules/pythonia/package.json"), "utf8").catch(() => "{}"),
) as { version?: string };
const rows: Row[] = [];
for (const one of CASES) {
  const [flambeau = "", pythonia = ""] = [
    await outcome(one, BRIDGES[0]),
    missing === undefined ? await outcome(one, BRIDGES[1]) : missing,
  ];
  rows.push({ case: one.name, from: one.from, right: one.right, flambeau, pythonia });
  console.log(`${one.name}\n    flambeau: ${flambeau}\n    pythonia: ${pythonia}`);
}
const right = (bridge: (typeof BRIDGES)[number]): number => rows.filter((row) => row[bridge] === "right").length;
console.log(
  `\nright: flambeau ${right("flambeau")} of ${rows.length}, pythonia ${right("pythonia")} of ${rows.length}`,
);
const record = {
  pythonia: version,
  node: process.versions.node,
  right: { flambeau: right("flambeau"), pythonia: right("pythonia") },
  rows,
};
await writeFile(inRoot("test/bench/results/pythonia-cases.json"), `${JSON.stringify(record, undefined, 2)}\n`);
process.exitCode = right("flambeau") === rows.length ? 0 : 1;

/** In words: right, what came instead, or how its process ended. */
function outcome({ name, right, patienceMs = PATIENCE_MS }: Case, bridge: string): Promise<string> {
  const child = spawn(process.execPath, ["--import", "tsx", inRoot("test/bench/cases.ts"), bridge, name, python], {
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, so that nothing of it is left.
    detached: true,
    env: { ...process.env, PYTHON_BIN: python, REQ_TIMEOUT: name.includes("limit of calls") ? "1000" : "60000" },
  });
  let said = "";
  let complained = "";
  child.stdout.on("data", (text: Buffer) => {
    said += String(text);
  });
  child.stderr.on("data", (text: Buffer) => {
    complained += String(text);
  });
  return new Promise((resolve) => {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      end();
    }, patienceMs);
    const end = (): void => {
      try {
        process.kill(-(child.pid ?? 0), "SIGKILL");
      } catch {
        // It has ended, and so has all that it started.
      }
    };
    child.once("exit", (code) => {
      clearTimeout(timer);
      end();
      const came = /^came: (.*)$/m.exec(said)?.[1];
      const what = came === right ? "right" : came?.slice(0, CHARACTERS);
      if (isLate) resolve(what === undefined ? "hangs" : `${what}, but its process does not end`);
      else if (code !== 0) resolve(`ends its process: ${cause(complained)}`);
      else resolve(what ?? "ends without an answer");
    });
  });
}

/** The line that says why; a path in it belongs to one machine. */
function cause(stderr: string): string {
  const lines = stderr.split("\n");
  const line =
    lines.find((text) => /\w(Error|Exception): /.test(text)) ?? lines.find((text) => /Error/.test(text)) ?? "";
  return line
    .trim()
    .replace(/(\/[\w.-]+)+\//g, "")
    .slice(0, CHARACTERS);
}
