import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { fieldsOf } from "../../src/cli/fields.ts";
import { flagsHelp, peekFlag, readFlags } from "../../src/cli/flags.ts";
import { reservedFlags } from "../../src/cli/own-flags.ts";
import { sampleInput } from "../../src/cli/sample-input.ts";

const set = (schema: z.ZodType) => ({
  command: "run" as const,
  usage: "flambeau run app.ts",
  heading: "Fields:",
  fields: fieldsOf(schema, reservedFlags("run")),
});
const read = (schema: z.ZodType, ...argv: string[]) => readFlags(argv, set(schema)).values;

const Painter = z.object({
  prompt: z.string().meta({ description: "What to paint.", examples: ["a red star"] }),
  num_inference_steps: z.int().min(1).max(50).default(20),
  guidanceScale: z.number().optional(),
  upscale: z.boolean().default(false),
  format: z.enum(["png", "jpeg"]).optional(),
  tags: z.array(z.string()).optional(),
  sizes: z.array(z.int()).optional(),
  lora: z.object({ scale: z.number() }).optional(),
  seed: z.int().nullable().optional(),
});

describe("flags from a schema", () => {
  it("reads text and numbers as what the schema says", () => {
    expect(read(Painter, "--prompt", "12", "--num-inference-steps", "8", "--guidance-scale=-7.5")).toEqual({
      prompt: "12",
      num_inference_steps: 8,
      guidanceScale: -7.5,
    });
  });

  it.each(["--num-inference-steps", "--num_inference_steps", "--numInferenceSteps"])(
    "accepts the spelling %s",
    (flag) => {
      expect(read(Painter, flag, "8")).toEqual({ num_inference_steps: 8 });
      expect(read(Painter, `${flag}=8`)).toEqual({ num_inference_steps: 8 });
    },
  );

  it("reads a boolean as --flag, --no-flag or --flag=false", () => {
    expect(read(Painter, "--upscale")).toEqual({ upscale: true });
    expect(read(Painter, "--no-upscale")).toEqual({ upscale: false });
    expect(read(Painter, "--upscale=false")).toEqual({ upscale: false });
    expect(read(Painter, "--upscale=true")).toEqual({ upscale: true });
    expect(read(Painter)).toEqual({});
  });

  it("collects a list from repeats, and numbers also from one JSON list", () => {
    expect(read(Painter, "--tags", "a", "--tags", "[b]", "--sizes", "[1, 2]", "--sizes", "3")).toEqual({
      tags: ["a", "[b]"],
      sizes: [1, 2, 3],
    });
  });

  it("reads an object as JSON", () => {
    expect(read(Painter, "--lora", '{"scale": 0.8}')).toEqual({ lora: { scale: 0.8 } });
  });

  it("reads null where the schema allows it, and as text where the field is text", () => {
    expect(read(Painter, "--seed", "null")).toEqual({ seed: null });
    expect(read(z.object({ name: z.string().nullable() }), "--name", "null")).toEqual({ name: "null" });
  });

  it("lets any text through as the value of a text field", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(read(Painter, "--prompt", text)).toEqual({ prompt: text });
        expect(read(Painter, `--prompt=${text}`)).toEqual({ prompt: text });
      }),
    );
  });

  it.each([
    ["--num-inference-steps", "many", '--num-inference-steps: expected a whole number, got "many"'],
    ["--guidance-scale", "", '--guidance-scale: expected a number, got ""'],
    ["--format", "gif", '--format: expected one of png, jpeg, got "gif"'],
    ["--lora", "{scale}", '--lora: expected JSON, as in {"scale": 0.8}, got "{scale}"'],
    ["--sizes", "x", '--sizes: expected a whole number, got "x"'],
  ])("refuses %s %s, saying what was expected", (flag, value, message) => {
    expect(() => read(Painter, flag, value)).toThrow(expect.objectContaining({ code: "INPUT_INVALID", message }));
  });

  it("suggests the nearest flag for an unknown one", () => {
    expect(() => read(Painter, "--promt", "x")).toThrow(
      expect.objectContaining({
        code: "SETTINGS_INVALID",
        message: expect.stringContaining("(Did you mean --prompt?)"),
      }),
    );
    expect(() => read(Painter, "--prompt", "a", "red", "star")).toThrow(
      expect.objectContaining({
        code: "SETTINGS_INVALID",
        message: expect.stringContaining('"red star" belongs to no flag'),
      }),
    );
    expect(() => read(Painter, "--prompt")).toThrow(/argument missing/);
  });

  it("tries the alternatives of a union, text last", () => {
    const schema = z.object({
      size: z.union([z.string(), z.number(), z.object({ width: z.int() })]),
      mode: z.union([z.literal(1), z.literal("fast")]),
    });
    expect(read(schema, "--size", "square", "--mode", "1")).toEqual({ size: "square", mode: 1 });
    expect(read(schema, "--size", "512", "--mode", "fast")).toEqual({ size: 512, mode: "fast" });
    expect(read(schema, "--size", '{"width": 3}')).toEqual({ size: { width: 3 } });
  });

  it("has the fields of all members of a union of objects, none of them required on its own", () => {
    const schema = z.discriminatedUnion("kind", [
      z.object({ kind: z.literal("square"), side: z.int() }),
      z.object({ kind: z.literal("circle"), radius: z.number() }),
    ]);
    expect(set(schema).fields.map(({ flag, required }) => [flag, required])).toEqual([
      ["kind", false],
      ["side", false],
      ["radius", false],
    ]);
    expect(read(schema, "--kind", "circle", "--radius", "2")).toEqual({ kind: "circle", radius: 2 });
  });

  it("follows named parts of a schema", () => {
    const Mode = z.enum(["fast", "slow"]).meta({ id: "Mode" });
    expect(read(z.object({ first: Mode, second: Mode }), "--first", "fast", "--second", "slow")).toEqual({
      first: "fast",
      second: "slow",
    });
  });

  it("reaches a field that clashes with a flag of the command under another name", () => {
    const schema = z.object({
      input: z.string(),
      json: z.boolean(),
      no_half: z.boolean(),
      help: z.string().optional(),
    });
    expect(read(schema, "--field-input", "x", "--field-json", "--field-no-half")).toEqual({
      input: "x",
      json: true,
      no_half: true,
    });
    expect(readFlags(["--json", "--out", "there"], set(schema))).toEqual({
      own: { json: true, out: "there" },
      values: {},
    });
  });

  it("keeps field names that are not English", () => {
    expect(read(z.object({ 提示: z.string(), größe: z.int() }), "--提示", "星", "--größe", "3")).toEqual({
      提示: "星",
      größe: 3,
    });
  });

  it("has no fields for a schema that is no object", () => {
    expect(set(z.string()).fields).toEqual([]);
  });
});

describe("the help", () => {
  it("lists each field with description, bounds, default and example", () => {
    const help = flagsHelp(set(Painter), { own: true, columns: 120 });
    expect(help).toContain('--prompt <text>                  What to paint. (required; for example "a red star")');
    expect(help).toContain("--num-inference-steps <integer>  (1 to 50; default 20)");
    expect(help).toContain("--format <png|jpeg>");
    expect(help).toContain("--no-upscale");
    expect(help).toMatch(/Fields:\n[\s\S]*Options:\n[\s\S]*--input <json>/);
  });

  it("wraps at the width of the terminal", () => {
    const help = flagsHelp(set(Painter), { own: true, columns: 70 });
    expect(Math.max(...help.split("\n").map((line) => line.length))).toBeLessThanOrEqual(70);
  });
});

describe("a flag among others not yet understood", () => {
  it("is found with a space or an equals sign", () => {
    expect(peekFlag(["--prompt", "x", "--endpoint", "/steps"], "endpoint")).toBe("/steps");
    expect(peekFlag(["--endpoint=/a=b"], "endpoint")).toBe("/a=b");
    expect(peekFlag(["--endpoints", "x"], "endpoint")).toBeUndefined();
  });
});

describe("a sample input", () => {
  it("holds the required fields and fits the schema", () => {
    const Schema = z.object({
      prompt: z.string().meta({ examples: ["a red star"] }),
      size: z.int(),
      mode: z.enum(["fast", "slow"]),
      tags: z.array(z.string()),
      upscale: z.boolean(),
      seed: z.int().optional(),
    });
    const sample = sampleInput(fieldsOf(Schema, new Set()));
    expect(Schema.parse(sample)).toEqual({ prompt: "a red star", size: 1, mode: "fast", tags: ["…"], upscale: true });
  });
});
