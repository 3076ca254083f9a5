// The OpenAPI 3.1 document of an app: one operation for each endpoint, its schemas, and what else it can answer.
// Knows no server; the statuses named here are those of server/status.ts (compared by a test).
import { ERROR_CODES } from "../errors.ts";
import type { AppDescription, EndpointDescription } from "./description.ts";
import { type JsonSchema, jsonSchema, withReferences } from "./json-schema.ts";
import { knownFields } from "./parse-input.ts";

export interface OpenApiOptions {
  /** Where the app is served, such as `http://127.0.0.1:3000`. */
  readonly serverUrl?: string;
  /** True if callers must send `Authorization: Key …`. */
  readonly needsKey?: boolean;
}

export interface OpenApiDocument {
  readonly openapi: "3.1.0";
  readonly info: { readonly title: string; readonly version: string };
  readonly servers?: readonly { readonly url: string }[];
  readonly security?: readonly { readonly key: readonly string[] }[];
  readonly paths: Readonly<Record<string, { readonly post: JsonSchema }>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, JsonSchema>>;
    readonly securitySchemes?: { readonly key: JsonSchema };
  };
}

/** What any endpoint can answer beside its output. */
const failures: Readonly<Record<string, string>> = {
  400: "The body is not JSON.",
  403: "Host, origin or key refused.",
  413: "The body is over its limit.",
  415: "The body is not declared as application/json.",
  422: "The input does not fit the schema; every field at fault is named.",
  429: "The queue is full; try again later.",
  499: "The request was cancelled.",
  500: "The endpoint or Python failed.",
  503: "The worker is not there: it ended, ran out of memory, or its setup failed.",
  504: "A time limit passed.",
  507: "The disk of the server is full.",
};

const failureSchema: JsonSchema = {
  type: "object",
  required: ["error", "detail"],
  properties: {
    error: {
      type: "object",
      required: ["code", "message", "retryable"],
      properties: {
        code: { type: "string", enum: Object.keys(ERROR_CODES) },
        message: { type: "string" },
        retryable: { type: "boolean", description: "True if the same request can succeed later." },
        issues: {
          type: "array",
          items: { type: "object", properties: { path: { type: "array" }, message: { type: "string" } } },
        },
        pythonType: { type: "string" },
        traceback: { type: "string", description: "Python's, told to callers on the same machine only." },
      },
    },
    detail: {
      oneOf: [
        { type: "string" },
        {
          type: "array",
          items: {
            type: "object",
            required: ["loc", "msg", "type"],
            properties: {
              loc: { type: "array", items: { type: ["string", "integer"] } },
              msg: { type: "string" },
              type: { type: "string" },
            },
          },
        },
      ],
    },
  },
};

const failureReference: JsonSchema = { $ref: "#/components/schemas/Failure" };
const keyScheme: JsonSchema = {
  type: "apiKey",
  in: "header",
  name: "Authorization",
  description: "`Key`, a space, the key.",
};

/** Makes the document; the same app gives the same document. */
export function openapi(app: AppDescription, options: OpenApiOptions = {}): OpenApiDocument {
  const components = new Components([
    "Failure",
    ...app.endpoints.flatMap((endpoint) => Object.values(schemaNames(endpoint))),
  ]);
  components.schemas["Failure"] = failureSchema;
  const paths = app.endpoints.map((endpoint) => [endpoint.path, { post: operation(endpoint, components) }] as const);
  return {
    openapi: "3.1.0",
    info: { title: app.name, version: "1" },
    ...(options.serverUrl !== undefined && { servers: [{ url: options.serverUrl }] }),
    ...(options.needsKey && { security: [{ key: [] }] }),
    paths: Object.fromEntries(paths),
    components: { schemas: components.schemas, ...(options.needsKey && { securitySchemes: { key: keyScheme } }) },
  };
}

function operation(endpoint: EndpointDescription, components: Components): JsonSchema {
  const names = schemaNames(endpoint);
  const input = components.add(names.input, closedInput(endpoint, names.input));
  const output = components.add(names.output, jsonSchema(endpoint.output, { io: "output", name: names.output }));
  const failed = Object.entries(failures).map(([status, description]) => {
    return [status, { description, content: { "application/json": { schema: failureReference } } }] as const;
  });
  return {
    operationId: endpoint.name,
    requestBody: { required: true, content: { "application/json": { schema: input } } },
    responses: { 200: answer(endpoint, output), ...Object.fromEntries(failed) },
  };
}

function answer({ mode }: EndpointDescription, output: JsonSchema): JsonSchema {
  const headers = { "x-flambeau-request-id": { schema: { type: "string" } } };
  if (mode === "unary")
    return { description: "The output.", headers, content: { "application/json": { schema: output } } };
  const description =
    "Server-sent events: the `data` of each is one chunk as JSON; an event named `error` carries a Failure and ends it.";
  return { description, headers, content: { "text/event-stream": { schema: output } } };
}

/** Says what parseInput does: fields that a plain object does not name are refused. */
function closedInput(endpoint: EndpointDescription, name: string): ReturnType<typeof jsonSchema> {
  const named = jsonSchema(endpoint.input, { io: "input", name });
  if (knownFields(endpoint.input) === undefined || named.schema["type"] !== "object") return named;
  return { ...named, schema: { ...named.schema, additionalProperties: false } };
}

function schemaNames({ name }: EndpointDescription): { readonly input: string; readonly output: string } {
  const title = name.charAt(0).toUpperCase() + name.slice(1);
  return { input: `${title}Input`, output: `${title}Output` };
}

/** Schemas by name. A part that differs from another of the same name (an input and its output) gets its owner's name in front. */
class Components {
  readonly schemas: Record<string, JsonSchema> = {};
  readonly #reserved: readonly string[];

  constructor(reserved: readonly string[]) {
    this.#reserved = reserved;
  }

  add(name: string, { schema, parts }: ReturnType<typeof jsonSchema>): JsonSchema {
    const renamed = new Map<string, string>();
    for (const [part, value] of Object.entries(parts)) {
      const free = !this.#reserved.includes(part) && isSame(this.schemas[part] ?? value, value);
      renamed.set(`#/components/schemas/${part}`, `#/components/schemas/${free ? part : name + part}`);
    }
    const rename = (reference: string): string => renamed.get(reference) ?? reference;
    for (const [part, value] of Object.entries(parts)) {
      const target = rename(`#/components/schemas/${part}`).slice("#/components/schemas/".length);
      this.schemas[target] = withReferences(value, rename);
    }
    this.schemas[name] = withReferences(schema, rename);
    return { $ref: `#/components/schemas/${name}` };
  }
}

function isSame(a: JsonSchema, b: JsonSchema): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
