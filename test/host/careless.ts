// Run in a process of its own: an app whose promises are rejected while nobody looks, and what became of its requests, as JSON.
import { App, createHost, endpoint, readSettings } from "flambeau";
import { z } from "zod";

const Nothing = z.object({});

class Careless extends App {
  int = this.py.import("builtins").$get("int");

  python = endpoint("/python", { input: Nothing, output: Nothing }, async () => {
    void this.int.$call(["seven"]).$number();
    return {};
  });
  plain = endpoint("/plain", { input: Nothing, output: Nothing }, async () => {
    void Promise.reject(new Error("nobody looks"));
    return {};
  });
  twoAtOnce = endpoint("/two-at-once", { input: Nothing, output: Nothing }, async () => {
    const first = this.int.$call(["eight"]).$number();
    const second = this.int.$call(["nine"]).$number();
    await first;
    await second;
    return {};
  });
  caughtLater = endpoint("/caught-later", { input: Nothing, output: z.object({ why: z.string() }) }, async () => {
    const early = this.int.$call(["ten"]).$number();
    await this.int.$call(["10"]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    return { why: await early.then(String, (error: Error) => error.name) };
  });
  afterwards = endpoint("/afterwards", { input: Nothing, output: Nothing }, async () => {
    setTimeout(() => void Promise.reject(new Error("too late")), 20);
    return {};
  });
  wait = endpoint("/wait", { input: Nothing, output: Nothing }, async () => {
    await new Promise((resolve) => setTimeout(resolve, 60));
    return {};
  });
}

const settings = readSettings();
const warnings: string[] = [];
const logger = { debug() {}, info() {}, warn: (message: string) => void warnings.push(message), error() {}, wait() {} };
await using host = createHost(Careless, { settings, logger });
const ends: Record<string, unknown> = {};
for (const { name } of host.description.endpoints) {
  for await (const event of host.submit(name, {})) {
    if (event.type === "failed") ends[name] = event.error.message;
    else if (event.type === "completed") ends[name] = event.output;
  }
}
process.stdout.write(JSON.stringify({ ends, warnings }));
if (process.argv[2] === "foreign") {
  void Promise.reject(new Error("not of a request"));
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  process.stdout.write("still here");
}
