import { describe, expect, test } from "vitest";
import { z } from "zod";
import { parseInput } from "../../src/app/parse-input.ts";
import { limits } from "../../src/config.ts";
import { FlambeauError, InputError, type InputIssue } from "../../src/errors.ts";

const Input = z.object({ prompt: z.string(), steps: z.number().int().default(30) });

function issuesOf(schema: z.ZodType, input: unknown): readonly InputIssue[] {
  try {
    parseInput(schema, input);
  } catch (thrown) {
    if (thrown instanceof InputError && thrown.code === "INPUT_INVALID") return thrown.issues;
    throw thrown;
  }
  return [];
}

describe("parseInput", () => {
  test("gives the parsed value with its defaults", () => {
    expect(parseInput(Input, { prompt: "a cat" })).toEqual({ prompt: "a cat", steps: 30 });
  });

  test("names every field at fault in one error, the unknown ones among them", () => {
    const issues = issuesOf(Input, { prompt: 1, step: 3 });
    expect(issues.map((issue) => issue.path)).toEqual([["prompt"], ["step"]]);
    expect(issues[1]?.message).toBe("unknown field; known are: prompt, steps");
  });

  test.each([
    ["a refined object", Input.refine(() => true)],
    ["an object that is transformed", Input.transform((value) => value.prompt)],
    ["an object with a default", Input.default({ prompt: "", steps: 1 })],
    ["a strict object", z.strictObject({ prompt: z.string() })],
  ])("refuses an unknown field of %s", (_name, schema) => {
    expect(issuesOf(schema, { prompt: "a", zoom: 1 }).map((issue) => issue.path)).toEqual([["zoom"]]);
  });

  test("leaves unknown fields to a schema that says what to do with them", () => {
    expect(issuesOf(z.looseObject({ prompt: z.string() }), { prompt: "a", zoom: 1 })).toEqual([]);
    expect(issuesOf(z.record(z.string(), z.number()), { zoom: 1 })).toEqual([]);
  });

  test("refuses a field called __proto__ and pollutes nothing", () => {
    const hostile: unknown = JSON.parse('{"prompt":"a","__proto__":{"isAdmin":true}}');
    expect(issuesOf(Input, hostile).map((issue) => issue.path)).toEqual([["__proto__"]]);
    expect(Reflect.get({}, "isAdmin")).toBeUndefined();
  });

  test("accepts a text of the longest length and refuses one character more, with its path", () => {
    const longest = "a".repeat(limits.promptCharacters);
    expect(issuesOf(Input, { prompt: longest })).toEqual([]);
    expect(issuesOf(Input, { prompt: `${longest}a` })).toEqual([
      {
        path: ["prompt"],
        message: `at most ${limits.promptCharacters} characters, got ${limits.promptCharacters + 1}; shorten the text`,
      },
    ]);
  });

  test("lets an image in a data URI be longer than a prompt", () => {
    const image = `data:image/png;base64,${"A".repeat(limits.promptCharacters)}`;
    expect(issuesOf(z.object({ image: z.string() }), { image })).toEqual([]);
  });

  test("accepts as many levels as the limit says, and refuses one more", () => {
    const nested = (levels: number): unknown => JSON.parse("[".repeat(levels) + "]".repeat(levels));
    expect(issuesOf(z.unknown(), nested(limits.jsonDepth))).toEqual([]);
    expect(issuesOf(z.unknown(), nested(limits.jsonDepth + 1))).toHaveLength(1);
  });

  test("refuses a value in a circle, without recursion", () => {
    const circle: unknown[] = [];
    circle.push(circle);
    expect(issuesOf(z.unknown(), circle)[0]?.message).toContain("nested deeper");
  });

  test("tells the first issues of as many as there are, and cuts a name without end", () => {
    const list = z.object({ list: z.array(z.number()), inner: z.strictObject({}) });
    const many = Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`k${at}`, at]));
    for (const input of [
      { list: Array(10_000).fill(""), inner: {} },
      { list: [], inner: many },
      { list: [], ...many },
    ]) {
      const issues = issuesOf(list, input);
      expect(issues).toHaveLength(limits.issuesTold + 1);
      expect(issues.at(-1)).toEqual({ path: [], message: "more is at fault than this; correct these first" });
    }
    expect(
      issuesOf(Input, { prompt: "", ...Object.fromEntries(Object.entries(many).slice(0, limits.issuesTold)) }),
    ).toHaveLength(limits.issuesTold);
    const [issue] = issuesOf(Input, { prompt: "", ["x".repeat(1_000)]: 1 });
    expect(String(issue?.path[0])).toHaveLength(limits.issueNameCharacters + 1);
  });

  test("accepts as many items in all as the limit says, and refuses one more before anything is checked", () => {
    const schema = z.object({ lists: z.array(z.unknown()) });
    const lists = (items: number): unknown => ({ lists: [Array(items - 2).fill(0)] });
    expect(issuesOf(schema, lists(limits.inputItems))).toEqual([]);
    expect(issuesOf(schema, lists(limits.inputItems + 1))).toEqual([
      { path: ["lists", 0], message: `more than ${limits.inputItems} items in all; send less at once` },
    ]);
  });

  test("gives the path of an item in a list", () => {
    const issues = issuesOf(z.object({ prompts: z.array(z.string()) }), { prompts: ["a", 2] });
    expect(issues.map((issue) => issue.path)).toEqual([["prompts", 1]]);
  });

  test("says what to do about a schema that can only be checked asynchronously", () => {
    const schema = z.object({ prompt: z.string().refine(async () => true) });
    expect(() => parseInput(schema, { prompt: "a" })).toThrow(expect.objectContaining({ code: "APP_INVALID" }));
    expect(() => parseInput(schema, { prompt: "a" })).toThrow(FlambeauError);
  });
});
