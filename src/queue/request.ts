// One request as the queue sees it: its event stream, and the status that follows from the last event.
// Knows no HTTP, no app and no worker: the work itself is a `Dispatch` that is handed in.
import type { ErrorCode, InputIssue } from "../errors.ts";

/** A failure as it is told to the outside. */
export interface RequestFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly issues?: readonly InputIssue[];
  /** Python's type and traceback, where Python raised. */
  readonly pythonType?: string;
  readonly traceback?: string;
  /** The lines of TypeScript, for the developer's own terminal: never told over the wire. */
  readonly stack?: string;
}

/** Everything that can be known of a request, in order. Exactly one of completed, failed and cancelled ends it. */
export type RequestEvent =
  | { readonly type: "queued"; readonly position: number }
  | { readonly type: "started" }
  | {
      readonly type: "progress";
      readonly step: number;
      /** Null while it is not known. */
      readonly total: number | null;
      readonly stage: string | null;
      /** Steps per second over the last steps; null at the first. */
      readonly rate: number | null;
      /** Seconds left at that rate; null while unknown. */
      readonly secondsLeft: number | null;
    }
  | { readonly type: "log"; readonly message: string; readonly source: "app" | "stdout" | "stderr" }
  | { readonly type: "output"; readonly chunk: unknown }
  | { readonly type: "completed"; readonly output: unknown; readonly seconds: number }
  | { readonly type: "failed"; readonly error: RequestFailure }
  | { readonly type: "cancelled" };

export type TerminalEvent = Extract<RequestEvent, { type: "completed" | "failed" | "cancelled" }>;

/** fal's words, exactly. */
export type RequestStatus = "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED";

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

/** Status is a function of the last event, never a second field. */
export function statusOf(last: RequestEvent | undefined): RequestStatus {
  if (last === undefined || last.type === "queued") return "IN_QUEUE";
  return isTerminal(last) ? "COMPLETED" : "IN_PROGRESS";
}
