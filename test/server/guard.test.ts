import { describe, expect, test } from "vitest";
import { limits } from "../../src/config.ts";
import { type GuardRules, guard, isLoopback, type RequestHead, requireKey } from "../../src/server/guard.ts";

const local: GuardRules = { host: "127.0.0.1", port: 3000, origins: [] };
const shared: GuardRules = { ...local, origins: ["https://studio.example"] };
const key = "0123456789abcdef";

function head(fields: { method?: string; url?: string; headers?: Record<string, string> } = {}): RequestHead {
  return { method: "GET", url: "http://127.0.0.1:3000/", ...fields, headers: new Headers(fields.headers) };
}
const fromHost = (host: string): RequestHead => head({ url: "http://127.0.0.1:3000/", headers: { host } });
const post = (headers: Record<string, string>): RequestHead =>
  head({ method: "POST", headers: { "content-type": "application/json", ...headers } });
const refusal = (request: RequestHead, rules = local) => {
  const verdict = guard(request, rules);
  return verdict.allowed ? undefined : verdict;
};

describe("the host", () => {
  test.each(["127.0.0.1:3000", "localhost:3000", "[::1]:3000"])("%s is this machine", (host) => {
    expect(refusal(head({ url: `http://${host}/`, headers: { host } }))).toBeUndefined();
  });

  test.each([
    "evil.example:3000",
    "127.0.0.1.evil.example:3000",
    "localhost.evil.example:3000",
    "[::ffff:7f00:1]:3000",
    "0.0.0.0:3000",
    "127.0.0.1",
    "127.0.0.1:3001",
    "localhost.:3000",
    "",
  ])("%j is refused, whatever the method", (host) => {
    for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"]) {
      const url = host === "" ? "http://127.0.0.1:3000/" : `http://${host}/`;
      expect(refusal(head({ method, url, headers: { host, "content-type": "application/json" } }))).toMatchObject({
        code: "FORBIDDEN",
      });
    }
  });

  test("in capitals, twice, or other than that of the target is refused", () => {
    expect(refusal(fromHost("LOCALHOST:3000"))).toMatchObject({ code: "FORBIDDEN" });
    expect(refusal(fromHost("127.0.0.1:3000, 127.0.0.1:3000"))).toMatchObject({ code: "FORBIDDEN" });
    expect(refusal(head({ url: "http://evil.example/", headers: { host: "127.0.0.1:3000" } }))).toMatchObject({
      code: "FORBIDDEN",
    });
  });

  test("and origin agreeing with each other do not make a stranger welcome", () => {
    const headers = { host: "evil.example:3000", origin: "http://evil.example:3000" };
    expect(refusal(head({ url: "http://evil.example:3000/", headers }))).toMatchObject({ code: "FORBIDDEN" });
  });

  test("may have any port where someone else listens", () => {
    const rules = { ...local, port: null };
    expect(refusal(head({ url: "http://localhost:8123/" }), rules)).toBeUndefined();
    expect(refusal(head({ url: "http://evil.example:8123/" }), rules)).toMatchObject({ code: "FORBIDDEN" });
  });

  test("may be that of a configured origin, where a proxy stands in front", () => {
    expect(
      refusal(head({ url: "http://studio.example/", headers: { host: "studio.example" } }), shared),
    ).toBeUndefined();
    expect(refusal(head({ url: "http://studio.example.evil/" }), shared)).toMatchObject({ code: "FORBIDDEN" });
  });

  test("of a server bound to every address may be an address, but no name", () => {
    const rules = { ...local, host: "0.0.0.0" };
    expect(refusal(head({ url: "http://192.168.1.7:3000/" }), rules)).toBeUndefined();
    expect(refusal(head({ url: "http://[fd00::7]:3000/" }), rules)).toBeUndefined();
    expect(refusal(head({ url: "http://rebound.example:3000/" }), rules)).toMatchObject({ code: "FORBIDDEN" });
    expect(refusal(head({ url: "http://0.0.0.0:3000/" }), rules)).toMatchObject({ code: "FORBIDDEN" });
  });

  test("that is configured by name is served under that name only", () => {
    const rules = { ...local, host: "render.local" };
    expect(refusal(head({ url: "http://render.local:3000/" }), rules)).toBeUndefined();
    expect(refusal(head({ url: "http://render.local.evil:3000/" }), rules)).toMatchObject({ code: "FORBIDDEN" });
  });
});

describe("the origin", () => {
  test.each([
    "null",
    "http://evil.example",
    "http://localhost.evil.com",
    "http://127.0.0.1:9999",
    "https://127.0.0.1:3000",
    "http://LOCALHOST:3000",
    "http://localhost:3000",
    "",
  ])("%j may not call, by reading or by posting", (origin) => {
    expect(refusal(head({ headers: { origin } }))).toMatchObject({ code: "FORBIDDEN" });
    expect(refusal(post({ origin }))).toMatchObject({ code: "FORBIDDEN" });
  });

  test("of this server itself may call, and a caller without one", () => {
    expect(refusal(post({ origin: "http://127.0.0.1:3000" }))).toBeUndefined();
    expect(refusal(post({}))).toBeUndefined();
  });

  test("that is configured may call and is named back; one that looks like it may not", () => {
    const call = post({ origin: "https://studio.example", "sec-fetch-site": "cross-site" });
    expect(guard(call, shared)).toMatchObject({ allowed: true, corsOrigin: "https://studio.example" });
    for (const origin of [
      "https://studio.example.evil",
      "http://studio.example",
      "https://studio.example:8443",
      "https://sub.studio.example",
    ]) {
      expect(refusal(post({ origin }), shared)).toMatchObject({ code: "FORBIDDEN" });
    }
  });

  test("asks first, and needs no key for asking", () => {
    const asking = head({
      method: "OPTIONS",
      headers: { origin: "https://studio.example", "access-control-request-method": "POST" },
    });
    expect(guard(asking, { ...shared, key })).toMatchObject({ allowed: true, isPreflight: true });
    expect(refusal(asking)).toMatchObject({ code: "FORBIDDEN" });
  });

  test.each(["cross-site", "same-site", "anything"])("is not needed to refuse a %s page", (site) => {
    expect(refusal(head({ headers: { "sec-fetch-site": site } }))).toMatchObject({ code: "FORBIDDEN" });
    expect(refusal(post({ "sec-fetch-site": site }), shared)).toMatchObject({ code: "FORBIDDEN" });
  });

  test.each(["same-origin", "none"])("of %s is welcome", (site) => {
    expect(refusal(head({ headers: { "sec-fetch-site": site } }))).toBeUndefined();
  });

  test("does not come with an image: files may be shown by pages once an origin is configured", () => {
    const image = head({ url: "http://127.0.0.1:3000/files/x.png", headers: { "sec-fetch-site": "cross-site" } });
    expect(refusal(image, shared)).toBeUndefined();
    expect(refusal(image)).toMatchObject({ code: "FORBIDDEN" });
  });
});

describe("the key", () => {
  const rules = { ...local, key };

  test.each(["Key ", "Bearer ", "key "])("is accepted as %j", (scheme) => {
    expect(refusal(post({ authorization: scheme + key }), rules)).toBeUndefined();
  });

  test.each([
    "",
    "Key",
    "Key ",
    `Key ${key}x`,
    `Key ${key.slice(1)}`,
    key,
    `Basic ${key}`,
    `Key ${"x".repeat(10_000)}`,
    `Key é${key}`,
  ])("is not %.30j", (authorization) => {
    expect(refusal(post({ authorization }), rules)).toMatchObject({ code: "FORBIDDEN" });
  });

  test("is needed for everything but files and health", () => {
    for (const path of ["/", "/openapi.json", "/ws", "/filesystem", "/healthy"]) {
      expect(refusal(head({ url: `http://127.0.0.1:3000${path}` }), rules)).toMatchObject({ code: "FORBIDDEN" });
    }
    for (const path of ["/files/x.png", "/health/live", "/health/ready"]) {
      expect(refusal(head({ url: `http://127.0.0.1:3000${path}` }), rules)).toBeUndefined();
    }
    expect(refusal({ ...post({}), url: "http://127.0.0.1:3000/files/x" }, rules)).toMatchObject({ code: "FORBIDDEN" });
  });

  test.each(["0.0.0.0", "::", "192.168.1.7", "render.local", "127.0.0.1.evil.example", "1270.0.0.1"])(
    "must be there to listen on %s",
    (host) => {
      expect(() => requireKey(host, undefined)).toThrow(expect.objectContaining({ code: "SETTINGS_INVALID" }));
      expect(() => requireKey(host, undefined)).toThrow("FLAMBEAU_KEY");
      expect(() => requireKey(host, key)).not.toThrow();
    },
  );

  test.each(["127.0.0.1", "127.0.0.2", "localhost", "::1", "[::1]"])("need not be there to listen on %s", (host) => {
    expect(isLoopback(host)).toBe(true);
    expect(() => requireKey(host, undefined)).not.toThrow();
  });
});

describe("the body", () => {
  test.each([
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonp",
    "",
  ])("of type %j is refused with 415", (type) => {
    expect(refusal(post({ "content-type": type }))).toMatchObject({ code: "BAD_REQUEST", status: 415 });
  });

  test("may name its charset", () => {
    expect(refusal(post({ "content-type": "Application/JSON; charset=utf-8" }))).toBeUndefined();
  });

  test("may not be compressed", () => {
    expect(refusal(post({ "content-encoding": "gzip" }))).toMatchObject({ status: 415 });
    expect(refusal(post({ "content-encoding": "identity" }))).toBeUndefined();
  });

  test("that announces more than the limit is refused before it is read", () => {
    expect(refusal(post({ "content-length": String(limits.bodyBytes) }))).toBeUndefined();
    expect(refusal(post({ "content-length": String(limits.bodyBytes + 1) }))).toMatchObject({ code: "TOO_LARGE" });
  });
});
