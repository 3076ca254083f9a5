// `flambeau bench` against a host without Python: both sides get the same input, in turns, and the ratio is of neighbours.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { describeApp } from "../../src/app/app.ts";
import { bench } from "../../src/cli/bench.ts";
import type { CreateHost, RunParts } from "../../src/cli/run.ts";
import { limits } from "../../src/config.ts";
import { App, endpoint } from "../../src/index.ts";
import { fakeHost, recordingLogger, testSettings } from "./fake-host.ts";

class Painter extends App {
  paint = endpoint("/", { input: z.object({ prompt: z.string() }), output: z.unknown() }, async () => null);
}

let cwd: string;
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), "flambeau-bench-"));
});
afterEach(() => rm(cwd, { recursive: true }));

/** Runs the command with an eager side that takes two seconds and an optimised one that takes one. */
async function command(argv: readonly string[]) {
  const order: string[] = [];
  const inputs: unknown[] = [];
  const createHost: CreateHost = (app, options) => {
    const side = options.settings.environment["FLAMBEAU_OPTIMIZE"] ?? "unset";
    const { createHost: create } = fakeHost({
      async *events(input, files) {
        order.push(side);
        inputs.push(input);
        const file = await files.put(new Uint8Array(3), { contentType: "image/png", extension: "png" });
        yield { type: "completed", output: { url: file.url }, seconds: side === "off" ? 2 : 1 };
      },
    });
    return create(app, options);
  };
  const printed: string[] = [];
  const parts: RunParts = {
    createHost,
    settings: testSettings(),
    logger: recordingLogger(),
    print: (text) => printed.push(text),
    nowMs: () => 0,
    columns: 100,
    cwd,
    stdin: Readable.from([""]),
  };
  const request = {
    app: Painter,
    description: describeApp(Painter),
    file: "/app.ts",
    spec: "app.ts",
    argv,
    own: {},
    command: "bench" as const,
  };
  const failure = await bench(request, parts, { signal: new AbortController().signal }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  return { order, inputs, printed: printed.join("\n"), failure };
}

describe("flambeau bench", () => {
  it("lets an eager and an optimised worker take turns with the same input and prints the ratio", async () => {
    const { order, inputs, printed, failure } = await command(["--rounds", "3", "--prompt", "a cat"]);
    expect(failure).toBeNull();
    const warmUps = ["off", "on"].flatMap((side) => new Array<string>(limits.benchWarmUps).fill(side));
    expect(order).toEqual([...warmUps, "off", "on", "on", "off", "off", "on"]);
    expect(new Set(inputs.map((input) => JSON.stringify(input)))).toEqual(new Set(['{"prompt":"a cat"}']));
    expect(printed).toMatch(/eager +2\.0 s +9\.8 s\noptimized +1\.0 s +9\.8 s/);
    expect(printed).toContain("optimized is 2.00x of eager's speed (2.00x to 2.00x over 3 pairs)");
  });

  it("times as many pairs as the limit says where nothing is asked for, and refuses a number that is none", async () => {
    expect((await command(["--prompt", "a cat"])).order).toHaveLength(2 * (limits.benchWarmUps + limits.benchRounds));
    for (const rounds of ["0", "-1", "many", "10000"])
      expect((await command(["--prompt", "a cat", "--rounds", rounds])).failure).toMatchObject({
        code: "SETTINGS_INVALID",
        message: expect.stringContaining("--rounds expects a number from 1 to 9999"),
      });
  });

  it("has no flags that only run can follow, and says which command it is", async () => {
    expect((await command(["--prompt", "a cat", "--json"])).failure).toMatchObject({
      code: "SETTINGS_INVALID",
      message: expect.stringContaining("unknown option '--json'; `flambeau bench app.ts --help`"),
    });
  });

  it("checks the input before anything starts", async () => {
    const { order, failure } = await command(["--prompt"]);
    expect(order).toEqual([]);
    expect(failure).not.toBeNull();
  });

  it("prints the endpoint's flags when asked for help", async () => {
    expect((await command(["--help"])).printed).toContain("--prompt");
  });
});
