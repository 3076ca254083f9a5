// The same few programs on pythonia and on ours. One program and one bridge in one process (`tsx cases.ts <bridge> <case> <python>`),
// since some end or hang the process that they run in; pythonia-cases.ts runs all.
import { createRequire } from "node:module";
import type { Case, Theirs } from "./case.ts";
import { inRoot } from "./options.ts";
import { FOLDER, startWorker } from "./peers.ts";
import { README_CASES } from "./readme-cases.ts";
import { REPORTED_CASES } from "./reported-cases.ts";

export const CASES: readonly Case[] = [...README_CASES, ...REPORTED_CASES];

/** Prints what came of it as one line. */
async function runOne(bridge: string, name: string, python: string): Promise<void> {
  const one = CASES.find((known) => known.name === name);
  if (one === undefined) throw new Error(`there is no case ${name}`);
  const say = (came: unknown): void => console.log(`came: ${one.endsItself ? "ended by itself" : String(came)}`);
  if (bridge === "flambeau") {
    const worker = await startWorker(python);
    const { py } = worker.session;
    say(await one.ours(py.import("cases_target"), py));
    if (!one.endsItself) await worker.stop();
    return;
  }
  const all: Theirs = createRequire(inRoot("test/bench/pythonia/package.json"))("pythonia");
  say(await one.theirs(await all.python(`${FOLDER}/cases_target.py`), all));
  if (!one.endsItself) all.python.exit();
}

const [bridge, name, python] = process.argv.slice(2);
if (process.argv[1]?.endsWith("/cases.ts") && bridge !== undefined && name !== undefined && python !== undefined)
  await runOne(bridge, name, python);
