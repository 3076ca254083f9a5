// One WebSocket: the runs started on it, their events, and how much of them may wait for a slow reader.
// Knows no HTTP; who may connect has been decided before. The messages are written down in README.md.
import type { RawData, WebSocket } from "ws";
import { z } from "zod";
import { toJson } from "../app/json.ts";
import { limits } from "../config.ts";
import { FlambeauError } from "../errors.ts";
import { failureOf } from "../queue/failure.ts";
import { isTerminal, type RequestEvent, type RequestFailure } from "../queue/request.ts";
import { type Admission, admit, findEndpoint } from "./admission.ts";
import { parseJson } from "./body.ts";
import { told } from "./status.ts";

const RunId = z.string().min(1).max(128);
const Identified = z.object({ id: RunId });
const ClientMessage = z.discriminatedUnion("type", [
  z.object({ type: z.literal("run"), id: RunId, endpoint: z.string().max(256), input: z.unknown() }),
  z.object({ type: z.literal("cancel"), id: RunId }),
]);
type ClientMessage = z.output<typeof ClientMessage>;

export type ServerMessage =
  | { readonly type: "event"; readonly id: string; readonly requestId: string; readonly event: RequestEvent }
  | { readonly type: "error"; readonly id: string | null; readonly error: RequestFailure };

export interface ConnectionOptions extends Admission {
  /** True where tracebacks may be told. */
  readonly isLocal: () => boolean;
}

interface Run {
  readonly requestId: string;
  /** Ends the reading of its events. */
  readonly reading: AbortController;
}

export class Connection {
  readonly #socket: WebSocket;
  readonly #options: ConnectionOptions;
  /** By the id that the client gave. */
  readonly #runs = new Map<string, Run>();
  #waiting = new Set<() => void>();
  #isAlive = true;
  #isDraining = false;

  constructor(socket: WebSocket, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on("message", (data, isBinary) => this.#receive(data, isBinary));
    socket.on("pong", () => this.#noteLife());
    socket.on("close", () => this.#leave());
  }

  /** Called once in each interval: asks for a sign of life, and ends the connection if the last one was not answered. */
  ping(): void {
    if (!this.#isAlive) return this.#socket.terminate();
    this.#isAlive = false;
    this.#socket.ping();
  }

  /** No more runs; closes once those that are open have ended. */
  drain(): void {
    this.#isDraining = true;
    if (this.#runs.size === 0) this.#socket.close(1001, "the server is closing");
  }

  #receive(data: RawData, isBinary: boolean): void {
    this.#noteLife();
    let id: string | null = null;
    try {
      const given = isBinary ? undefined : parseJson(data.toString());
      id = this.#freeId(given);
      const message = parseMessage(given);
      if (message.type === "run") return this.#start(message);
      const run = this.#runs.get(message.id);
      // A cancel that crosses the end of its run on the way is no error.
      if (run !== undefined) this.#options.queue.cancel(run.requestId);
    } catch (thrown) {
      this.#send({ type: "error", id, error: told(failureOf(thrown), this.#options.isLocal()) });
    }
  }

  /** The id that an error may carry. Not that of an open run: the client would take the error for its end. */
  #freeId(given: unknown): string | null {
    const named = Identified.safeParse(given);
    return named.success && !this.#runs.has(named.data.id) ? named.data.id : null;
  }

  #start({ id, endpoint, input }: Extract<ClientMessage, { type: "run" }>): void {
    if (this.#runs.has(id))
      throw new FlambeauError("BAD_REQUEST", `a run with the id ${id} is open; choose another id`);
    if (this.#isDraining) throw new FlambeauError("QUEUE_FULL", "the server is closing; try again once it is back");
    if (this.#runs.size >= limits.requestsPerSocketMax) {
      throw new FlambeauError(
        "QUEUE_FULL",
        `${limits.requestsPerSocketMax} runs are open on this socket; wait for one to end`,
      );
    }
    const requestId = admit(this.#options, findEndpoint(this.#options.app, endpoint), input);
    const run = { requestId, reading: new AbortController() };
    this.#runs.set(id, run);
    void this.#follow(id, run).finally(() => {
      this.#runs.delete(id);
      if (this.#isDraining) this.drain();
    });
  }

  /** Reads no faster than the socket takes: while it is full, progress is skipped but for the newest, and anything else waits. */
  async #follow(id: string, { requestId, reading }: Run): Promise<void> {
    const { signal } = reading;
    let skipped: RequestEvent | undefined;
    try {
      for await (const event of this.#options.queue.events(requestId, { signal })) {
        if (event.type === "progress" && this.#isFull) {
          skipped = event;
          continue;
        }
        while (this.#isFull && !signal.aborted) await this.#relief(signal);
        if (skipped !== undefined && event.type !== "progress" && !isTerminal(event)) {
          this.#send({ type: "event", id, requestId, event: skipped });
        }
        skipped = undefined;
        this.#send({ type: "event", id, requestId, event: this.#told(event) });
      }
    } catch (thrown) {
      if (signal.aborted) return;
      // An output that is no JSON: the run is over for this client, so it is over.
      this.#options.queue.cancel(requestId);
      this.#send({ type: "event", id, requestId, event: this.#told({ type: "failed", error: failureOf(thrown) }) });
    }
  }

  #told(event: RequestEvent): RequestEvent {
    return event.type === "failed" ? { type: "failed", error: told(event.error, this.#options.isLocal()) } : event;
  }

  get #isFull(): boolean {
    return this.#socket.bufferedAmount > limits.socketBufferedBytes;
  }

  #relief(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
    });
  }

  #send(message: ServerMessage): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    // Whatever is written out shows that the peer takes what it is sent, however slowly.
    this.#socket.send(toJson(message), (error) => (error ? undefined : this.#noteLife()));
  }

  #noteLife(): void {
    this.#isAlive = true;
    if (this.#isFull) return;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const wake of waiting) wake();
  }

  #leave(): void {
    for (const { requestId, reading } of this.#runs.values()) {
      reading.abort();
      this.#options.queue.cancel(requestId);
    }
  }
}

/** @throws FlambeauError BAD_REQUEST */
function parseMessage(given: unknown): ClientMessage {
  const parsed = ClientMessage.safeParse(given);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const expected = 'JSON text: {"type":"run","id":…,"endpoint":…,"input":…} or {"type":"cancel","id":…}';
  throw new FlambeauError(
    "BAD_REQUEST",
    `a message is ${expected}; at ${issue?.path.join(".") || "(root)"}: ${issue?.message}`,
  );
}
