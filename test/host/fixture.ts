// A host with a real worker for small apps of pure Python, and everything it says.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { AppClass } from "../../src/app/app.ts";
import { readSettings } from "../../src/config.ts";
import type { Host } from "../../src/host/contract.ts";
import { createHost, type HostOptions } from "../../src/host/host.ts";
import type { Logger, Wait } from "../../src/log.ts";
import { isTerminal, type RequestEvent, type TerminalEvent } from "../../src/queue/request.ts";
import { testPython } from "../support/python.ts";

export interface Told extends Logger {
  readonly lines: { readonly level: string; readonly message: string }[];
  readonly waits: Wait[];
}

export function recordingLogger(): Told {
  const lines: Told["lines"] = [];
  const waits: Wait[] = [];
  const at = (level: string) => (message: string) => void lines.push({ level, message });
  return {
    lines,
    waits,
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    wait: (wait) => void waits.push(wait),
  };
}

/** A folder that goes when the test has finished. */
export async function scratch(files: Readonly<Record<string, string>> = {}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "flambeau-host-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return folder;
}

export interface Started {
  readonly host: Host;
  readonly logger: Told;
}

/** Closed when the test has finished. Nothing is installed: the tests' own Python is named. */
export async function hostOf(app: AppClass, options: Partial<HostOptions> = {}): Promise<Started> {
  const logger = recordingLogger();
  const settings = {
    ...readSettings({ ...process.env, FLAMBEAU_CACHE_DIR: await scratch() }),
    python: await testPython(),
  };
  const host = createHost(app, { settings, logger, threads: 1, ...options });
  onTestFinished(() => host.close());
  return { host, logger };
}

export async function collect(events: AsyncIterable<RequestEvent>): Promise<RequestEvent[]> {
  const collected: RequestEvent[] = [];
  for await (const event of events) collected.push(event);
  return collected;
}

/** The event that ends a request. */
export async function ending(events: AsyncIterable<RequestEvent>): Promise<TerminalEvent> {
  for await (const event of events) if (isTerminal(event)) return event;
  throw new Error("the events ended without a terminal one");
}

/** What it came to. Throws when it did not complete. */
export async function output(events: AsyncIterable<RequestEvent>): Promise<unknown> {
  const end = await ending(events);
  if (end.type === "completed") return end.output;
  throw new Error(`expected it to complete, got ${JSON.stringify(end)}`);
}

/** Reads on its own; `seen` resolves at the first event that fits, `end` at the last. */
export function follow(events: AsyncIterable<RequestEvent>): {
  readonly all: RequestEvent[];
  readonly end: Promise<TerminalEvent>;
  seen(fits: (event: RequestEvent) => boolean): Promise<RequestEvent>;
} {
  const all: RequestEvent[] = [];
  const watchers = new Set<() => void>();
  const read = async (): Promise<TerminalEvent> => {
    for await (const event of events) {
      all.push(event);
      for (const watch of [...watchers]) watch();
      if (isTerminal(event)) return event;
    }
    throw new Error("the events ended without a terminal one");
  };
  const end = read();
  const seen = (fits: (event: RequestEvent) => boolean): Promise<RequestEvent> =>
    new Promise((resolve, reject) => {
      const watch = (): void => {
        const found = all.find(fits);
        if (found !== undefined) resolve(found);
        else if (all.some(isTerminal)) reject(new Error(`it ended before: ${JSON.stringify(all.at(-1))}`));
        else return;
        watchers.delete(watch);
      };
      watchers.add(watch);
      watch();
    });
  return { all, end, seen };
}

export const isLog =
  (text: string) =>
  (event: RequestEvent): boolean =>
    event.type === "log" && event.message.includes(text);
