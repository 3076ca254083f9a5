// Provisions in a process of its own, for tests of several hosts and of a host's death: prints each wait and the outcome.
import { readSettings } from "../../src/config.ts";
import { toError } from "../../src/errors.ts";
import { silentLogger } from "../../src/log.ts";
import { provision } from "../../src/workers/environment.ts";

const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
try {
  const logger = { ...silentLogger, wait: (wait: { label: string }) => say({ label: wait.label }) };
  const environment = await provision({ requirements: process.argv.slice(2) }, { settings: readSettings(), logger });
  say({ done: environment.dir });
} catch (error) {
  say({ failed: toError(error).message });
}
