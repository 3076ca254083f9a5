// Exceptions of every kind on their way from a real Python to TypeScript, and what they leave behind: nothing.
import { describe, expect, test } from "vitest";
import { PyError } from "../../src/errors.ts";
import { failureOf } from "../support/errors.ts";
import { turn } from "../support/signal.ts";
import { workerForFile } from "../support/worker.ts";

const { py, subject, worker } = await workerForFile();

/** Types of an error and of its causes, outermost first. */
function chainOf(error: unknown): string[] {
  return error instanceof PyError ? [error.pythonType, ...chainOf(error.cause)] : [];
}

describe("what an exception says", () => {
  test("is Python's type, bases, message and traceback, and the line of this file that made the call", async () => {
    const error = await failureOf(subject.raises("FileNotFoundError", "no such file: a.bin"));
    expect(error).toBeInstanceOf(PyError);
    expect(error).toMatchObject({
      code: "PYTHON_RAISED",
      retryable: false,
      pythonType: "FileNotFoundError",
      message: "FileNotFoundError: no such file: a.bin",
      callPath: "subject.py.raises()",
      traceback: expect.stringMatching(/subject\.py", line \d+, in raises/),
    });
    expect((error as PyError).is("OSError")).toBe(true);
    expect((error as PyError).is("ValueError")).toBe(false);
    const stack = error.stack ?? "";
    expect(stack).toContain("python-errors.test.ts");
    expect(stack.indexOf("python-errors.test.ts")).toBeLessThan(stack.indexOf("— Python —"));
    expect(stack).not.toMatch(/\/src\/bridge\/|python\/flambeau\//);
  });

  test("names the line where an expression was made, also when it is awaited far away", async () => {
    const made = subject.raises("ValueError", "made here");
    const elsewhere = async (): Promise<unknown> => made;
    await turn();
    expect((await failureOf(elsewhere())).stack).toContain("python-errors.test.ts");
  });

  test("a chain of causes, notes and the members of a group travel with an error; what has no end is cut", async () => {
    expect(chainOf(await failureOf(subject.raises_by_hand()))).toEqual(["ValueError", "OSError", "KeyError"]);
    expect(chainOf(await failureOf(subject.raises_alone()))).toEqual(["ValueError"]);
    expect((await failureOf(subject.noted())).message).toBe("ValueError: with a note\na note about it");
    expect(await failureOf(subject.group())).toMatchObject({
      pythonType: "ExceptionGroup",
      message: "ExceptionGroup: two at once (2 sub-exceptions)\n  ValueError: one\n  KeyError: 'two'",
      errors: [{ message: "ValueError: one" }, { message: "KeyError: 'two'" }],
    });

    expect(chainOf(await failureOf(subject.chain(1_000)))).toHaveLength(16);
    const long = await failureOf(subject.raises("ValueError", "x".repeat(50_000_000)));
    expect(long.message).toMatch(/^ValueError: x+… \(49934464 more characters\)$/);
    expect((long as PyError).traceback.length).toBeLessThan(1_000_000);

    expect(await failureOf(subject.unprintable())).toMatchObject({
      pythonType: expect.stringContaining("Unprintable"),
      message: expect.stringContaining("its message could not be made: RuntimeError"),
    });
    expect(await failureOf(subject.raises_local())).toMatchObject({
      pythonType: expect.stringContaining("raises_local.<locals>.Local"),
    });
    const syntax = await failureOf(py.import("builtins").compile("a = (1,\nb", "user.py", "exec"));
    expect(syntax).toMatchObject({ pythonType: "SyntaxError", traceback: expect.stringMatching(/\n +\^/) });
  });
});

describe("what an exception leaves behind", () => {
  test("a failed call leaves none of its frames in Python, so no object of its locals", async () => {
    const error = await failureOf(subject.holds_while_raising(py.expr`[]`));
    expect(error).toMatchObject({ message: "ValueError: holding something", cause: { pythonType: "KeyError" } });
    expect(await subject.live()).toBe(0);
  });

  test("SystemExit, KeyboardInterrupt, MemoryError and RecursionError reject their own call and no other", async () => {
    for (const kind of ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "BaseException"]) {
      const after = subject.echo("still here");
      expect(await failureOf(subject.raises(kind, "user code"))).toMatchObject({ pythonType: kind });
      expect(await after).toBe("still here");
    }
    expect(await failureOf(subject.raises("MemoryError", "none left"))).toMatchObject({
      code: "OUT_OF_MEMORY",
      retryable: true,
      liveHandles: expect.any(Number),
      liveBytes: expect.any(Number),
    });
    expect(await failureOf(py.expr`(lambda f: f(f))(lambda f: f(f))`)).toMatchObject({ pythonType: "RecursionError" });
    expect(await failureOf(subject.raises_at_the_limit())).toMatchObject({
      pythonType: expect.stringMatching(/Error$/),
    });
    expect(await subject.echo("still here")).toBe("still here");
  });

  test("a Ctrl-C in the terminal neither ends the worker nor fails a call", async () => {
    expect(await subject.interrupts_itself()).toBe("went on");
    const slow = subject.sleeps(0.3).$string();
    process.kill(worker.pid, "SIGINT");
    expect(await slow).toBe("slept");
    process.kill(worker.pid, "SIGINT");
    expect(await subject.echo("still here")).toBe("still here");
  });
});
