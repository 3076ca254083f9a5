// A host of its own for life.test.ts: has no descriptor left when it starts a worker, and says what came of that.
import { openSync } from "node:fs";
import { Worker } from "../../src/workers/worker.ts";

const [python = ""] = process.argv.slice(2);
const kept: number[] = [];
// Everything that is loaded late has to be there before.
await Worker.start({ python: "/no/such/python", environment: {} }).catch(() => {});
try {
  for (;;) kept.push(openSync("/dev/null", "r"));
} catch {
  const error: unknown = await Worker.start({ python, environment: {} }).catch((thrown: unknown) => thrown);
  const { code, message } = error as { code?: string; message?: string };
  process.stdout.write(JSON.stringify({ code, message }));
}
process.exit(0);
