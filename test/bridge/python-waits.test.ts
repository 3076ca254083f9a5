// Who waits for whom: blocks that hold Python's main thread, functions that Python waits for, and waits that would have no end.
import { describe, expect, test } from "vitest";
import type { PyExpr, PyRef } from "../../src/bridge/stub-types.ts";
import { failureOf } from "../support/errors.ts";
import { signal } from "../support/signal.ts";
import { workerForFile } from "../support/worker.ts";

const { py, subject, worker } = await workerForFile();

/** Everything in the worker that waits or is open is over. */
async function expectIdle(): Promise<void> {
  expect(await subject.echo("usable")).toBe("usable");
  expect(worker.channel.openCalls).toEqual([]);
}

describe("a block", () => {
  test("keeps calls of other flows waiting until its end, in their order, and runs those that it makes", async () => {
    const order = await py.expr`[]`;
    const [entered, leave] = [signal(), signal()];
    const block = py.with(await subject.Manager(), async () => {
      await order.append("in 1");
      entered.send();
      await leave.came;
      await order.append("in 2");
    });
    await entered.came;
    const others = [order.append("out 1").then(), order.append("out 2").then()];
    await worker.channel.ping();
    leave.send();
    await Promise.all([block, ...others]);
    expect(await order.$value()).toEqual(["in 1", "in 2", "out 1", "out 2"]);
    await expectIdle();
  });

  test("of one flow follows that of another, and nests in its own", async () => {
    const order = await py.expr`[]`;
    const run = async (name: string): Promise<void> =>
      py.with(await subject.Manager(), async () => {
        await order.append(`${name} in`);
        await py.with(await subject.Manager(), async () => order.append(`${name} deeper`).then());
        await order.append(`${name} out`);
      });
    await Promise.all([run("a"), run("b")]);
    const seen = (await order.$value()) as string[];
    const [first, second] = seen[0] === "a in" ? ["a", "b"] : ["b", "a"];
    expect(seen).toEqual([first, second].flatMap((name) => [`${name} in`, `${name} deeper`, `${name} out`]));
    await expectIdle();
  });

  test("gives the thread back when its body, its exit or its caller fails", async () => {
    await failureOf(py.with(await subject.Manager(), async () => Promise.reject(new Error("body"))));
    await expectIdle();
    const bad = await py.expr`type('Bad', (), {'__enter__': lambda s: s, '__exit__': lambda s, *a: 1 / 0})()`;
    expect(await failureOf(py.with(bad, async () => 1))).toMatchObject({ pythonType: "ZeroDivisionError" });
    await expectIdle();
    const closed = await py.expr`type('Closed', (), {'__enter__': lambda s: 1 / 0, '__exit__': lambda s, *a: None})()`;
    expect(await failureOf(py.with(closed, async () => 1))).toMatchObject({ pythonType: "ZeroDivisionError" });
    await expectIdle();
  });

  test("lets functions of ours call Python, and Python functions of ours, inside of it", async () => {
    const value = await py.with(await subject.Manager(), () =>
      subject.call_with(() => subject.call_with((n: number) => subject.echo(n), 7)).$number(),
    );
    expect(value).toBe(7);
    const inner = await subject.call_with(async () =>
      py.with(await subject.Manager(), () => subject.echo("inside").$string()),
    );
    expect(inner).toBe("inside");
    await expectIdle();
  });

  test("inside of a function that Python waits for lets the function's other calls go on after it", async () => {
    const seen = await subject.call_with(async () => {
      const [block, beside] = await Promise.all([
        py.with(await subject.Manager(), () => subject.echo("block").$string()),
        subject.echo("beside").$string(),
      ]);
      return `${block} ${beside}`;
    });
    expect(seen).toBe("block beside");
    await expectIdle();
  });
});

describe("a function that Python waits for", () => {
  test("may use an object that a waiting call uses as well", async () => {
    const model = (await subject.Model()) as PyRef;
    const log = await py.expr`[]`;
    const outer = subject.call_with(() => model.step(log, "inside").then());
    const behind = model.step(log, "behind");
    await Promise.all([outer, behind]);
    expect(await log.$value()).toEqual(["inside", "behind"]);
  });

  test("may work on behalf of another scope: its calls run inside all the same", async () => {
    const { scopes } = worker.channel;
    const stage = scopes.create();
    expect(await subject.call_with(() => scopes.run(stage, () => subject.echo("staged").$string()))).toBe("staged");
    stage.end();
  });

  test("may wait for what it has sent and not awaited", async () => {
    const log = await py.expr`[]`;
    const said = await subject.call_with(async () => {
      void log.append("sent").then();
      await py.flush();
      return log.$value();
    });
    expect(await (said as PyRef)[0]).toBe("sent");
  });
});

describe("a wait without end is DEADLOCK, named on both sides,", () => {
  test("of a function for the very call that waits for it", async () => {
    let seen: Error | undefined;
    const outer: PyExpr = subject.call_with(async () => {
      seen = await failureOf(outer);
      return "told";
    });
    expect(await outer).toBe("told");
    expect(seen).toMatchObject({ code: "DEADLOCK", message: expect.stringContaining("subject.py.call_with()") });
    await expectIdle();
  });

  test("of a function for a call that waits behind the one that waits for it, or builds on it", async () => {
    const seen: Error[] = [];
    const behind: PyExpr[] = [];
    const outer: PyExpr = subject.call_with(async () => {
      for (const call of behind) seen.push(await failureOf(call));
      seen.push(await failureOf(subject.echo(outer)));
      return "told";
    });
    behind.push(subject.echo(1), subject.echo(2));
    expect(await outer).toBe("told");
    expect(seen.map((error) => (error as { code?: string }).code)).toEqual(["DEADLOCK", "DEADLOCK", "DEADLOCK"]);
    expect(seen[0]?.message).toContain("subject.py.echo()");
    expect(await Promise.all(behind)).toEqual([1, 2]);
    await expectIdle();
  });

  test("of a function for a call of another request", async () => {
    const { scopes } = worker.channel;
    const scope = scopes.create();
    const entered = signal();
    let other: PyExpr | undefined;
    const made = signal();
    let seen: Error | undefined;
    const outer = subject
      .call_with(async () => {
        entered.send();
        await made.came;
        seen = await failureOf(other as PyExpr);
      })
      .then();
    await entered.came;
    other = scopes.run(scope, () => subject.echo("other"));
    made.send();
    await outer;
    expect(seen).toMatchObject({ code: "DEADLOCK" });
    expect(await other).toBe("other");
    scope.end();
  });

  test("of a block for a call that was made outside of it", async () => {
    const [entered, made] = [signal(), signal()];
    let other: PyExpr | undefined;
    const block = failureOf(
      py.with(await subject.Manager(), async () => {
        entered.send();
        await made.came;
        await other;
      }),
    );
    await entered.came;
    other = subject.echo("outside");
    made.send();
    expect(await block).toMatchObject({
      code: "DEADLOCK",
      message: expect.stringContaining("Manager>, which waits here"),
    });
    expect(await other).toBe("outside");
    await expectIdle();
  });
});
