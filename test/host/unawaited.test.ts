// Work that nobody awaited, calls to Python and promises alike: it belongs to the request that started it.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { endpoint } from "../../src/app/endpoint.ts";
import { testPython } from "../support/python.ts";
import { collect, ending, output } from "./fixture.ts";
import { hostWith, Working } from "./working-app.ts";

const Nothing = z.object({});

describe("work that nobody awaited", () => {
  class Careless extends Working {
    careless = endpoint("/careless", { input: Nothing, output: Nothing }, async () => {
      this.py.import("builtins").int("seven");
      return {};
    });
    assigns = endpoint("/assigns", { input: Nothing, output: Nothing }, async () => {
      this.py.import("builtins").nothing.here = this.py.of(1);
      return {};
    });
    slow = endpoint("/slow", { input: Nothing, output: Nothing }, async () => {
      this.work.steps(3, this.py.float(0.02));
      return {};
    });
    good = endpoint("/good", { input: Nothing, output: z.object({ n: z.number() }) }, async () => ({
      n: await this.py.import("builtins").int("7").$number(),
    }));
  }

  it("fails the request that started it, at its end, and not the next one", async () => {
    const { host } = await hostWith(Careless);
    const first = ending(host.submit("/careless", {}));
    const second = output(host.submit("/good", {}));
    expect(await first).toMatchObject({ type: "failed", error: { code: "PYTHON_RAISED", pythonType: "ValueError" } });
    expect(await second).toEqual({ n: 7 });
    expect(await ending(host.submit("/assigns", {}))).toMatchObject({ error: { pythonType: "AttributeError" } });
    expect(await output(host.submit("/good", {}))).toEqual({ n: 7 });
  });

  it("is waited for: its progress belongs to the request, and done means that Python is free", async () => {
    const { host } = await hostWith(Careless);
    const events = await collect(host.submit("/slow", {}));
    expect(events.filter(({ type }) => type === "progress")).toHaveLength(3);
    expect(events.at(-1)).toMatchObject({ type: "completed" });
  });

  it("fails its own request and never ends the process, also where a rejected promise is looked at late or not at all", async () => {
    const { stdout } = await careless();
    const seen: unknown = JSON.parse(stdout);
    const notAnInt = (text: string): string => `ValueError: invalid literal for int() with base 10: '${text}'`;
    expect(seen).toEqual({
      ends: {
        python: notAnInt("seven"),
        plain: "nobody looks",
        twoAtOnce: notAnInt("eight"),
        caughtLater: { why: "PyError" },
        afterwards: {},
        wait: {},
      },
      warnings: ["A promise of a request that has ended was rejected: too late"],
    });
  });

  it("leaves a rejection that no request caused to end the process, as without a host", async () => {
    const failed: unknown = await careless("foreign").catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining("Error: not of a request") });
    expect((failed as { stdout: string }).stdout).not.toContain("still here");
  });
});

/** The fixture in a process of its own: vitest looks at every rejection of its own process. */
async function careless(...args: string[]): Promise<{ stdout: string }> {
  const script = fileURLToPath(new URL("careless.ts", import.meta.url));
  const environment = { ...process.env, FLAMBEAU_PYTHON: await testPython() };
  return promisify(execFile)(process.execPath, ["--import", "tsx", script, ...args], { env: environment });
}
