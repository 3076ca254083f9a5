import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { AppDescription, EndpointDescription } from "../../src/app/description.ts";
import { jsonSchema } from "../../src/app/json-schema.ts";
import { openapi } from "../../src/app/openapi.ts";

const Input = z.object({
  prompt: z.string().meta({ description: "What to draw.", examples: ["a red star"] }),
  steps: z.number().int().min(1).max(100).default(30),
});
const Image = z.object({ url: z.string(), width: z.int() }).meta({ id: "Image" });
const Output = z.object({ image: Image.meta({ description: "The image." }), seed: z.number().optional() });

const endpoint = (fields: Partial<EndpointDescription>): EndpointDescription => ({
  name: "textToImage",
  path: "/",
  mode: "unary",
  input: Input,
  output: Output,
  ...fields,
});
const app = (...endpoints: EndpointDescription[]): AppDescription => ({ name: "TextToImage", endpoints });
const input = (schema: z.ZodType) => jsonSchema(schema, { io: "input", name: "Whole" });

describe("openapi", () => {
  test("describes an endpoint with the app's own words and examples", () => {
    const document = openapi(app(endpoint({})), { serverUrl: "http://127.0.0.1:3000" });
    expect(document).toMatchObject({
      openapi: "3.1.0",
      info: { title: "TextToImage" },
      servers: [{ url: "http://127.0.0.1:3000" }],
      paths: {
        "/": {
          post: {
            operationId: "textToImage",
            requestBody: {
              required: true,
              content: { "application/json": { schema: { $ref: "#/components/schemas/TextToImageInput" } } },
            },
            responses: {
              200: { content: { "application/json": { schema: { $ref: "#/components/schemas/TextToImageOutput" } } } },
            },
          },
        },
      },
    });
    expect(document.components.schemas["TextToImageInput"]).toEqual({
      type: "object",
      properties: {
        prompt: { type: "string", description: "What to draw.", examples: ["a red star"] },
        steps: { type: "integer", minimum: 1, maximum: 100, default: 30 },
      },
      required: ["prompt"],
      additionalProperties: false,
    });
  });

  test("says which errors an endpoint can answer with, in one shape", () => {
    const { post } = openapi(app(endpoint({}))).paths["/"] ?? {};
    const responses = z.record(z.string(), z.looseObject({ content: z.looseObject({}) })).parse(post?.["responses"]);
    for (const status of ["400", "403", "413", "415", "422", "429", "499", "500", "503", "504"]) {
      expect(responses[status]?.content).toEqual({
        "application/json": { schema: { $ref: "#/components/schemas/Failure" } },
      });
    }
  });

  test("every reference leads to a component", () => {
    const Tree = z.object({
      name: z.string(),
      get children() {
        return z.array(Tree);
      },
    });
    const document = openapi(
      app(
        endpoint({ input: Tree, output: z.object({ tree: Tree, image: Image }) }),
        endpoint({ name: "edit", path: "/edit", input: z.object({ image: Image }) }),
      ),
    );
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(
      (match) => match[1],
    );
    expect(references.length).toBeGreaterThan(5);
    expect(JSON.stringify(document)).not.toContain('"$ref":"#"');
    for (const name of references) expect(Object.keys(document.components.schemas)).toContain(name);
  });

  test("keeps a named schema once, and apart where input and output of it differ", () => {
    const Sampler = z.object({ steps: z.number().default(3) }).meta({ id: "Sampler" });
    const io = { input: z.object({ s: Sampler }), output: z.object({ s: Sampler, image: Image }) };
    const names = Object.keys(
      openapi(app(endpoint(io), endpoint({ name: "edit", path: "/edit", ...io }))).components.schemas,
    );
    expect(names.sort()).toEqual([
      "EditInput",
      "EditOutput",
      "EditOutputSampler",
      "Failure",
      "Image",
      "Sampler",
      "TextToImageInput",
      "TextToImageOutput",
      "TextToImageOutputSampler",
    ]);
  });

  test("a part may not take the name of a whole", () => {
    const Failure = z.object({ why: z.string() }).meta({ id: "Failure" });
    const { schemas } = openapi(app(endpoint({ output: z.object({ failure: Failure }) }))).components;
    expect(schemas["Failure"]).toHaveProperty("properties.error");
    expect(schemas["TextToImageOutputFailure"]).toHaveProperty("properties.why");
  });

  test("a stream answers with events of its chunks", () => {
    const document = openapi(app(endpoint({ mode: "stream", output: z.string() })));
    expect(document.paths["/"]?.post).toHaveProperty(["responses", "200", "content", "text/event-stream"]);
  });

  test("names the key where one is needed", () => {
    expect(openapi(app(endpoint({})))).not.toHaveProperty("security");
    expect(openapi(app(endpoint({})), { needsKey: true })).toMatchObject({
      security: [{ key: [] }],
      components: { securitySchemes: { key: { type: "apiKey", in: "header", name: "Authorization" } } },
    });
  });
});

describe("jsonSchema", () => {
  test.each([
    ["a custom check", z.custom<Float32Array>(() => true), "custom"],
    ["a date", z.date(), "date"],
    ["a map", z.map(z.string(), z.number()), "map"],
  ])("says of %s that JSON Schema has no word for it", (_name, schema, type) => {
    const { schema: described } = input(z.object({ value: schema.meta({ description: "kept" }) }));
    expect(described).toHaveProperty("properties.value", {
      description: "kept",
      $comment: expect.stringContaining(type),
    });
  });

  test("describes a transform by what goes in, and what comes out as not known", () => {
    const schema = z.string().transform((text) => text.length);
    expect(input(schema).schema).toEqual({ type: "string" });
    expect(jsonSchema(schema, { io: "output", name: "Whole" }).schema).toHaveProperty("$comment");
  });

  test("leaves any and unknown without a note", () => {
    expect(input(z.unknown()).schema).toEqual({});
  });

  test("takes a schema's own description in JSON Schema, and keeps its words", () => {
    const floats = z
      .custom<Float32Array>(() => true)
      .meta({ description: "Samples.", jsonSchema: { type: "array", items: { type: "number" } } });
    expect(input(floats).schema).toEqual({ description: "Samples.", type: "array", items: { type: "number" } });
  });

  test("does not close what is handed out, unless the schema says so", () => {
    const output = (schema: z.ZodType) => jsonSchema(schema, { io: "output", name: "Whole" }).schema;
    expect(output(z.object({}))).not.toHaveProperty("additionalProperties");
    expect(output(z.strictObject({}))).toHaveProperty("additionalProperties", false);
  });

  test("a schema that breaks while it is described is an empty one with the reason", () => {
    const broken = z.lazy(() => {
      throw new Error("no such model");
    });
    expect(input(broken).schema).toEqual({ $comment: "not described: no such model" });
  });
});
