// The tested versions that ship with Flambeau.
import { describe, expect, it } from "vitest";
import { readConstraints, reconcile } from "../../src/workers/constraints.ts";
import { parseRequirements } from "../../src/workers/requirement.ts";

describe("the tested versions", () => {
  it("are one exact version of each package, among them all that apps ask for", async () => {
    const { lines } = await readConstraints();
    expect(new Set(lines.map(({ name }) => name)).size).toBe(lines.length);
    for (const { specifiers } of lines) expect(specifiers.map(({ operator }) => operator)).toEqual(["=="]);
    const names = lines.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining([
        "torch",
        "diffusers",
        "transformers",
        "accelerate",
        "torchao",
        "msgpack",
        "numpy",
        "pillow",
      ]),
    );
  });

  it("stay for loose requirements and yield to those that exclude them", async () => {
    const { lines } = await readConstraints();
    const dropped = (...texts: string[]) => reconcile(lines, parseRequirements(texts)).dropped.map(({ name }) => name);
    expect(dropped("accelerate", "transformers>=4.30.2", "diffusers>=0.26", "torch>=2.2.0")).toEqual([]);
    expect(dropped("torch==2.13.0+cpu")).toEqual(["torch"]);
    expect(dropped("torch==2.5.0", "numpy<2", "six==1")).toEqual(["torch", "numpy"]);
  });
});
