// The queue that lives in this process: first in, first out, bounded, a stated number of runs at a time.
// Knows no app and no worker; the work is the Dispatch. Nothing survives the process.
import { setTimeout as sleepFor } from "node:timers/promises";
import { limits } from "../config.ts";
import { FlambeauError, toError } from "../errors.ts";
import { type Logger, silentLogger } from "../log.ts";
import type { QueueEngine } from "./engine.ts";
import { EventLog } from "./event-log.ts";
import { internalFailure } from "./failure.ts";
import { type Dispatch, isTerminal, type QueuedRequest, type RequestEvent, type TerminalEvent } from "./request.ts";

export interface MemoryQueueOptions {
  readonly dispatch: Dispatch;
  /** Runs at a time, at least 1. */
  readonly concurrency?: number;
  /** Requests that may wait beside those that run. */
  readonly maxQueued?: number;
  /** Finished requests that can still be asked about. */
  readonly requestsKept?: number;
  /** Progress and log events kept of each request. */
  readonly eventsKept?: number;
  /** Milliseconds; ends early when the signal fires. */
  readonly sleep?: (ms: number, options: { signal: AbortSignal }) => Promise<void>;
  readonly logger?: Logger;
}

/** One request and what has happened to it. */
interface Held {
  readonly request: QueuedRequest;
  readonly log: EventLog;
  readonly controller: AbortController;
}

export function createMemoryQueue(options: MemoryQueueOptions): QueueEngine {
  return new MemoryQueue(options);
}

class MemoryQueue implements QueueEngine {
  readonly #dispatch: Dispatch;
  readonly #concurrency: number;
  readonly #maxQueued: number;
  readonly #requestsKept: number;
  readonly #eventsKept: number;
  readonly #sleep: NonNullable<MemoryQueueOptions["sleep"]>;
  readonly #logger: Logger;
  readonly #records = new Map<string, Held>();
  readonly #waiting: Held[] = [];
  /** Each with the promise of its end, which never rejects. */
  readonly #running = new Map<Held, Promise<void>>();
  /** Ids in the order in which they finished. */
  readonly #finished: string[] = [];
  #closing: Promise<void> | undefined;

  constructor(options: MemoryQueueOptions) {
    this.#dispatch = options.dispatch;
    this.#concurrency = Math.max(1, options.concurrency ?? 1);
    this.#maxQueued = options.maxQueued ?? limits.queueMax;
    this.#requestsKept = options.requestsKept ?? limits.requestsKept;
    this.#eventsKept = options.eventsKept ?? limits.requestEventsKept;
    this.#sleep = options.sleep ?? ((ms, { signal }) => sleepFor(ms, undefined, { signal }));
    this.#logger = options.logger ?? silentLogger;
  }

  get stats(): { readonly queued: number; readonly running: number } {
    return { queued: this.#waiting.length, running: this.#running.size };
  }

  submit(request: QueuedRequest): void {
    if (this.#closing !== undefined) {
      throw new FlambeauError(
        "QUEUE_FULL",
        "the queue is closing and takes no more requests; try again once it is back",
      );
    }
    if (this.#records.has(request.id)) {
      throw new FlambeauError("INTERNAL", `a request with the id ${request.id} is already known; ids must be unique`);
    }
    if (this.#running.size >= this.#concurrency && this.#waiting.length >= this.#maxQueued) {
      const held = `${this.#waiting.length} requests are waiting and ${this.#running.size} running`;
      throw new FlambeauError(
        "QUEUE_FULL",
        `the queue is full: ${held}, at most ${this.#maxQueued} may wait; try again later`,
      );
    }
    const record = { request, log: new EventLog(this.#eventsKept), controller: new AbortController() };
    this.#records.set(request.id, record);
    this.#waiting.push(record);
    record.log.push({ type: "queued", position: this.#waiting.length - 1 });
    this.#advance();
  }

  events(id: string, options: { signal?: AbortSignal } = {}): AsyncIterable<RequestEvent> {
    const record = this.#records.get(id);
    if (record === undefined) {
      throw new FlambeauError(
        "NOT_FOUND",
        `no request ${id}: it was never submitted, or finished too long ago to be kept`,
      );
    }
    return record.log.read(options.signal);
  }

  cancel(id: string): boolean {
    const record = this.#records.get(id);
    if (record === undefined || record.log.terminal !== undefined) return false;
    record.controller.abort(new FlambeauError("CANCELLED", `request ${id} was cancelled`));
    const place = this.#waiting.indexOf(record);
    if (place >= 0) {
      this.#waiting.splice(place, 1);
      this.#finish(record, { type: "cancelled" });
      this.#advance();
    }
    return true;
  }

  last(id: string): RequestEvent | undefined {
    return this.#records.get(id)?.log.last;
  }

  close(options: { timeoutMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#drain(options.timeoutMs ?? limits.drainTimeoutMs);
    return this.#closing;
  }

  /** Starts what may start, then tells those still waiting where they stand. */
  #advance(): void {
    while (this.#running.size < this.#concurrency) {
      const record = this.#waiting.shift();
      if (record === undefined) break;
      record.log.push({ type: "started" });
      // The entry must stand before the run begins: a Dispatch may submit or cancel while it starts.
      const begun = Promise.resolve().then(() => this.#run(record));
      this.#running.set(record, begun);
    }
    for (const [position, { log }] of this.#waiting.entries()) {
      if (log.last?.type !== "queued" || log.last.position !== position) log.push({ type: "queued", position });
    }
  }

  async #run(record: Held): Promise<void> {
    const terminal = await this.#outcome(record);
    this.#running.delete(record);
    this.#finish(record, terminal);
    this.#advance();
  }

  /** The terminal event is held until the Dispatch has really ended, because done means that the worker is free again. */
  async #outcome({ request, log, controller }: Held): Promise<TerminalEvent> {
    let terminal: TerminalEvent | undefined;
    if (controller.signal.aborted) return { type: "cancelled" };
    try {
      for await (const event of this.#dispatch(request, controller.signal)) {
        if (terminal !== undefined) return this.#defect(request, `sent '${event.type}' after '${terminal.type}'`);
        if (isTerminal(event)) terminal = event;
        else if (event.type !== "queued" && event.type !== "started") log.push(event);
      }
    } catch (thrown) {
      if (!controller.signal.aborted) return this.#defect(request, `threw ${toError(thrown).message}`);
    }
    if (terminal !== undefined) return terminal;
    return controller.signal.aborted ? { type: "cancelled" } : this.#defect(request, "ended without saying how");
  }

  #defect(request: QueuedRequest, what: string): TerminalEvent {
    const message = `the dispatch of request ${request.id} ${what}; this is a defect of Flambeau`;
    this.#logger.error(message);
    return { type: "failed", error: internalFailure(message) };
  }

  #finish(record: Held, terminal: TerminalEvent): void {
    // A run that outlived close() has been told cancelled already.
    if (record.log.terminal !== undefined) return;
    record.log.push(terminal);
    this.#finished.push(record.request.id);
    while (this.#finished.length > this.#requestsKept) this.#records.delete(this.#finished.shift() ?? "");
  }

  async #drain(timeoutMs: number): Promise<void> {
    for (const { request } of [...this.#waiting]) this.cancel(request.id);
    await this.#ended(timeoutMs);
    for (const { request } of this.#running.keys()) this.cancel(request.id);
    // What a worker may take to stop, and to be killed if it does not: then nothing can be running any more.
    await this.#ended(limits.cancelGraceMs + limits.shutdownGraceMs);
    for (const record of this.#running.keys()) this.#finish(record, { type: "cancelled" });
  }

  async #ended(timeoutMs: number): Promise<void> {
    if (this.#running.size === 0) return;
    const enough = new AbortController();
    const timeout = this.#sleep(timeoutMs, { signal: enough.signal }).catch(() => {});
    await Promise.race([Promise.all(this.#running.values()), timeout]);
    enough.abort();
  }
}
