// A Host without Python for the commands' tests: plays a script of events and remembers what it was asked.
import type { AppClass } from "../../src/app/app.ts";
import { describeApp } from "../../src/app/app.ts";
import type { FileStore } from "../../src/app/files.ts";
import type { CreateHost } from "../../src/cli/run.ts";
import { readSettings, type Settings } from "../../src/config.ts";
import { cancelled } from "../../src/errors.ts";
import type { Host } from "../../src/host/contract.ts";
import type { Logger, Wait } from "../../src/log.ts";
import type { RequestEvent } from "../../src/queue/request.ts";

export interface FakeScript {
  /** What a request yields; given the store, so that it can write files. */
  readonly events?: (input: unknown, files: FileStore) => AsyncIterable<RequestEvent>;
  readonly start?: (signal: AbortSignal | undefined) => Promise<void>;
  readonly listen?: () => Promise<string>;
}

export interface FakeCalls {
  readonly submitted: { endpoint: string; input: unknown }[];
  readonly said: string[];
}

export function fakeHost(script: FakeScript): { createHost: CreateHost; calls: FakeCalls } {
  const calls: FakeCalls = { submitted: [], said: [] };
  const createHost: CreateHost = (app: AppClass, options): Host => {
    calls.said.push(`created for ${options.file}`);
    return {
      description: describeApp(app),
      timings: [
        { phase: "environment", seconds: 0.1 },
        { phase: "setup", seconds: 9.84 },
      ],
      async start({ signal } = {}) {
        calls.said.push("started");
        await script.start?.(signal);
      },
      async *submit(endpoint, input, { signal } = {}) {
        calls.submitted.push({ endpoint, input });
        const { files } = options;
        if (files === undefined) throw new Error("run hands its own store to the host");
        for await (const event of script.events?.(input, files) ?? []) {
          if (signal?.aborted) throw cancelled(signal.reason, "the request");
          yield event;
        }
      },
      async listen(address = {}) {
        calls.said.push(`listening on ${address.host}:${address.port}`);
        return (await script.listen?.()) ?? `http://${address.host}:${address.port}/`;
      },
      fetch: async () => new Response(null, { status: 404 }),
      async close() {
        calls.said.push("closed");
      },
      async [Symbol.asyncDispose]() {
        await this.close();
      },
    };
  };
  return { createHost, calls };
}

/** A logger that keeps everything. */
export function recordingLogger(): Logger & { readonly lines: string[]; readonly waits: Wait[] } {
  const lines: string[] = [];
  const waits: Wait[] = [];
  const line = (level: string) => (message: string) => void lines.push(`${level}: ${message}`);
  const wait = (one: Wait) => void waits.push(one);
  return { lines, waits, debug: line("debug"), info: line("info"), warn: line("warn"), error: line("error"), wait };
}

export function testSettings(more: Partial<Settings> = {}): Settings {
  return { ...readSettings({ HOME: "/home/me" }), ...more };
}
