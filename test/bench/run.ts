// `npm run bench`: every benchmark in a process of its own, one after the other. Flags go to each: --quick, --rounds, --no-build.
import { spawn } from "node:child_process";
import { inRoot } from "./options.ts";

let failed = 0;
for (const name of ["bridge", "whole-path"]) {
  console.log(`\n── ${name}`);
  failed += (await run(name)) === 0 ? 0 : 1;
}
process.exitCode = failed === 0 ? 0 : 1;

function run(name: string): Promise<number> {
  const args = [inRoot(`test/bench/${name}.ts`), ...process.argv.slice(2)];
  const child = spawn(inRoot("node_modules/.bin/tsx"), args, { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}
