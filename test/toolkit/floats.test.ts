// Numbers in bulk: what floats() takes and gives, and that they travel as a JSON array both ways.
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { App, describeApp } from "../../src/app/app.ts";
import { endpoint } from "../../src/app/endpoint.ts";
import { toJson } from "../../src/app/json.ts";
import { openapi } from "../../src/app/openapi.ts";
import { outputText } from "../../src/cli/output.ts";
import { limits } from "../../src/config.ts";
import { floats } from "../../src/toolkit/floats.ts";
import { hostOf } from "../host/fixture.ts";

class Halve extends App {
  array = this.py.import("array");
  halve = endpoint(
    "/",
    {
      input: z.object({ samples: floats({ maxLength: 1_000 }).meta({ description: "Mono audio." }) }),
      output: z.object({ samples: floats() }),
    },
    async ({ samples }) => {
      const given = this.array.array("f", this.py.of([...samples]));
      const halved = this.py.expr`type(${given})("f", [sample / 2 for sample in ${given}])`;
      return { samples: await halved.$array(Float32Array) };
    },
  );
}

const post = (body: unknown): Request =>
  new Request("http://127.0.0.1:3000/", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });

describe("floats()", () => {
  it("takes an array of numbers or a Float32Array, and gives a Float32Array", () => {
    expect(floats().parse([1, 0.5])).toEqual(new Float32Array([1, 0.5]));
    const same = new Float32Array(3);
    expect(floats().parse(same)).toBe(same);
  });

  it.each([["1, 2"], [[1, "2"]], [{ 0: 1 }], [null], [new Float64Array(2)]])("refuses %j", (value) => {
    expect(() => floats().parse(value)).toThrow(/expected numbers: an array, or a Float32Array/);
  });

  it("refuses more than the given number, and what JSON has no word for", () => {
    expect(() => floats({ maxLength: 2 }).parse([1, 2, 3])).toThrow(/at most 2 numbers/);
    expect(floats().parse(new Float32Array(limits.floatsMax))).toHaveLength(limits.floatsMax);
    expect(() => floats().parse(new Float32Array(limits.floatsMax + 1))).toThrow(`at most ${limits.floatsMax} numbers`);
    expect(() => floats().parse(new Float32Array([0, Number.NaN]))).toThrow(/number 1 is NaN/);
    expect(() => floats().parse([1e300])).toThrow(/number 0 is Infinity/);
  });

  it("is an array of numbers in JSON Schema", () => {
    const { components } = openapi(describeApp(Halve));
    expect(components.schemas["HalveInput"]).toMatchObject({
      properties: {
        samples: { type: "array", items: { type: "number" }, maxItems: 1_000, description: "Mono audio." },
      },
    });
    expect(components.schemas["HalveOutput"]).toMatchObject({
      properties: { samples: { type: "array", items: { type: "number" } } },
    });
  });
});

describe("over HTTP", () => {
  it("an array goes in and an array comes out", async () => {
    const { host } = await hostOf(Halve);
    const answer = await host.fetch(post({ samples: [1, -0.5, 3] }));
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe('{"samples":[0.5,-0.25,1.5]}');
    const refused = await host.fetch(post({ samples: [1, "loud"] }));
    expect(refused.status).toBe(422);
    expect(await refused.json()).toMatchObject({ error: { issues: [{ path: ["samples"] }] } });
  });
});

describe("an output as JSON", () => {
  it("has an array for each kind of typed array, wherever it stands", () => {
    const output = { a: [new Float32Array([0.5]), { b: new Uint8Array([1, 2]) }], c: new BigInt64Array(0), d: 1 };
    expect(toJson(output)).toBe('{"a":[[0.5],{"b":[1,2]}],"c":[],"d":1}');
    expect(toJson(undefined)).toBe("null");
  });

  it("is refused where there is no JSON for it", () => {
    const cycle: Record<string, unknown> = {};
    cycle["self"] = cycle;
    for (const output of [cycle, { n: 1n }, new BigInt64Array(1)]) {
      expect(() => toJson(output)).toThrow(expect.objectContaining({ code: "OUTPUT_INVALID" }));
    }
  });

  it("is what a terminal shows, too", () => {
    const shown = outputText({ samples: new Float32Array([0.5, 1]) }, { files: { pathOf: () => undefined }, cwd: "/" });
    expect(JSON.parse(shown)).toEqual({ samples: [0.5, 1] });
  });
});
