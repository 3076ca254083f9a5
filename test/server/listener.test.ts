import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { limits } from "../../src/config.ts";
import { bind, createListener } from "../../src/server/listener.ts";
import type { Server } from "../../src/server/server.ts";
import { completed, eventually, type FixtureOptions, fixture, progress, untilCancelled } from "./fixture.ts";

const platform = [globalThis.Request, globalThis.Response];
const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function listening(options: FixtureOptions = {}) {
  const made = fixture(options);
  const url = await made.server.listen();
  ends.push(() => made.server.close({ timeoutMs: 0 }));
  return { ...made, url, port: Number(new URL(url).port) };
}

/** A bare connection: says exactly what a test wants, and collects what comes back. */
function bare(port: number): { socket: Socket; said: () => string; ended: Promise<void> } {
  const socket = connect(port, "127.0.0.1");
  ends.push(() => socket.destroy());
  let text = "";
  socket.setEncoding("latin1").on("data", (data) => {
    text += data;
  });
  socket.on("error", () => {});
  return { socket, said: () => text, ended: new Promise((resolve) => socket.on("close", () => resolve())) };
}

const postHead = (port: number, more = "") =>
  `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\n${more}`;
const body = '{"prompt":"a"}';
const postWhole = (port: number) => `${postHead(port)}Content-Length: ${body.length}\r\n\r\n${body}`;

describe("a listening server", () => {
  test("says where it listens, and answers there as without a socket", async () => {
    const { url } = await listening();
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const response = await fetch(url, { method: "POST", body, headers: { "content-type": "application/json" } });
    expect([response.status, await response.json()]).toEqual([200, { image: "drawn" }]);
    expect(await (await fetch(`${url}/openapi.json`)).json()).toMatchObject({ servers: [{ url }] });
  });

  test("leaves the platform's own Request and Response alone", async () => {
    await listening();
    expect([globalThis.Request, globalThis.Response]).toEqual(platform);
  });

  test("accepts its own port in Host, and no other", async () => {
    const { port } = await listening();
    for (const [host, status] of [
      [`localhost:${port}`, "200"],
      [`127.0.0.1:${port + 1}`, "403"],
      [`evil.example:${port}`, "403"],
    ]) {
      const { socket, said } = bare(port);
      socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      await eventually(() => said().includes("\r\n\r\n"));
      expect(said()).toContain(`HTTP/1.1 ${status}`);
    }
  });

  test.each([
    ["two hosts", (port: number) => `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nHost: evil.example\r\n\r\n`],
    ["no host", () => "GET / HTTP/1.1\r\n\r\n"],
    [
      "another target than host",
      (port: number) => `GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`,
    ],
    [
      "two lengths",
      (port: number) => `${postHead(port)}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      "more headers than allowed",
      (port: number) => `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nX: ${"x".repeat(limits.headerBytes)}\r\n\r\n`,
    ],
  ])("refuses a request with %s", async (_what, text) => {
    const { port, begun } = await listening();
    const { socket, said } = bare(port);
    socket.write(text(port));
    await eventually(() => said().includes("\r\n\r\n"));
    expect(said()).toMatch(/^HTTP\/1\.1 4(?:00|03|31) /);
    expect(begun).toEqual([]);
  });

  test("sees an origin behind two thousand other headers", async () => {
    const { port } = await listening();
    for (const [origin, status] of [
      ["http://evil.example", "403"],
      [`http://127.0.0.1:${port}`, "200"],
    ]) {
      const { socket, said } = bare(port);
      socket.write(`GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${"a:\r\n".repeat(2_100)}Origin: ${origin}\r\n\r\n`);
      await eventually(() => said().includes("\r\n\r\n"));
      expect(said()).toContain(`HTTP/1.1 ${status}`);
    }
  });

  test.each([
    ["HTTP/0.9", () => "GET /\r\n\r\n", /^HTTP\/1\.1 400 /],
    ["a tunnel", (port: number) => `CONNECT evil.example:443 HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`, /^$/],
    ["HTTP/2", () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", /^HTTP\/1\.1 400 /],
    ["TLS", () => "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03", /^HTTP\/1\.1 400 /],
    [
      "an upgrade to HTTP/2",
      (port: number) => `${postHead(port)}Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}`,
      /^HTTP\/1\.1 400 [\s\S]*leave out the header Upgrade/,
    ],
  ])("ends a connection that asks for %s, and serves the next", async (_what, text, answer) => {
    const { port, url, begun } = await listening();
    const { socket, said, ended } = bare(port);
    socket.write(text(port), "latin1");
    await ended;
    expect(said()).toMatch(answer);
    expect(begun).toEqual([]);
    expect((await fetch(url)).status).toBe(200);
  });

  test("cancels a request within a moment when its caller hangs up", async () => {
    const { port, cancels, queue } = await listening({ dispatch: untilCancelled(progress(1)) });
    const { socket } = bare(port);
    socket.write(postWhole(port));
    await eventually(() => queue.stats.running === 1);
    const hungUpAt = performance.now();
    socket.destroy();
    await eventually(() => cancels.length === 1 && queue.stats.running === 0);
    expect(performance.now() - hungUpAt).toBeLessThan(1_000);
  });

  test("cancels a stream when its caller hangs up between two chunks", async () => {
    const { port, cancels } = await listening({ dispatch: untilCancelled({ type: "output", chunk: "first" }) });
    const { socket, said } = bare(port);
    socket.write(postWhole(port).replace("POST /", "POST /v1/:tokens"));
    await eventually(() => said().includes('data: "first"'));
    socket.destroy();
    await eventually(() => cancels.length === 1);
  });

  test("queues nothing of a request whose caller hangs up in the middle of the body", async () => {
    const { port, begun, url } = await listening();
    const { socket } = bare(port);
    socket.write(`${postHead(port)}Content-Length: 1000\r\n\r\n${body}`);
    await fetch(url);
    socket.destroy();
    await fetch(url);
    expect(begun).toEqual([]);
  });

  test("refuses an endless chunked body with 413 and stops reading it", async () => {
    const { port, begun } = await listening();
    const { socket, said, ended } = bare(port);
    socket.write(`${postHead(port)}Transfer-Encoding: chunked\r\n\r\n`);
    const chunk = `100000\r\n${" ".repeat(0x100000)}\r\n`;
    let sent = 0;
    const pour = (): void => {
      while (!socket.destroyed && sent < 10 * limits.bodyBytes) {
        sent += chunk.length;
        if (!socket.write(chunk)) return void socket.once("drain", pour);
      }
    };
    pour();
    await eventually(() => said().includes("\r\n\r\n"));
    expect(said()).toMatch(/^HTTP\/1\.1 413 /);
    await ended;
    expect(begun).toEqual([]);
  });
});

describe("patience", () => {
  const patience = { headersTimeoutMs: 100, bodyTimeoutMs: 200, keepAliveTimeoutMs: 50, headerBytes: 1024 };

  async function impatient() {
    const listener = createListener(async (request) => new Response(await request.text()), patience);
    const port = await bind(listener, { host: "127.0.0.1", port: 0 });
    ends.push(() => listener.close());
    return bare(port);
  }

  test.each([
    ["its headers", "GET / HTTP/1.1\r\nHo"],
    ["its body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"],
  ])("ends with a peer that does not finish %s", async (_what, text) => {
    const { socket, said, ended } = await impatient();
    socket.write(text);
    await ended;
    expect(said()).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("ends with a peer that asks for nothing more", async () => {
    const { socket, said, ended } = await impatient();
    socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await ended;
    expect(said()).toMatch(/^HTTP\/1\.1 200 /);
  });

  test("is by default that of the limits", () => {
    const listener = createListener(async () => new Response());
    expect([listener.headersTimeout, listener.requestTimeout, listener.keepAliveTimeout]).toEqual([
      limits.headersTimeoutMs,
      limits.bodyTimeoutMs,
      limits.keepAliveTimeoutMs,
    ]);
  });
});

describe("listening", () => {
  test("on a port in use says so, and the server can listen elsewhere after", async () => {
    const { port } = await listening();
    const { server } = fixture();
    await expect(server.listen({ port })).rejects.toMatchObject({
      code: "SETTINGS_INVALID",
      message: expect.stringMatching(new RegExp(`^port ${port} .*--port or FLAMBEAU_PORT`)),
    });
    await expect(server.listen()).resolves.toMatch(/^http/);
    await server.close();
  });

  test.each(["203.0.113.1", "nowhere.invalid"])("on %s, which is no address of this machine, says so", async (host) => {
    const { server } = fixture({ access: { key: "0123456789abcdef" } });
    await expect(server.listen({ host })).rejects.toMatchObject({
      code: "SETTINGS_INVALID",
      message: expect.stringContaining(host),
    });
  });

  test("where other machines can reach it needs a key, and names the variable", async () => {
    expect(() => fixture({ access: { host: "0.0.0.0" } })).toThrow("FLAMBEAU_KEY");
    await expect(fixture().server.listen({ host: "0.0.0.0" })).rejects.toThrow("FLAMBEAU_KEY");
  });

  test("twice is refused", async () => {
    const { server } = await listening();
    await expect(server.listen()).rejects.toMatchObject({ code: "SETTINGS_INVALID" });
  });
});

describe("closing", () => {
  test("lets an open request end, and takes no other", async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { server, url, queue } = await listening({
      dispatch: async function* () {
        await held;
        yield completed({ image: "late" });
      },
    });
    const open = fetch(url, { method: "POST", body, headers: { "content-type": "application/json" } });
    await eventually(() => queue.stats.running === 1);
    const closing = server.close();
    await expect(fetch(url)).rejects.toThrow();
    release();
    expect(await (await open).json()).toEqual({ image: "late" });
    const answeredAt = performance.now();
    await closing;
    expect(performance.now() - answeredAt).toBeLessThan(limits.keepAliveTimeoutMs / 2);
  });

  test("ends what is still open when the time is up, which cancels it", async () => {
    const { server, url, queue, cancels } = await listening({ dispatch: untilCancelled() });
    const open = fetch(url, { method: "POST", body, headers: { "content-type": "application/json" } });
    const failed = expect(open).rejects.toThrow();
    await eventually(() => queue.stats.running === 1);
    await server.close({ timeoutMs: 20 });
    await failed;
    await eventually(() => cancels.length === 1);
  });

  test("a server that never listened is nothing", async () => {
    const { server }: { server: Server } = fixture();
    await server.close();
  });
});
