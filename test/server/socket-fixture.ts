// A server that listens, and a client that has connected to its socket. What a test opened ends with it.
import { afterEach } from "vitest";
import { type ClientOptions, WebSocket } from "ws";
import type { RequestEvent } from "../../src/queue/request.ts";
import type { ServerMessage } from "../../src/server/connection.ts";
import { eventually, type FixtureOptions, fixture } from "./fixture.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

export async function listening(options: FixtureOptions = {}) {
  const made = fixture(options);
  const url = await made.server.listen();
  ends.push(() => made.server.close({ timeoutMs: 0 }));
  return { ...made, url: `${url.replace("http", "ws")}/ws` };
}

/** A client that has connected: what it sends is JSON, what it gets is collected. */
export async function client(url: string, options: ClientOptions = {}) {
  const socket = new WebSocket(url, options);
  const messages: ServerMessage[] = [];
  socket.on("message", (data) => messages.push(JSON.parse(data.toString())));
  socket.on("error", () => {});
  const closed = new Promise<number>((resolve) => socket.on("close", resolve));
  ends.push(() => socket.terminate());
  await new Promise((resolve) => socket.on("open", resolve));
  const send = (message: unknown): void => socket.send(typeof message === "string" ? message : JSON.stringify(message));
  const run = (id: string, input: unknown = { prompt: "a" }, endpoint = "/") =>
    send({ type: "run", id, endpoint, input });
  const eventsOf = (id: string): RequestEvent[] =>
    messages.flatMap((message) => (message.type === "event" && message.id === id ? [message.event] : []));
  const ended = (id: string) =>
    eventually(() => ["completed", "failed", "cancelled"].includes(eventsOf(id).at(-1)?.type ?? ""));
  const errors = () => messages.filter((message) => message.type === "error");
  return { socket, messages, send, run, eventsOf, ended, errors, closed };
}
