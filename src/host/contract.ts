// What a host is to those who start one (cli, testing, users): the interface alone, so that it can be read in a minute.
import type { AppDescription } from "../app/description.ts";
import type { RequestEvent } from "../queue/request.ts";

/** Where the seconds of a start went: environment, python, setup. */
export interface PhaseTiming {
  /** `environment`, `python`, `setup`. */
  readonly phase: string;
  readonly seconds: number;
}

/** One app behind a queue, with its Python. Disposing of it is closing it. */
export interface Host extends AsyncDisposable {
  /** Known from the class alone, before anything is started. */
  readonly description: AppDescription;
  /** Of the starts so far, in order; empty before the first. */
  readonly timings: readonly PhaseTiming[];
  /**
   * Provisions Python, starts the worker and runs `setup()`. Calling it again waits for the same start, and the first request does it
   * where nobody has. The signal ends this wait and not the start, which others may share; `close` stops that.
   * @throws FlambeauError of any environment code, BAD_PYTHON, SETUP_FAILED, MODEL_UNREACHABLE, WORKER_EXITED, CRASH_LOOP, CANCELLED
   */
  start(options?: { signal?: AbortSignal }): Promise<void>;
  /**
   * Queues one request and yields its events up to the terminal one. The signal cancels the request; so does leaving the loop early.
   * @param endpoint path (`/`) or field name (`textToImage`)
   * @throws FlambeauError INPUT_INVALID, NOT_FOUND, QUEUE_FULL before anything reaches Python
   */
  submit(endpoint: string, input: unknown, options?: { signal?: AbortSignal }): AsyncIterable<RequestEvent>;
  /**
   * Listens for HTTP and WebSocket; resolves with the URL. Python is not started by it: requests wait for `start`, or do it.
   * @param options the settings' own by default; port 0 is any free one
   * @throws FlambeauError SETTINGS_INVALID: a port in use, an address that this machine does not have, no key where other machines can
   *   reach it, listening already; CANCELLED once closed
   */
  listen(options?: { port?: number; host?: string }): Promise<string>;
  /** The same routes without a socket: for tests, Next, Express. A failure is an answer with its status, and never thrown. */
  readonly fetch: (request: Request) => Promise<Response>;
  /**
   * Takes no more requests, cancels those that wait, lets those that run end (ten seconds, then they are cancelled), runs `teardown()`
   * and ends the worker. For good, and the same however often it is called.
   */
  close(): Promise<void>;
}
