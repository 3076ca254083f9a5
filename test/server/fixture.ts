// A server over the memory queue and a Dispatch that the test steers. Real parts, no Python.
import { z } from "zod";
import type { AppDescription } from "../../src/app/description.ts";
import { type Logger, silentLogger } from "../../src/log.ts";
import { createMemoryQueue } from "../../src/queue/memory.ts";
import type { Dispatch, QueuedRequest, RequestEvent } from "../../src/queue/request.ts";
import type { FileSource } from "../../src/server/files.ts";
import { type Access, createServer } from "../../src/server/server.ts";

export const app: AppDescription = {
  name: "TextToImage",
  endpoints: [
    {
      name: "textToImage",
      path: "/",
      mode: "unary",
      input: z.object({ prompt: z.string(), steps: z.number().int().default(30) }),
      output: z.object({ image: z.string() }),
    },
    {
      name: "tokens",
      path: "/v1/:tokens",
      mode: "stream",
      input: z.object({ prompt: z.string() }),
      output: z.string(),
    },
  ],
};

export const progress = (step: number): RequestEvent => ({
  type: "progress",
  step,
  total: 3,
  stage: null,
  rate: null,
  secondsLeft: null,
});
export const completed = (output: unknown): RequestEvent => ({ type: "completed", output, seconds: 1 });

const noFiles: FileSource = { find: async () => undefined };

export interface FixtureOptions {
  readonly dispatch?: Dispatch;
  readonly access?: Partial<Access>;
  readonly files?: FileSource;
  readonly concurrency?: number;
  readonly maxQueued?: number;
  readonly readiness?: () => { ready: boolean; reason?: string };
  readonly logger?: Logger;
}

/** `begun` holds the requests that reached the dispatch; `cancels` the ids whose signal fired. */
export function fixture(options: FixtureOptions = {}) {
  const begun: QueuedRequest[] = [];
  const cancels: string[] = [];
  const inner = options.dispatch ?? answering(completed({ image: "drawn" }));
  const dispatch: Dispatch = (request, signal) => {
    begun.push(request);
    signal.addEventListener("abort", () => cancels.push(request.id));
    return inner(request, signal);
  };
  const { concurrency = 4, maxQueued = 1_000 } = options;
  const queue = createMemoryQueue({ dispatch, concurrency, maxQueued });
  let ids = 0;
  const server = createServer({
    app,
    queue,
    files: options.files ?? noFiles,
    readiness: options.readiness ?? (() => ({ ready: true })),
    access: { host: "127.0.0.1", port: 0, origins: [], ...options.access },
    logger: options.logger ?? silentLogger,
    newId: () => `request-${++ids}`,
  });
  return { server, queue, begun, cancels };
}

export function answering(...events: RequestEvent[]): Dispatch {
  return async function* () {
    yield* events;
  };
}

/** Sends the events, then waits until it is cancelled. */
export function untilCancelled(...events: RequestEvent[]): Dispatch {
  return async function* (_request, signal) {
    yield* events;
    if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    yield { type: "cancelled" };
  };
}

/** Waits for what another process or socket brings about; fails after ten seconds. */
export async function eventually(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 2_000; tries++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error("it never came about");
}
