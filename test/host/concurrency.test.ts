// Two requests at once on one worker: what Python tells is told of the request that it belongs to.
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { endpoint } from "../../src/app/endpoint.ts";
import { collect, isLog } from "./fixture.ts";
import { Nothing } from "./plain-app.ts";
import { hostWith, Working } from "./working-app.ts";

const Count = z.object({ n: z.int() });

describe("an app that allows two requests at once", () => {
  it("runs two, and lets the third wait; what Python tells of each is told of that one", async () => {
    class Double extends Working {
      static override readonly maxConcurrency = 2;
      arrived = 0;
      meet = endpoint("/", { input: Count, output: Count }, async ({ n }, { log }) => {
        this.arrived++;
        log(`here are ${this.arrived}`);
        while (this.arrived < 2) await this.work.until("/");
        await this.work.stage(`of ${n}`);
        return { n };
      });
    }
    const { host } = await hostWith(Double);
    const all = await Promise.all([1, 2, 3].map((n) => collect(host.submit("/", { n }))));
    for (const [index, events] of all.entries()) {
      const n = index + 1;
      expect(events.flatMap((event) => (event.type === "progress" ? [event.stage] : []))).toEqual([`of ${n}`]);
      expect(events.at(-1)).toMatchObject({ type: "completed", output: { n } });
    }
    expect(all[2]?.some(isLog("here are 3"))).toBe(true);
  });

  it("tells what each prints to the one whose call printed it", async () => {
    class Talking extends Working {
      static override readonly maxConcurrency = 2;
      say = endpoint("/", { input: Count, output: Nothing }, async ({ n }) => {
        for (let i = 0; i < 2; i++) await this.work.says(`said by ${n}`, this.py.float(0.1));
        return {};
      });
    }
    const { host } = await hostWith(Talking);
    const all = await Promise.all([1, 2].map((n) => collect(host.submit("/", { n }))));
    for (const [index, events] of all.entries()) {
      const said = events.flatMap((event) => (event.type === "log" ? [event.message] : []));
      expect(said).toEqual([`said by ${index + 1}`, `said by ${index + 1}`]);
    }
  });
});
