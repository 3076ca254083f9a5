// The document's example behind a real socket: a WebSocket client watches a picture step by step, cancels the next one, and
// the worker takes the third.
import { once } from "node:events";
import { describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { TextToImage } from "../../examples/text-to-image.ts";
import type { RequestEvent } from "../../src/queue/request.ts";
import { hostOf } from "./fixture.ts";

interface Watched {
  readonly events: RequestEvent[];
  /** Resolves with the first event that fits. */
  seen(fits: (event: RequestEvent) => boolean): Promise<RequestEvent>;
}

async function connect(url: string) {
  const socket = new WebSocket(`${url.replace("http", "ws")}/ws`);
  onTestFinished(() => socket.terminate());
  await once(socket, "open");
  const run = (id: string, prompt: string): Watched => {
    const events: RequestEvent[] = [];
    const waiting: { fits: (event: RequestEvent) => boolean; resolve: (event: RequestEvent) => void }[] = [];
    socket.on("message", (data) => {
      const message = JSON.parse(String(data));
      if (message.id !== id || message.type !== "event") return;
      events.push(message.event);
      for (const { fits, resolve } of waiting) if (fits(message.event)) resolve(message.event);
    });
    socket.send(JSON.stringify({ type: "run", id, endpoint: "/", input: { prompt } }));
    const seen = (fits: (event: RequestEvent) => boolean): Promise<RequestEvent> =>
      new Promise((resolve) => {
        const earlier = events.find(fits);
        if (earlier === undefined) waiting.push({ fits, resolve });
        else resolve(earlier);
      });
    return { events, seen };
  };
  return { run, cancel: (id: string) => socket.send(JSON.stringify({ type: "cancel", id })) };
}

const isEnd = ({ type }: RequestEvent): boolean => type === "completed" || type === "failed" || type === "cancelled";
const stepsOf = (events: readonly RequestEvent[]): number[] =>
  events.flatMap((event) => (event.type === "progress" ? [event.step] : []));

describe("a WebSocket client of the document's example", () => {
  it("sees each step of a picture, cancels the next one, and has the third at once", async () => {
    const { host } = await hostOf(TextToImage);
    const url = await host.listen({ port: 0 });
    await host.start();
    const client = await connect(url);

    const first = client.run("first", "a red star on a blue background");
    const end = await first.seen(isEnd);
    expect(new Set(stepsOf(first.events)).size).toBeGreaterThanOrEqual(25);
    if (end.type !== "completed") throw new Error(`expected a picture, got ${JSON.stringify(end)}`);
    const { image } = end.output as { image: { url: string; file_size: number } };
    const picture = new Uint8Array(await (await fetch(image.url)).arrayBuffer());
    expect(picture.length).toBe(image.file_size);

    const second = client.run("second", "a cat");
    const third = client.run("third", "a yellow moon");
    const reached = await second.seen((event) => event.type === "progress" && event.step >= 5);
    const stepSeconds = reached.type === "progress" && reached.rate !== null ? 1 / reached.rate : 0;
    const cancelledAt = performance.now();
    client.cancel("second");
    await third.seen(({ type }) => type === "started");
    const takenMs = performance.now() - cancelledAt;
    expect(await second.seen(isEnd)).toEqual({ type: "cancelled" });
    console.log(
      `third picture taken ${takenMs.toFixed()} ms after the cancel; a step takes ${(stepSeconds * 1000).toFixed()} ms`,
    );
    // Within a step: what was under way when the cancel came may finish, a second one may not begin.
    expect((stepsOf(second.events).at(-1) ?? 0) - (reached.type === "progress" ? reached.step : 0)).toBeLessThanOrEqual(
      1,
    );
    expect(await third.seen(isEnd)).toMatchObject({ type: "completed" });
  }, 300_000);
});
