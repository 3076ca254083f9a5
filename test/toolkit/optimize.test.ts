// optimize() as an app calls it, on a real torch module: the same object, in order with the other calls, and its report.
import { describe, expect, expectTypeOf, it } from "vitest";
import { z } from "zod";
import { App } from "../../src/app/app.ts";
import { endpoint } from "../../src/app/endpoint.ts";
import type { Py, PyExpr, PyLike, PyRef } from "../../src/bridge/stub-types.ts";
import { type OptimizeReport, optimize } from "../../src/toolkit/optimize.ts";
import { collect, hostOf, output } from "../host/fixture.ts";

const Nothing = z.object({});
const Size = z.object({ width: z.int(), bigger: z.boolean() });

class Linear extends App {
  model!: Py;
  holder!: Py;
  isSame = false;

  override async setup() {
    const torch = this.py.import("torch");
    const { SimpleNamespace } = this.py.import("types");
    const model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU()).eval();
    this.holder = await SimpleNamespace({ unet: model });
    // Nothing is awaited between these: reading, optimising and assigning go out in this order.
    this.holder.unet = optimize(this.holder.unet);
    this.model = await this.holder.unet;
    this.isSame = (await model) === this.model;
    await this.py.with(torch.inference_mode(), async () => {
      for (let i = 0; i < 8; i++) await this.model(torch.zeros(8, 256));
    });
  }

  report = endpoint("/report", { input: Nothing, output: z.unknown() }, () => optimize.report(this.model));
  same = endpoint("/same", { input: Nothing, output: z.boolean() }, async () => this.isSame);
  size = endpoint("/size", { input: Nothing, output: Size }, async () => {
    const torch = this.py.import("torch");
    const answer = await this.model(torch.ones(3, 256));
    return { width: await answer.shape[1].$number(), bigger: await torch.isfinite(answer).all().item().$boolean() };
  });
  plain = endpoint("/plain", { input: Nothing, output: z.string() }, async () => {
    const list = await this.py.import("builtins").list();
    return (await optimize(list)).$type;
  });
}

class Named extends App {
  run = endpoint("/run", { input: Nothing, output: z.string() }, async () => {
    const torch = this.py.import("torch");
    const { SimpleNamespace } = this.py.import("types");
    const holder = await SimpleNamespace({ unet: torch.nn.Linear(4, 4), vae: torch.nn.Linear(4, 4) });
    const unet = optimize(holder.unet, { quality: "lossless", budgetS: 1, store: false, builds: "never" });
    const vae = optimize(holder.vae, { name: "decoder", store: false });
    await this.py.with(torch.inference_mode(), async () => {
      for (const module of [unet, vae]) await module(torch.zeros(1, 4));
    });
    return (await optimize.report(holder.unet)).state;
  });
}

describe("optimize", () => {
  it("gives back the same module, which still computes, and a report that says what was done", async () => {
    const { host } = await hostOf(Linear);
    expect(await output(host.submit("/same", {}))).toBe(true);
    expect(await output(host.submit("/size", {}))).toEqual({ width: 256, bigger: true });
    const report = (await output(host.submit("/report", {}))) as OptimizeReport;
    expect(report).toMatchObject({ state: expect.any(String), applied: expect.any(Array), skipped: expect.any(Array) });
    expect(report.moduleBytes).toBe((256 * 256 + 256) * 4);
    for (const { what, why } of report.skipped) expect([what, why].every((text) => text.length > 0)).toBe(true);
    expect(report.seconds).toBeGreaterThanOrEqual(0);
    for (const { count, of } of report.extents) expect(count).toBeLessThanOrEqual(of);
    if (report.relativeError !== null) expect(report.relativeError).toBeLessThanOrEqual(0.05);
  }, 120_000);

  it("is called in lines and progress as it was written, and takes a budget, a store and builds", async () => {
    const { host, logger } = await hostOf(Named);
    const events = await collect(host.submit("/run", {}));
    expect(events.at(-1)).toMatchObject({ type: "completed", output: "unchanged" });
    const logged = events.flatMap((event) => (event.type === "log" ? [event.message] : []));
    const said = [...logged, ...logger.lines.map(({ message }) => message)].join("\n");
    for (const name of ["unet", "decoder"]) expect(said).toContain(`optimize ${name}: unchanged`);
  }, 120_000);

  it("never fails the app: what is no module comes back as it was", async () => {
    const { host } = await hostOf(Linear);
    expect(await output(host.submit("/plain", {}))).toBe("list");
  }, 120_000);

  it("refuses what does not come from Python", () => {
    expect(() => optimize({} as unknown as PyLike)).toThrow(
      expect.objectContaining({
        code: "NOT_SENDABLE",
        message: expect.stringContaining("expected a torch module from Python"),
      }),
    );
  });

  it("keeps the type of what it is given", () => {
    expectTypeOf(optimize<PyRef>).returns.toEqualTypeOf<PyRef>();
    expectTypeOf(optimize<PyExpr>).returns.toEqualTypeOf<PyExpr>();
  });
});
