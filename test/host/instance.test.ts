// One live app: what setup tells while it runs, teardown, and what an instance is when its worker is gone.
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { App } from "../../src/app/app.ts";
import { endpoint } from "../../src/app/endpoint.ts";
import { LogSink } from "../../src/host/sinks.ts";
import { hostOf, output, recordingLogger, scratch } from "./fixture.ts";

const Nothing = z.object({});

const LOADING = `
import sys
import flambeau

def load():
    for part in range(3):
        flambeau.progress(part, 3, "parts")
        for weight in range(2):
            flambeau.progress(weight + 1, 2, "weights")
    flambeau.progress(1, None, "tuning")
    flambeau.log("parts are there")
    print("a print")
    sys.stderr.write("a complaint\\n")
`;

class Loading extends App {
  override async setup() {
    await this.py.import("loading").load();
  }
  ok = endpoint("/", { input: Nothing, output: Nothing }, async () => ({}));
}

describe("setup", () => {
  it("shows its progress as waits, one for each loop, each of which ends once", async () => {
    const folder = await scratch({ "loading.py": LOADING });
    const { host, logger } = await hostOf(Loading, { file: `${folder}/app.ts` });
    await host.start();
    const waits = logger.waits.filter(({ id }) => id.startsWith("setup "));
    const told = waits.map(({ label, done, total, finished }) => [label, done, total, finished === true]);
    const weights = [
      ["weights", 1, 2, false],
      ["weights", 2, 2, true],
    ];
    expect(told).toEqual([
      ...[0, 1, 2].flatMap((part) => [["parts", part, 3, false], ...weights]),
      ["tuning", 1, null, false],
      // What is open when setup ends, ends with it.
      ["parts", 2, 3, true],
      ["tuning", 1, null, true],
    ]);
  });

  it("tells its logs and what it prints, and complaints on stderr only to those who want to know", async () => {
    const folder = await scratch({ "loading.py": LOADING });
    const { host, logger } = await hostOf(Loading, { file: `${folder}/app.ts` });
    await host.start();
    await output(host.submit("/", {}));
    expect(logger.lines).toContainEqual({ level: "info", message: "parts are there" });
    expect(logger.lines).toContainEqual({ level: "info", message: "a print" });
    expect(logger.lines).toContainEqual({ level: "debug", message: "stderr: a complaint" });
  });

  it("fails over work that it started and did not await", async () => {
    class Careless extends Loading {
      override async setup() {
        this.py.import("builtins").int("seven");
      }
    }
    const { host } = await hostOf(Careless);
    await expect(host.start()).rejects.toMatchObject({ code: "SETUP_FAILED", cause: { pythonType: "ValueError" } });
  });

  it("can be stopped by the app itself, and a base class can be set up first", async () => {
    class Base extends App {
      word = "";
      override async setup() {
        this.word = await this.py.import("builtins").str("base").$string();
      }
      ok = endpoint("/", { input: Nothing, output: z.object({ word: z.string() }) }, async () => ({ word: this.word }));
    }
    class Derived extends Base {
      override async setup() {
        await super.setup();
        this.word += " and derived";
      }
    }
    const { host } = await hostOf(Derived);
    expect(await output(host.submit("/", {}))).toEqual({ word: "base and derived" });
  });
});

describe("teardown", () => {
  it("that fails is told, and Python is ended all the same", async () => {
    class Clumsy extends Loading {
      override async setup() {}
      override async teardown() {
        await this.py.import("builtins").int("seven");
      }
      pid = endpoint("/pid", { input: Nothing, output: z.int() }, () => this.py.import("os").getpid().$number());
    }
    const { host, logger } = await hostOf(Clumsy);
    const pid = (await output(host.submit("/pid", {}))) as number;
    await host.close();
    expect(logger.lines).toContainEqual({
      level: "warn",
      message: "teardown() failed: ValueError: invalid literal for int() with base 10: 'seven'",
    });
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });
});

describe("the environment of Python", () => {
  it("is what an app names, beside the usual ones, and no more", async () => {
    class Named extends App {
      static override readonly environment = ["FLAMBEAU_TEST_NAMED"];
      seen = endpoint("/", { input: Nothing, output: z.array(z.string().nullable()) }, async () => {
        const { environ } = this.py.import("os");
        return [
          await this.py.as<string | null>(environ.$get("get").$call(["FLAMBEAU_TEST_NAMED"])),
          await this.py.as<string | null>(environ.$get("get").$call(["FLAMBEAU_TEST_OTHER"])),
        ];
      });
    }
    process.env["FLAMBEAU_TEST_NAMED"] = "named";
    process.env["FLAMBEAU_TEST_OTHER"] = "other";
    try {
      const { host } = await hostOf(Named);
      expect(await output(host.submit("/", {}))).toEqual(["named", null]);
    } finally {
      delete process.env["FLAMBEAU_TEST_NAMED"];
      delete process.env["FLAMBEAU_TEST_OTHER"];
    }
  });
});

describe("the log as a sink", () => {
  it("calls a loop without a name the warm-up", () => {
    const logger = recordingLogger();
    const sink = new LogSink(logger);
    sink.progress(1, 30, null);
    sink.progress(30, 30, null);
    sink.finish();
    expect(logger.waits).toEqual([
      { id: "setup warm-up", label: "warm-up", done: 1, total: 30, unit: "steps" },
      { id: "setup warm-up", label: "warm-up", done: 30, total: 30, unit: "steps", finished: true },
    ]);
  });
});
