// One request as the queue sees it: what can happen to it, in events.
// Knows no HTTP, no app and no worker: the work itself is a `Dispatch` that is handed in.
import type { ErrorCode, InputIssue } from "../errors.ts";

/** A failure as it is told to the outside. */
export interface RequestFailure {
  readonly code: ErrorCode;
  /** For people; branch on `code`. */
  readonly message: string;
  /** Whether trying the same thing again can succeed. */
  readonly retryable: boolean;
  /** Of INPUT_INVALID and OUTPUT_INVALID: the fields at fault. */
  readonly issues?: readonly InputIssue[];
  /** Python's type and traceback, where Python raised. */
  readonly pythonType?: string;
  readonly traceback?: string;
  /** The lines of TypeScript, for the developer's own terminal: never told over the wire. */
  readonly stack?: string;
}

/** Everything that can be known of a request, in order. Exactly one of completed, failed and cancelled ends it. */
export type RequestEvent =
  | {
      readonly type: "queued";
      /** Requests ahead of it; 0 is next. */
      readonly position: number;
    }
  | { readonly type: "started" }
  | {
      readonly type: "progress";
      readonly step: number;
      /** Null while it is not known. */
      readonly total: number | null;
      /** What is going on, where it has a name: `variation 2/4`. */
      readonly stage: string | null;
      /** Steps per second over the last steps; null at the first. */
      readonly rate: number | null;
      /** Seconds left at that rate; null while unknown. */
      readonly secondsLeft: number | null;
    }
  | { readonly type: "log"; readonly message: string; readonly source: "app" | "stdout" | "stderr" }
  /** Of a stream: what it yielded. */
  | { readonly type: "output"; readonly chunk: unknown }
  | {
      readonly type: "completed";
      /** Null of a stream. */
      readonly output: unknown;
      /** Its wait in the queue not counted. */
      readonly seconds: number;
    }
  | { readonly type: "failed"; readonly error: RequestFailure }
  | { readonly type: "cancelled" };

export type TerminalEvent = Extract<RequestEvent, { type: "completed" | "failed" | "cancelled" }>;

/** What is queued: which endpoint, and its validated input. */
export interface QueuedRequest {
  readonly id: string;
  readonly endpoint: string;
  readonly input: unknown;
}

/** Carries out one request; the queue's only view of the work. Ends with exactly one terminal event; never throws. */
export type Dispatch = (request: QueuedRequest, signal: AbortSignal) => AsyncIterable<RequestEvent>;

export function isTerminal(event: RequestEvent): event is TerminalEvent {
  return event.type === "completed" || event.type === "failed" || event.type === "cancelled";
}
