import { request as httpRequest } from "node:http";
import { afterEach, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { limits } from "../../src/config.ts";
import { completed, eventually, untilCancelled } from "./fixture.ts";
import { client, listening } from "./socket-fixture.ts";

afterEach(() => {
  vi.useRealTimers();
});

/** The status with which an upgrade is refused. */
function refused(url: string, headers: Record<string, string>, path = "/ws"): Promise<number | undefined> {
  const { port } = new URL(url);
  const upgrade = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AQIDBAUGBwgJCgsMDQ4PEA==",
  };
  return new Promise((resolve, reject) => {
    const request = httpRequest({ port, host: "127.0.0.1", path, headers: { ...upgrade, ...headers } });
    request.on("response", (response) => resolve(response.resume().statusCode));
    request.on("upgrade", (_response, socket) => {
      socket.destroy();
      resolve(101);
    });
    request.on("error", reject);
    request.end();
  });
}

describe("a frame", () => {
  test("as large as the limit is read, and one byte more closes the socket with 1009 and cancels its runs", async () => {
    const { url, cancels } = await listening({ dispatch: untilCancelled() });
    const { send, run, eventsOf, errors, closed } = await client(url);
    run("a");
    await eventually(() => eventsOf("a").length === 2);
    send(" ".repeat(limits.socketFrameBytes));
    await eventually(() => errors().length === 1);
    send(" ".repeat(limits.socketFrameBytes + 1));
    expect(await closed).toBe(1009);
    await eventually(() => cancels.length === 1);
  });

  test("in too many pieces closes the socket", async () => {
    const { url } = await listening();
    const { socket, closed } = await client(url);
    for (let piece = 0; piece <= limits.socketFragments; piece++) socket.send(" ", { fin: false });
    expect(await closed).toBe(1008);
  });

  test("is never compressed", async () => {
    const { url } = await listening();
    const { socket } = await client(url, { perMessageDeflate: true });
    expect(socket.extensions).toBe("");
  });
});

describe("an upgrade", () => {
  test.each([
    ["a foreign origin", { origin: "http://evil.example" }],
    ["no origin at all, but null", { origin: "null" }],
    ["a cross-site page", { "sec-fetch-site": "cross-site" }],
    ["a foreign host", { host: "evil.example" }],
  ])("from %s is refused with 403", async (_who, headers) => {
    const { url } = await listening();
    const { host } = new URL(url);
    expect(await refused(url, { host, ...headers })).toBe(403);
    expect(await refused(url, { host })).toBe(101);
    expect(await refused(url, { host, origin: `http://${host}` })).toBe(101);
  });

  test("without the key is refused, with it welcome", async () => {
    const key = "0123456789abcdef";
    const { url } = await listening({ access: { key } });
    expect(await refused(url, { authorization: "Key 0123456789abcdeX" })).toBe(403);
    expect(await refused(url, { authorization: `Key ${key}` })).toBe(101);
  });

  test("elsewhere than at /ws is refused with 404, and a broken one with 400", async () => {
    const { url } = await listening();
    expect(await refused(url, {}, "/")).toBe(404);
    expect(await refused(url, {}, "http://evil.example/ws")).toBe(400);
    expect(await refused(url, { "sec-websocket-version": "7" })).toBe(400);
  });

  test("is refused while as many sockets are open as may be", async () => {
    const { url } = await listening();
    const sockets = await Promise.all(Array.from({ length: limits.socketsMax }, () => client(url)));
    expect(await refused(url, {})).toBe(429);
    sockets[0]?.socket.terminate();
    await vi.waitUntil(async () => (await refused(url, {})) === 101, { timeout: 5_000 });
  });
});

describe("a peer that has died", () => {
  test("is noticed at the second unanswered ping, and its runs are cancelled", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    const { url, cancels, queue } = await listening({ dispatch: untilCancelled() });
    const dead = await client(url, { autoPong: false });
    const alive = await client(url);
    for (const { run } of [dead, alive]) run("a");
    await eventually(
      () => queue.stats.running === 2 && [dead, alive].every(({ eventsOf }) => eventsOf("a").length === 2),
    );
    const pings = [dead, alive].map(({ socket }) => new Promise((resolve) => socket.once("ping", resolve)));
    vi.advanceTimersByTime(limits.socketPingMs);
    await Promise.all(pings);
    await new Promise((resolve) => setTimeout(resolve, 50));
    vi.advanceTimersByTime(limits.socketPingMs);
    expect(await dead.closed).toBe(1006);
    await eventually(() => cancels.length === 1);
    expect(alive.socket.readyState).toBe(WebSocket.OPEN);
  });
});

describe("closing the server", () => {
  test("does not wait long for a peer that does not say goodbye", async () => {
    const { url, server } = await listening();
    const { socket } = await client(url);
    socket.pause();
    const closingAt = performance.now();
    await server.close();
    expect(performance.now() - closingAt).toBeLessThan(limits.socketCloseTimeoutMs + 1_000);
  });

  test("closes idle sockets at once with 1001", async () => {
    const { url, server } = await listening();
    const { closed } = await client(url);
    const closing = server.close();
    expect(await closed).toBe(1001);
    await closing;
  });

  test("lets a run end first, and takes no other", async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { url, server, queue } = await listening({
      dispatch: async function* () {
        await held;
        yield completed("late");
      },
    });
    const { run, errors, eventsOf, closed } = await client(url);
    run("a");
    await eventually(() => queue.stats.running === 1);
    const closing = server.close();
    run("b");
    await eventually(() => errors().length === 1);
    expect(errors()[0]).toMatchObject({ id: "b", error: { code: "QUEUE_FULL" } });
    release();
    expect(await closed).toBe(1001);
    await closing;
    expect(eventsOf("a").at(-1)).toEqual(completed("late"));
  });

  test("ends with sockets whose runs do not end in time, and cancels those", async () => {
    const { url, server, queue, cancels } = await listening({ dispatch: untilCancelled() });
    const { run, closed } = await client(url);
    run("a");
    await eventually(() => queue.stats.running === 1);
    await server.close({ timeoutMs: 20 });
    expect(await closed).toBe(1001);
    await eventually(() => cancels.length === 1);
  });
});
