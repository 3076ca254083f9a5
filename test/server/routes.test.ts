import { describe, expect, test } from "vitest";
import { limits } from "../../src/config.ts";
import { silentLogger } from "../../src/log.ts";
import { createFileStore } from "../../src/server/file-store.ts";
import { answering, completed, fixture } from "./fixture.ts";

const base = "http://127.0.0.1:3000";
const ask = (path: string, input: unknown, headers: Record<string, string> = {}) =>
  new Request(base + path, {
    method: "POST",
    body: JSON.stringify(input),
    headers: { "content-type": "application/json", ...headers },
  });

describe("the other routes", () => {
  const get = (path: string, init: RequestInit = {}) => new Request(base + path, init);

  test("say what there is", async () => {
    const { server } = fixture();
    expect(await (await server.fetch(get("/"))).json()).toMatchObject({
      name: "TextToImage",
      endpoints: [
        { name: "textToImage", path: "/", mode: "unary" },
        { name: "tokens", path: "/v1/:tokens", mode: "stream" },
      ],
    });
    expect(await (await server.fetch(get("/openapi.json"))).json()).toMatchObject({ openapi: "3.1.0" });
  });

  test("live is not ready", async () => {
    let ready = false;
    const { server } = fixture({ readiness: () => (ready ? { ready } : { ready, reason: "installing torch" }) });
    expect((await server.fetch(get("/health/live"))).status).toBe(200);
    const waiting = await server.fetch(get("/health/ready"));
    expect([waiting.status, await waiting.json()]).toEqual([503, { status: "not ready", reason: "installing torch" }]);
    ready = true;
    expect((await server.fetch(get("/health/ready"))).status).toBe(200);
  });

  test("an unknown one names the endpoints, and a pattern is only a name", async () => {
    const { server } = fixture();
    const response = await server.fetch(ask("/v1/other", { prompt: "a" }));
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({
      detail: expect.stringContaining("/ (textToImage), /v1/:tokens (tokens)"),
    });
  });

  test.each([
    ["GET", "/v1/:tokens", "POST"],
    ["DELETE", "/", "GET, HEAD, POST"],
    ["PUT", "/openapi.json", "GET, HEAD"],
    ["POST", "/files/x", "GET, HEAD"],
  ])("%s %s is refused with what would be allowed", async (method, path, allow) => {
    const { server } = fixture();
    const headers = { "content-type": "application/json" };
    const response = await server.fetch(get(path, { method, headers, ...(method === "POST" && { body: "{}" }) }));
    expect([response.status, response.headers.get("allow")]).toEqual([405, allow]);
  });

  test.each([
    ["an unknown route", () => get("/nothing")],
    ["a wrong method", () => get("/", { method: "DELETE" })],
    ["an unknown file", () => get("/files/x")],
    ["an input that does not fit", () => ask("/", {})],
    ["an output that is no JSON", () => ask("/", { prompt: "a" })],
    ["a chunk that is no JSON", () => ask("/v1/:tokens", { prompt: "a" })],
  ])("%s is told without the lines of our own code", async (_what, request) => {
    const dispatch = answering({ type: "output", chunk: 1n }, completed(1n));
    const text = await (await fixture({ dispatch }).server.fetch(request())).text();
    expect(text).toContain('"code"');
    expect(text).not.toMatch(/stack|\.ts:\d/);
  });

  test.each([
    "/files/../../etc/passwd",
    "/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/files/%252e%252e%252fetc",
    "/files/..%5c..%5cx",
    "/files/a%00.png",
    "/files/%ff",
    "/files/x.png/.",
    "/files/CON",
    "/files/passwd",
    "//etc/passwd",
    "/%",
    "/health//live",
  ])("%s is nothing", async (path) => {
    const files = createFileStore({ dir: "/etc", baseUrl: () => base });
    expect((await fixture({ files }).server.fetch(get(path))).status).toBe(404);
  });

  test("a defect in one is logged, and tells the caller nothing", async () => {
    const errors: string[] = [];
    const logger = { ...silentLogger, error: (message: string) => void errors.push(message) };
    const find = async () => {
      throw new Error("secret path");
    };
    const { server } = fixture({ files: { find }, logger });
    const response = await server.fetch(get("/files/x"));
    expect([response.status, await response.text()]).toEqual([500, expect.not.stringContaining("secret")]);
    expect(errors[0]).toContain("secret path");
  });

  test("every answer forbids guessing its type, and none allows another origin unasked", async () => {
    const { server } = fixture();
    for (const request of [
      get("/"),
      get("/nothing"),
      ask("/", {}),
      get("/", { headers: { origin: "http://evil.example" } }),
    ]) {
      const { headers } = await server.fetch(request);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect([...headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
    }
  });
});

describe("a configured origin", () => {
  const origin = "https://studio.example";
  const access = { origins: [origin] };

  test("is named back exactly, with the answer depending on it", async () => {
    const { server } = fixture({ access });
    const response = await server.fetch(ask("/", { prompt: "a" }, { origin }));
    expect(response.headers.get("access-control-allow-origin")).toBe(origin);
    expect(response.headers.get("vary")).toBe("Origin");
    const other = await server.fetch(ask("/", { prompt: "a" }, { origin: "https://evil.example" }));
    expect([other.status, other.headers.get("access-control-allow-origin"), other.headers.get("vary")]).toEqual([
      403,
      null,
      "Origin",
    ]);
  });

  test("is told what it may send", async () => {
    const { server } = fixture({ access });
    const headers = {
      origin,
      "access-control-request-method": "POST",
      "access-control-request-private-network": "true",
    };
    const response = await server.fetch(new Request(base, { method: "OPTIONS", headers }));
    expect(response.status).toBe(204);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "access-control-allow-origin": origin,
      "access-control-allow-headers": "content-type, authorization",
      "access-control-allow-private-network": "true",
      "access-control-max-age": String(limits.preflightSeconds),
    });
  });
});
