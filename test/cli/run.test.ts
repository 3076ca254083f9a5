import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { type AppClass, describeApp } from "../../src/app/app.ts";
import { type RunParts, run } from "../../src/cli/run.ts";
import { FlambeauError } from "../../src/errors.ts";
import { App, endpoint } from "../../src/index.ts";
import type { RequestEvent } from "../../src/queue/request.ts";
import { type FakeScript, fakeHost, recordingLogger, testSettings } from "./fake-host.ts";

const Input = z.object({ prompt: z.string(), num_steps: z.int().max(50).default(20) });

class Painter extends App {
  paintPicture = endpoint("/", { input: Input, output: z.unknown() }, async () => null);
}

class Two extends Painter {
  steps = endpoint("/steps", { input: Input, yields: z.unknown() }, () => this.none());
  async *none() {}
}

let cwd: string;
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), "flambeau-run-"));
});
afterEach(() => rm(cwd, { recursive: true }));

/** Runs one command against a script; resolves with everything that was seen, or rejects as the command does. */
async function command(
  app: AppClass,
  argv: readonly string[],
  script: FakeScript,
  more: { stdin?: string; signal?: AbortSignal } = {},
) {
  const { createHost, calls } = fakeHost(script);
  const logger = recordingLogger();
  const printed: string[] = [];
  // Asked twice: when the app is loaded, and at the end.
  const times = [400, 11_400];
  const tick = (): number => times.shift() ?? 0;
  const parts: RunParts = {
    createHost,
    settings: testSettings(),
    logger,
    print: (text) => printed.push(text),
    nowMs: tick,
    columns: 100,
    cwd,
    stdin: Readable.from([more.stdin ?? ""]),
  };
  const request = {
    app,
    description: describeApp(app),
    file: join(cwd, "app.ts"),
    spec: "app.ts",
    argv,
    own: {},
    command: "run" as const,
  };
  const failure = await run(request, parts, { signal: more.signal ?? new AbortController().signal }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  return { calls, logger, printed, failure };
}

function completing(output: unknown, ...before: RequestEvent[]): FakeScript {
  return {
    async *events() {
      yield* before;
      yield { type: "completed", output, seconds: 1.2 };
    },
  };
}

const picture: FakeScript = {
  async *events(input, files) {
    const file = await files.put(new Uint8Array(14_000), { contentType: "image/png", extension: "png" });
    const image = {
      url: file.url,
      width: 128,
      height: 64,
      content_type: file.contentType,
      file_name: file.fileName,
      file_size: file.size,
    };
    yield { type: "completed", output: { image, echo: input }, seconds: 1.2 };
  },
};

describe("flambeau run", () => {
  it("submits what the flags say and names the picture that was written", async () => {
    const { calls, printed, logger, failure } = await command(
      Painter,
      ["--prompt", "star", "--num-steps", "8"],
      picture,
    );
    expect(failure).toBeNull();
    expect(calls.submitted).toEqual([{ endpoint: "/", input: { prompt: "star", num_steps: 8 } }]);
    expect(printed.join("\n")).toMatch(/^outputs\/paint-picture-[0-9a-f]{6}\.png {3}128x64 png, 14 KB\n\{\n {2}"echo"/);
    const [path = ""] = printed[0]?.split(" ") ?? [];
    expect((await readFile(join(cwd, path))).length).toBe(14_000);
    expect(logger.lines).toEqual(["info: load 0.4 s · environment 0.1 s · setup 9.8 s · request 1.2 s · total 11.4 s"]);
    expect(calls.said).toEqual([`created for ${join(cwd, "app.ts")}`, "started", "closed"]);
  });

  it("writes into the folder that --out names", async () => {
    const { printed } = await command(Painter, ["--prompt", "star", "--out", "there"], picture);
    expect(printed[0]).toMatch(/^there\/paint-picture-/);
  });

  it("prints with --json only the output, in one line", async () => {
    const { printed } = await command(Painter, ["--prompt", "star", "--json"], picture);
    expect(printed).toHaveLength(1);
    expect(JSON.parse(printed[0] ?? "")).toMatchObject({
      image: { width: 128, url: expect.stringMatching(/^file:\/\/\//) },
    });
    expect(printed[0]).not.toContain("\n");
  });

  it("prints a lone text as it is", async () => {
    const { printed } = await command(Painter, ["--prompt", "star"], completing("two\nlines"));
    expect(printed).toEqual(["two\nlines"]);
  });

  it.each([
    ["--json", ['{"n":1}', '{"n":2}']],
    ["--verbose", ['{\n  "n": 1\n}', '{\n  "n": 2\n}']],
  ])("prints the chunks of a stream one by one with %s", async (flag, lines) => {
    const script = completing(null, { type: "output", chunk: { n: 1 } }, { type: "output", chunk: { n: 2 } });
    const { printed, calls } = await command(Two, ["--endpoint", "steps", "--prompt", "x", flag], script);
    expect(printed).toEqual(lines);
    expect(calls.submitted[0]?.endpoint).toBe("/steps");
  });

  it("refuses bad input before a host exists, in the words of the flags", async () => {
    const { calls, failure } = await command(Painter, ["--num-steps", "99"], picture);
    expect(failure).toMatchObject({
      code: "INPUT_INVALID",
      issues: [
        { path: ["--prompt"], message: "is needed: --prompt <text>" },
        expect.objectContaining({ path: ["--num-steps"] }),
      ],
    });
    expect(calls.said).toEqual([]);
  });

  it("takes the whole input from JSON, a file or stdin, and lets flags change it", async () => {
    await writeFile(join(cwd, "input.json"), '{"prompt": "file", "num_steps": 3}');
    const submitted = async (argv: string[], stdin = "") =>
      (await command(Painter, argv, completing(null), { stdin })).calls.submitted[0]?.input;
    expect(await submitted(["--input", '{"prompt": "json"}'])).toEqual({ prompt: "json" });
    expect(await submitted(["--input", "@input.json", "--num-steps", "4"])).toEqual({ prompt: "file", num_steps: 4 });
    expect(await submitted(["--input", "-"], '{"prompt": "stdin"}')).toEqual({ prompt: "stdin" });
  });

  it.each([
    [["--input", "{"], "BAD_REQUEST"],
    [["--input", "@nowhere.json"], "NOT_FOUND"],
    [["--input", "[]", "--prompt", "x"], "BAD_REQUEST"],
    [["--input", '{"prompt": "x", "promt": 1}'], "INPUT_INVALID"],
  ])("refuses %j", async (argv, code) => {
    expect((await command(Painter, argv, picture)).failure).toMatchObject({ code });
  });

  it("asks for the endpoint where there are several, and knows it by name, path and flag spelling", async () => {
    const { failure } = await command(Two, ["--prompt", "x"], picture);
    expect(failure).toMatchObject({
      code: "SETTINGS_INVALID",
      message: expect.stringContaining("paintPicture (/), steps (/steps)"),
    });
    for (const name of ["paintPicture", "paint-picture", "/"]) {
      const { calls } = await command(Two, ["--endpoint", name, "--prompt", "x"], completing(null));
      expect(calls.submitted[0]?.endpoint).toBe("/");
    }
    expect((await command(Two, ["--endpoint", "step"], picture)).failure).toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("did you mean steps?"),
    });
  });

  it("draws the steps as a wait that ends, and says what the app logs", async () => {
    const progress = { type: "progress", total: 30, stage: null, rate: 18.2, secondsLeft: 1 } as const;
    const script = completing(
      null,
      { ...progress, step: 12 },
      { type: "log", message: "hello", source: "app" },
      { ...progress, step: 30 },
    );
    const { logger } = await command(Painter, ["--prompt", "x"], script);
    expect(logger.waits).toMatchObject([
      { id: "request", label: "step", done: 12, total: 30, unit: "steps", ratePerSecond: 18.2, secondsLeft: 1 },
      { done: 30 },
      { done: 30, finished: true },
    ]);
    expect(logger.lines[0]).toBe("info: hello");
  });

  it("fails as the request fails, and closes the host", async () => {
    const script: FakeScript = {
      async *events() {
        yield {
          type: "failed",
          error: { code: "PYTHON_RAISED", message: "ValueError: no", retryable: false, traceback: "T" },
        };
      },
    };
    const { failure, calls, printed } = await command(Painter, ["--prompt", "x"], script);
    expect(failure).toMatchObject({ code: "PYTHON_RAISED", failure: { traceback: "T" } });
    expect(calls.said.at(-1)).toBe("closed");
    expect(printed).toEqual([]);
  });

  it("fails as the start fails, and closes the host", async () => {
    const start = () => Promise.reject(new FlambeauError("NO_PYTHON", "none"));
    const { failure, calls } = await command(Painter, ["--prompt", "x"], { start });
    expect(failure).toMatchObject({ code: "NO_PYTHON" });
    expect(calls.said.at(-1)).toBe("closed");
  });

  it("is cancelled by its signal between two steps, and closes the host", async () => {
    const controller = new AbortController();
    const script: FakeScript = {
      async *events() {
        yield { type: "started" };
        controller.abort();
        yield { type: "progress", step: 1, total: 2, stage: null, rate: null, secondsLeft: null };
      },
    };
    const { failure, calls } = await command(Painter, ["--prompt", "x"], script, { signal: controller.signal });
    expect(failure).toMatchObject({ code: "CANCELLED" });
    expect(calls.said.at(-1)).toBe("closed");
  });

  it("says so when a request ends without a last event", async () => {
    const { failure } = await command(Painter, ["--prompt", "x"], { async *events() {} });
    expect(failure).toMatchObject({ code: "INTERNAL" });
  });

  it("prints the fields of every endpoint, or of the one that is named, without starting anything", async () => {
    const all = await command(Two, ["--help"], picture);
    expect(all.printed[0]).toMatch(
      /Two\.paintPicture, at \/:\n[\s\S]*Two\.steps, a stream at \/steps:\n[\s\S]*Options:/,
    );
    const one = await command(Two, ["--endpoint", "steps", "--promt", "--help"], picture);
    expect(one.printed[0]).not.toContain("paintPicture");
    expect(one.calls.said).toEqual([]);
  });
});
