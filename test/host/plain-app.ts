// The app of the host's tests: everything that a test asks of Python, and no library; and the numbers of a host that waits less.
import { z } from "zod";
import { App } from "../../src/app/app.ts";
import { endpoint } from "../../src/app/endpoint.ts";

export const Nothing = z.object({});

export class Plain extends App {
  starts = 0;
  builtins = this.py.import("builtins");
  time = this.py.import("time");

  override async setup() {
    this.starts++;
    await this.builtins.setattr(this.py.import("sys"), "flambeau_setups", this.starts);
  }

  echo = endpoint(
    "/",
    { input: z.object({ text: z.string() }), output: z.object({ text: z.string() }) },
    async ({ text }) => ({
      text: await this.builtins.str(text).$string(),
    }),
  );
  pid = endpoint("/pid", { input: Nothing, output: z.object({ pid: z.int(), setups: z.int() }) }, async () => ({
    pid: await this.py.import("os").getpid().$number(),
    setups: await this.py.import("sys").flambeau_setups.$number(),
  }));
  sleep = endpoint(
    "/sleep",
    { input: z.object({ seconds: z.number() }), output: Nothing, timeoutMs: 60_000 },
    async ({ seconds }, { log }) => {
      log("asleep");
      await this.time.sleep(this.py.float(seconds));
      return {};
    },
  );
  hurry = endpoint("/hurry", { input: Nothing, output: Nothing, timeoutMs: 150 }, async () => {
    await this.time.sleep(this.py.float(60));
    return {};
  });
  raise = endpoint("/raise", { input: Nothing, output: Nothing }, async () => {
    await this.builtins.int("seven");
    return {};
  });
  die = endpoint("/die", { input: Nothing, output: Nothing }, async () => {
    await this.py.import("os")._exit(3);
    return {};
  });
  print = endpoint("/print", { input: Nothing, output: Nothing }, async () => {
    for (let i = 0; i < 20; i++) await this.builtins.print(`line ${i}`);
    await this.py.import("sys").stderr.write("a warning\n");
    return {};
  });
}

export const quick = { restartBackoffMs: [5, 10], restartWindowMs: 60_000, restartsPerWindow: 2, abandonAfterMs: 50 };
