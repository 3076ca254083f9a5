// The request around a handler: stages, shields, signals, and generators that are read from elsewhere. Real scopes, no Python.
import { describe, expect, it } from "vitest";
import { bindIterable, currentContext, type RequestFrame, runRequest, runWithSignal } from "../../src/app/context.ts";
import { type ScopedCall, Scopes } from "../../src/bridge/scope.ts";

interface Fixture {
  readonly frame: RequestFrame;
  readonly scopes: Scopes;
  readonly stop: AbortController;
  readonly told: unknown[];
  readonly tags: Map<number, readonly string[]>;
}

function fixture(): Fixture {
  const scopes = new Scopes();
  const stop = new AbortController();
  const told: unknown[] = [];
  const tags = new Map<number, readonly string[]>();
  const frame: RequestFrame = {
    requestId: "r1",
    signal: stop.signal,
    scopes,
    files: { put: () => Promise.reject(new Error("no files here")) },
    sink: {
      progress: (step, total, stage) => void told.push([step, total, stage]),
      log: (message) => void told.push(message),
    },
    onTag: (tag, stages) => void tags.set(tag, stages),
  };
  return { frame, scopes, stop, told, tags };
}

/** A call to Python as a scope sees it. */
class OpenCall implements ScopedCall {
  readonly observed = false;
  readonly outcome: Promise<Error | undefined>;
  cancels = 0;
  end: (error?: Error) => void = () => {};

  constructor() {
    this.outcome = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  whenSettled(listener: (outcome: { kind: string; error?: Error }) => void): void {
    void this.outcome.then((error) => listener(error === undefined ? { kind: "value" } : { kind: "failed", error }));
  }

  cancel(): void {
    this.cancels++;
  }
}

describe("a stage", () => {
  it("names what is reported inside of it, from the outermost in, and ends with its body", async () => {
    const { frame, told } = fixture();
    await runRequest(frame, async ({ stage, progress }) => {
      progress(1);
      const two = await stage("outer", async () => {
        progress(2, 5);
        await stage("inner", async () => progress(3, 5, "own"));
        progress(4, 5);
        return 2;
      });
      progress(two, 5, "own");
    });
    expect(told).toEqual([
      [1, null, null],
      [2, 5, "outer"],
      [3, 5, "outer · inner · own"],
      [4, 5, "outer"],
      [2, 5, "own"],
    ]);
  });

  it("has a number of its own for Python to report under; two at once are kept apart", async () => {
    const { frame, scopes, tags } = fixture();
    const seen = await runRequest(frame, ({ stage }) =>
      Promise.all(["a", "b"].map((name) => stage(name, async () => [name, tags.get(scopes.current.tag)]))),
    );
    expect(seen).toEqual([
      ["a", ["a"]],
      ["b", ["b"]],
    ]);
  });
});

describe("a request of many stages", () => {
  it("does not look like a leak to Node", async () => {
    const warnings: Error[] = [];
    const note = (warning: Error): void => void warnings.push(warning);
    process.on("warning", note);
    try {
      const { frame } = fixture();
      await runRequest(frame, async ({ stage }) => {
        for (let i = 0; i < 30; i++) await stage(`${i}`, async () => {});
      });
      await new Promise((resolve) => setImmediate(resolve));
      expect(warnings).toEqual([]);
    } finally {
      process.off("warning", note);
    }
  });
});

describe("a shield", () => {
  it("is not reached by the request's signal, while everything around it is", async () => {
    const { frame, scopes, stop } = fixture();
    const inside = new OpenCall();
    const outside = new OpenCall();
    const request = runRequest(frame, async ({ shield }) => {
      scopes.current.add(outside);
      await shield(async () => {
        scopes.current.add(inside);
        stop.abort();
        expect(scopes.current.aborted).toBeUndefined();
        inside.end();
      });
      expect(scopes.current.aborted).toBeDefined();
      outside.end();
    });
    await request;
    expect([inside.cancels, outside.cancels]).toEqual([0, 1]);
  });

  it("shields the stages inside of it as well", async () => {
    const { frame, scopes, stop } = fixture();
    stop.abort();
    const reached = await runRequest(frame, ({ shield, stage }) =>
      shield(() => stage("x", async () => scopes.current.aborted)),
    );
    expect(reached).toBeUndefined();
  });
});

describe("work that nobody awaited", () => {
  it.each(["in the request", "in a stage", "in a shield"])(
    "%s is waited for, and its failure is the request's",
    async (where) => {
      const { frame, scopes } = fixture();
      const call = new OpenCall();
      const request = runRequest(frame, async ({ stage, shield }) => {
        setImmediate(() => call.end(new Error("it failed")));
        const start = async (): Promise<void> => scopes.current.add(call);
        if (where === "in a stage") await stage("x", start);
        else if (where === "in a shield") await shield(start);
        else await start();
      });
      await expect(request).rejects.toThrow("it failed");
    },
  );

  it("is waited for also when the handler fails, and the handler's error is told", async () => {
    const { frame, scopes } = fixture();
    const call = new OpenCall();
    let isOver = false;
    const request = runRequest(frame, async () => {
      scopes.current.add(call);
      throw new Error("the handler's own");
    }).finally(() => {
      isOver = true;
    });
    const rejected = expect(request).rejects.toThrow("the handler's own");
    await new Promise((resolve) => setImmediate(resolve));
    expect(isOver).toBe(false);
    call.end(new Error("later"));
    await rejected;
  });
});

describe("a signal of its own", () => {
  it("stops its part and leaves the rest of the request alone", async () => {
    const { frame, scopes } = fixture();
    const stop = new AbortController();
    const part = new OpenCall();
    const rest = new OpenCall();
    await runRequest(frame, async (context) => {
      scopes.current.add(rest);
      await runWithSignal(context, stop.signal, async ({ signal, requestId }) => {
        scopes.current.add(part);
        stop.abort();
        expect([signal.aborted, requestId]).toEqual([true, "r1"]);
        part.end();
      });
      expect([context.signal.aborted, scopes.current.aborted]).toEqual([false, undefined]);
      rest.end();
    });
    expect([part.cancels, rest.cancels]).toEqual([1, 0]);
  });

  it("does not keep the request's own from stopping it", async () => {
    const { frame, scopes, stop } = fixture();
    const part = new OpenCall();
    await runRequest(frame, (context) =>
      runWithSignal(context, new AbortController().signal, async () => {
        scopes.current.add(part);
        stop.abort();
        part.end();
      }),
    );
    expect(part.cancels).toBe(1);
  });
});

describe("a generator that is read from elsewhere", () => {
  async function* ids() {
    try {
      for (let i = 0; i < 3; i++) yield currentContext()?.requestId;
    } finally {
      cleaned.push(currentContext()?.requestId);
    }
  }
  const cleaned: unknown[] = [];

  it("runs each step, and its clean-up, in the request that made it", async () => {
    const { frame } = fixture();
    const bound = await runRequest(frame, async () => bindIterable(ids()));
    expect(currentContext()).toBeUndefined();
    const seen: unknown[] = [];
    for await (const id of bound) {
      seen.push(id);
      if (seen.length === 2) break;
    }
    expect([seen, cleaned]).toEqual([["r1", "r1"], ["r1"]]);
  });

  it("would otherwise run in its reader's", async () => {
    const { frame } = fixture();
    const loose = await runRequest(frame, async () => ids());
    expect((await loose.next()).value).toBeUndefined();
  });
});
