// How long things take to begin: a worker's first answer, the package's import, and a whole command.
import { spawn } from "node:child_process";
import type { Cell } from "./measure.ts";
import { timed } from "./measure.ts";
import { compiled, inRoot } from "./options.ts";
import { startWorker } from "./peers.ts";

/** Each starts processes, so one operation is a round. */
export function startCells(python: string): Cell[] {
  const started = (name: string, operation: () => Promise<number>): Cell => ({
    name,
    round: async () => [await operation()],
  });
  const node = (...args: string[]): Promise<number> => untilOutput(process.execPath, args, python);
  const importing = `await import(${JSON.stringify(compiled("index.js"))}); console.log("here")`;
  return [
    started("node, nothing else", () => node("-e", 'console.log("here")')),
    started("node, import flambeau", () => node("--input-type=module", "-e", importing)),
    started("python -I, nothing else", () => untilOutput(python, ["-I", "-c", "print('here', flush=True)"], python)),
    started("worker, first reply", () => workerUntil(python, (worker) => worker.channel.ping())),
    started("worker, first import", () =>
      workerUntil(python, async ({ session }) => await session.py.import("colorsys").ONE_THIRD),
    ),
    started("hello.ts, process start to answer", () =>
      node(inRoot("dist/cli/main.js"), "run", inRoot("examples/hello.ts")),
    ),
  ];
}

async function workerUntil(
  python: string,
  answered: (worker: Awaited<ReturnType<typeof startWorker>>) => Promise<unknown>,
): Promise<number> {
  const start = performance.now();
  const worker = await startWorker(python);
  await answered(worker);
  const ms = performance.now() - start;
  await worker.stop();
  return ms;
}

/** Milliseconds to the first byte on stdout; its end is waited for, so that the next start does not share the machine with it. */
async function untilOutput(command: string, args: readonly string[], python: string): Promise<number> {
  let first: number | undefined;
  const [ms] = await timed(1, async () => {
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, FLAMBEAU_PYTHON: python },
    });
    const start = performance.now();
    let errors = "";
    child.stderr.on("data", (data) => {
      errors += data;
    });
    child.stdout.on("data", () => {
      first ??= performance.now() - start;
    });
    const code = await new Promise((resolve) => child.once("close", resolve));
    if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}:\n${errors}`);
  });
  return first ?? ms ?? Number.NaN;
}
