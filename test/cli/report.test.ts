import { describe, expect, it } from "vitest";
import { callSite, exitCodeOf, RequestFailedError, report } from "../../src/cli/report.ts";
import { foldedTraceback } from "../../src/cli/traceback.ts";
import { limits } from "../../src/config.ts";
import { cancelled, type ErrorCode, FlambeauError, InputError, PyError } from "../../src/errors.ts";

const plain = { verbose: false, color: false, cwd: "/home/me/app" };
const frame = (index: number) =>
  `  File "/env/lib/part${index}.py", line ${index}, in step${index}\n    go(${index})\n    ~~^^^`;
const traceback = `Traceback (most recent call last):\n${[1, 2, 3, 4, 5].map(frame).join("\n")}\nValueError: no such scheduler\n  choose another\n`;

/** As thrown by the package's own code: this file is none of the stack. */
function coded(code: ErrorCode, message: string, options: { cause?: unknown } = {}): FlambeauError {
  const error = new FlambeauError(code, message, options);
  error.stack = "";
  return error;
}

function raised(): PyError {
  const error = new PyError({
    pythonType: "ValueError",
    mro: ["ValueError", "Exception"],
    message: "no such scheduler\n  choose another",
    traceback,
    callPath: "pipeline()",
  });
  error.stack = [
    "PyError: ValueError: no such scheduler",
    "    in pipeline()",
    "    at Channel.call (file:///home/me/app/node_modules/flambeau/dist/bridge/channel.js:1:1)",
    "    at process.processTicksAndRejections (node:internal/process/task_queues:105:5)",
    "    at async Painter.setup (file:///home/me/app/src/painter.ts:28:21)",
    "  — Python —",
    traceback,
  ].join("\n");
  return error;
}

describe("a failure on the command line", () => {
  it("is its code, its message and what to do next", () => {
    const error = coded("NO_PYTHON", "no Python was found; looked for python3 on PATH");
    expect(report(error, plain)).toBe(
      "error[NO_PYTHON]: no Python was found; looked for python3 on PATH\n" +
        "  → install Python 3.10 or newer, or name one: FLAMBEAU_PYTHON=/path/to/python3",
    );
  });

  it("has a line for every field at fault", () => {
    const error = new InputError("INPUT_INVALID", [
      { path: ["--prompt"], message: "missing" },
      { path: ["--sizes", 0], message: "too big" },
    ]);
    expect(report(error, plain)).toMatch(/^error\[INPUT_INVALID\]:\n {2}--prompt: missing\n {2}--sizes\.0: too big\n/);
  });

  it("shows the app's own line and the last frames of Python", () => {
    expect(report(raised(), plain).split("\n")).toEqual([
      "error[PYTHON_RAISED]: ValueError: no such scheduler",
      "    choose another",
      "  at Painter.setup (src/painter.ts:28:21)",
      "  Python (2 more above; --verbose shows all):",
      ...[3, 4, 5].flatMap((index) => frame(index).split("\n")).map((line) => `  ${line}`),
    ]);
  });

  it("shows the whole traceback when asked to say more", () => {
    const text = report(raised(), { ...plain, verbose: true });
    for (const index of [1, 2, 3, 4, 5]) expect(text).toContain(`part${index}.py`);
  });

  it("follows the causes without saying a message twice", () => {
    const cause = raised();
    const text = report(coded("SETUP_FAILED", `setup() of Painter failed: ${cause.message}`, { cause }), plain);
    expect(text.match(/no such scheduler/g)).toHaveLength(1);
    expect(text).toContain("at Painter.setup (src/painter.ts:28:21)");
    expect(text).toContain("part5.py");
    const other = report(coded("SETUP_FAILED", "setup() failed", { cause }), plain);
    expect(other).toMatch(/\nbecause ValueError: no such scheduler/);
  });

  it("shows what Python said of a request that failed", () => {
    const failure = {
      code: "PYTHON_RAISED",
      message: "ValueError: no such scheduler",
      pythonType: "ValueError",
      traceback,
    } as const;
    const text = report(new RequestFailedError(failure), plain);
    expect(text).toMatch(/^error\[PYTHON_RAISED\]: ValueError: no such scheduler\n {2}Python \(2 more/);
    expect(text).not.toContain(".ts:");
  });

  it("shows the app's own line of a request that failed, where the queue passes it on", () => {
    const stack = "TypeError: x is undefined\n    at /home/me/app/a.ts:1:2";
    const failure = { code: "INTERNAL", message: "x is undefined", stack } as const;
    expect(report(new RequestFailedError(failure), plain)).toBe("error[INTERNAL]: x is undefined\n  at a.ts:1:2");
  });

  it("shows the stack of an error that nobody meant to throw", () => {
    const text = report(new TypeError("x is not a function"), plain);
    expect(text).toMatch(/^error: TypeError: x is not a function\n {2}at .*report\.test\.ts:/);
    expect(report("just text", plain)).toContain("just text");
  });

  it("says as many causes as the limit, and keeps as many frames", () => {
    const chain = (depth: number): Error | undefined =>
      depth === 0 ? undefined : coded("INTERNAL", `cause ${depth}`, { cause: chain(depth - 1) });
    for (const [depth, said] of [
      [limits.causesShown, limits.causesShown],
      [limits.causesShown + 1, limits.causesShown],
    ] as const)
      expect(report(chain(depth), plain).match(/cause \d/g)).toHaveLength(said);
    const lines = (frames: number): string => Array(frames).fill('  File "a.py", line 1, in f').join("\n");
    expect(foldedTraceback(lines(limits.foldedFrames), "")).toMatchObject({ hidden: 0 });
    expect(foldedTraceback(lines(limits.foldedFrames + 1), "")).toMatchObject({ hidden: 1 });
  });

  it("ends with causes that are their own cause", () => {
    const error = coded("INTERNAL", "round and round");
    Object.defineProperty(error, "cause", { value: error });
    expect(report(error, plain)).toBe("error[INTERNAL]: round and round");
  });

  it("holds nothing that would steer the terminal", () => {
    const text = report(coded("NOT_FOUND", "no \x1b[2J\x1b]0;title\x07picture\r\u202e"), plain);
    expect(text).toBe("error[NOT_FOUND]: no picture");
  });

  it("colours only its heading", () => {
    const text = report(coded("NOT_FOUND", "gone"), { ...plain, color: true });
    expect(text).toBe("\x1b[31merror[NOT_FOUND]:\x1b[0m gone");
  });
});

describe("the exit code", () => {
  it.each([
    ["INPUT_INVALID", 1],
    ["APP_INVALID", 1],
    ["SETUP_FAILED", 1],
    ["NO_PYTHON", 2],
    ["BAD_PYTHON", 2],
    ["ENV_CONFLICT", 2],
    ["ENV_BROKEN", 2],
    ["INDEX_UNREACHABLE", 2],
    ["DISK_FULL", 2],
    ["REQUIREMENT_INVALID", 1],
  ] as const)("of %s is %i", (code, exit) => {
    expect(exitCodeOf(coded(code, "m"))).toBe(exit);
  });

  it("of a setup that failed for want of disk is that of the disk", () => {
    const cause = coded("DISK_FULL", "full");
    expect(exitCodeOf(coded("SETUP_FAILED", "m", { cause }))).toBe(2);
  });

  it("of a cancel is that of an interrupt, and of anything else that of an error", () => {
    expect(exitCodeOf(cancelled("stop", "it"))).toBe(130);
    expect(exitCodeOf(new Error("m"))).toBe(1);
    expect(exitCodeOf(coded("SETUP_FAILED", "m", { cause: cancelled("stop", "it") }))).toBe(1);
  });
});

describe("a call site", () => {
  it("is none where the stack has no line of the user's", () => {
    const error = new Error("m");
    error.stack = "Error: m\n    at node:internal/main:1:1\n    at x (/home/me/app/node_modules/y/z.js:1:2)";
    expect(callSite(error, plain.cwd)).toBeNull();
  });

  it("of a file outside the folder is its whole path", () => {
    const error = new Error("m");
    error.stack = "Error: m\n    at /srv/other.ts:3:4";
    expect(callSite(error, plain.cwd)).toBe("/srv/other.ts:3:4");
  });
});

describe("a folded traceback", () => {
  it("keeps the frames of the last exception of a chain", () => {
    const chained = `Traceback (most recent call last):\n  File "a.py", line 1, in a\nKeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\n${traceback}`;
    expect(foldedTraceback(chained, "ValueError: no such scheduler\n  choose another").frames[0]).toContain("part3.py");
  });

  it("is empty for a text that is none", () => {
    expect(foldedTraceback("", "m")).toEqual({ frames: [], hidden: 0 });
  });
});
