// What an App class says of itself, and what an instance can do before there is a Python.
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { App, describeApp, endpointsOf, isAppClass } from "../../src/app/app.ts";
import { endpoint } from "../../src/app/endpoint.ts";

const Nothing = z.object({});

class Painter extends App {
  torch = this.py.import("torch");
  dtype16 = this.torch.float16;
  paint = endpoint("/", { input: Nothing, output: Nothing }, async () => {
    await this.torch.zeros(1);
    return {};
  });
  letters = endpoint("/letters", { input: Nothing, yields: z.string() }, async function* () {
    yield "a";
  });
}

describe("an app", () => {
  it("is described by its class name and its endpoint fields", () => {
    const { name, endpoints } = describeApp(Painter);
    expect(name).toBe("Painter");
    expect(endpoints.map(({ name, path, mode }) => [name, path, mode])).toEqual([
      ["paint", "/", "unary"],
      ["letters", "/letters", "stream"],
    ]);
  });

  it("has the endpoints of the classes that it extends", () => {
    class Both extends Painter {
      sketch = endpoint("/sketch", { input: Nothing, output: Nothing }, async () => ({}));
    }
    expect([...endpointsOf(new Both()).keys()]).toEqual(["paint", "letters", "sketch"]);
  });

  it("without endpoints is refused, with what to write", () => {
    class Idle extends App {}
    expect(() => describeApp(Idle)).toThrow(
      expect.objectContaining({
        code: "APP_INVALID",
        message: expect.stringContaining('add a field such as: paint = endpoint("/"'),
      }),
    );
  });

  it("with two endpoints under one path is refused, naming both", () => {
    class Twice extends Painter {
      sketch = endpoint("/", { input: Nothing, output: Nothing }, async () => ({}));
    }
    expect(() => describeApp(Twice)).toThrow(
      expect.objectContaining({
        code: "APP_INVALID",
        message: expect.stringContaining("paint and sketch have the same path /"),
      }),
    );
  });

  it.each<[string, object]>([
    ["maxConcurrency", { maxConcurrency: Number("none") }],
    ["maxConcurrency", { maxConcurrency: 0 }],
    ["maxConcurrency", { maxConcurrency: "2" }],
    ["requirements", { requirements: "torch>=2.2.0" }],
    ["requirements", { requirements: ["torch", undefined] }],
    ["environment", { environment: "HF_TOKEN" }],
    ["machineType", { machineType: "gpu" }],
    ["python", { python: 3.12 }],
  ])("whose static %s is none is refused, with what was expected: %j", (name, statics) => {
    class Odd extends Painter {}
    Object.assign(Odd, statics);
    expect(() => describeApp(Odd)).toThrow(
      expect.objectContaining({
        code: "APP_INVALID",
        message: expect.stringMatching(`^Odd: static ${name} is .*, got `),
      }),
    );
  });

  it("is told from other classes, and from App itself", () => {
    expect(isAppClass(Painter)).toBe(true);
    expect([App, Object, Map, () => {}, null, "Painter", new Painter()].map(isAppClass)).toEqual(Array(7).fill(false));
  });

  it("is made without Python: paths in its fields are only recorded", () => {
    const app = new Painter();
    expect(String(app.dtype16)).toBe("torch.float16");
    expect(app.device).toBe("cpu");
    expect(String(app.dtype)).toBe("torch.float32");
  });

  it("says so when Python is called before setup", async () => {
    const app = new Painter();
    expect(() => app.torch.zeros(1)).toThrow(
      expect.objectContaining({
        code: "WORKER_EXITED",
        message: expect.stringContaining("Python is not running yet: call it in setup() or in an endpoint"),
      }),
    );
    await expect(app.paint.run({})).rejects.toMatchObject({ code: "WORKER_EXITED" });
  });

  it("shows itself in a log without asking Python", async () => {
    const { inspect } = await import("node:util");
    expect(inspect(new Painter())).toContain("torch");
  });
});
