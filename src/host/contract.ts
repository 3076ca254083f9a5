// What a host is to those who start one (cli, testing, users): the interface alone, so that it can be read in a minute.
import type { AppDescription } from "../app/description.ts";
import type { RequestEvent } from "../queue/request.ts";

/** Where the seconds of a start went: environment, python, setup. */
export interface PhaseTiming {
  readonly phase: string;
  readonly seconds: number;
}

export interface Host extends AsyncDisposable {
  readonly description: AppDescription;
  readonly timings: readonly PhaseTiming[];
  /**
   * Provisions Python, starts the worker and runs `setup()`. Calling it again waits for the same start.
   * @throws FlambeauError of any environment code, SETUP_FAILED, WORKER_EXITED, CANCELLED
   */
  start(options?: { signal?: AbortSignal }): Promise<void>;
  /**
   * Queues one request and yields its events up to the terminal one. The signal cancels the request; so does leaving the loop early.
   * @param endpoint path (`/`) or field name (`textToImage`)
   * @throws FlambeauError INPUT_INVALID, NOT_FOUND, QUEUE_FULL before anything reaches Python
   */
  submit(endpoint: string, input: unknown, options?: { signal?: AbortSignal }): AsyncIterable<RequestEvent>;
  /** Listens for HTTP and WebSocket; resolves with the URL. */
  listen(options?: { port?: number; host?: string }): Promise<string>;
  /** The same routes without a socket: for tests, Next, Express. */
  readonly fetch: (request: Request) => Promise<Response>;
  /** Drains, runs `teardown()`, ends the worker. */
  close(): Promise<void>;
}
