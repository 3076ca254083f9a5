// The request that is being carried out, for the handler and for everything that it calls: id, signal, progress, logs.
// Carried by AsyncLocalStorage, beside the bridge's scope. Knows no queue: events go to the sink that it is handed.
import { AsyncLocalStorage } from "node:async_hooks";
import { setMaxListeners } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Scopes } from "../bridge/scope.ts";
import type { FileStore } from "./files.ts";

/** What a handler is given beside its input. */
export interface Context {
  /** As callers know it; "detached" where an endpoint is called outside of any request. */
  readonly requestId: string;
  /** Fires when the request is cancelled; Python calls of the request are cancelled with it. */
  readonly signal: AbortSignal;
  /** Progress of your own, from step 1. Steps of diffusers pipelines are reported without it. */
  progress(step: number, totalSteps?: number, stage?: string): void;
  /** A line among the events of this request. */
  log(message: string): void;
  /** Names what follows in the progress of this request: "variation 2/4". Stages nest. */
  stage<R>(name: string, body: () => Promise<R>): Promise<R>;
  /** Python calls inside are not stopped by this request's cancel: for clean-up and shared loads. */
  shield<R>(body: () => Promise<R>): Promise<R>;
}

/** Where a request's events go. */
export interface ContextSink {
  progress(step: number, total: number | null, stage: string | null): void;
  log(message: string): void;
}

export interface RequestFrame {
  readonly requestId: string;
  readonly signal: AbortSignal;
  readonly sink: ContextSink;
  readonly files: FileStore;
  /** Of the worker that serves this request. */
  readonly scopes: Scopes;
  /** A number under which Python reports this request's progress and logs, before anything is called, and the stages it belongs to. */
  onTag?(tag: number, stages: readonly string[]): void;
}

type Scope = ReturnType<Scopes["create"]>;

/** What one request has open, from its start to its end. */
interface Request {
  readonly frame: RequestFrame;
  /** They end with the request, as functions passed to Python live until then. */
  readonly scopes: Scope[];
  /** Promises that were rejected while nobody looked, and why. */
  readonly rejected: Map<Promise<unknown>, unknown>;
  hasEnded: boolean;
}

/** Where in a request we are. */
interface Current {
  readonly request: Request;
  readonly context: Context;
  readonly stages: readonly string[];
  /** Stops Python calls; undefined inside `shield`. */
  readonly signal: AbortSignal | undefined;
}

/** One store for the process: a request is found by whoever runs inside it, whichever app made it. */
const storage = new AsyncLocalStorage<Current>();

/**
 * Carries out `body` as a request: Python calls carry its signal, and work that nobody awaited is waited for at the end.
 * @throws what body throws, or else the first failure of unawaited work
 */
export async function runRequest<R>(frame: RequestFrame, body: (context: Context) => Promise<R>): Promise<R> {
  const { signal } = frame;
  const request: Request = { frame, scopes: [], rejected: new Map(), hasEnded: false };
  const context = createContext(frame);
  try {
    const result = await inScope({ request, context, stages: [], signal }, () => body(context));
    for (const scope of request.scopes) await scope.settle();
    // Node tells of rejected promises once the turn is over; what Python printed before its last answer is read in it as well.
    await nextTurn();
    for (const reason of request.rejected.values()) throw reason;
    return result;
  } finally {
    // Also after a failure: the request has ended when the worker is free of it.
    for (const scope of request.scopes) {
      await scope.settle().catch(() => {});
      scope.end();
    }
    // What was rejected along with the failure has been told by it.
    await nextTurn();
    request.hasEnded = true;
  }
}

/** A rejected promise that nobody looks at, and that a request made. */
export interface ClaimedRejection {
  /** The request has ended already: it can no longer fail over this. */
  readonly isLate: boolean;
  /** Somebody looks at it after all. */
  forget(): void;
}

/** Called where Node reports a rejection: it fails the request that made the promise. Undefined: no request made it. */
export function claimRejection(promise: Promise<unknown>, reason: unknown): ClaimedRejection | undefined {
  const request = storage.getStore()?.request;
  if (request === undefined) return undefined;
  request.rejected.set(promise, reason);
  return { isLate: request.hasEnded, forget: () => void request.rejected.delete(promise) };
}

/** Runs a part of the request whose Python calls also stop when this signal fires. Must be inside of a request. */
export async function runWithSignal<R>(
  outer: Context,
  signal: AbortSignal,
  body: (context: Context) => Promise<R>,
): Promise<R> {
  const current = storage.getStore();
  const either = (one: AbortSignal | undefined): AbortSignal =>
    one === undefined ? signal : AbortSignal.any([one, signal]);
  const context = { ...outer, signal: either(outer.signal) };
  if (current === undefined) return body(context);
  return inScope({ ...current, context, signal: either(current.signal) }, () => body(context));
}

/** Runs `body` with a scope, and so a tag, of its own; what it started and did not await ends with it. */
async function inScope<R>(current: Current, body: () => Promise<R>): Promise<R> {
  const { request, signal, stages } = current;
  const { frame } = request;
  // Each stage listens to the same signal until the request ends; eleven of them are no leak.
  if (signal !== undefined) setMaxListeners(0, signal);
  const scope = frame.scopes.create(signal);
  request.scopes.push(scope);
  frame.onTag?.(scope.tag, stages);
  return frame.scopes.run(scope, () =>
    storage.run(current, async () => {
      const result = await body();
      await scope.settle();
      return result;
    }),
  );
}

/** Binds every `next()` of an async iterable to the request that runs now: a generator otherwise runs in its consumer's context. */
export function bindIterable<T>(source: AsyncIterable<T>): AsyncIterable<T> {
  const iterator = source[Symbol.asyncIterator]();
  const enter = AsyncLocalStorage.snapshot();
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => enter(() => iterator.next()),
      return: (value?: unknown) => enter(async () => iterator.return?.(value) ?? { done: true as const, value }),
    }),
  };
}

export function currentContext(): Context | undefined {
  return storage.getStore()?.context;
}

export function currentFrame(): RequestFrame | undefined {
  return storage.getStore()?.request.frame;
}

/** Outside of any request (tests, scripts): no progress, its own signal. */
export function detachedContext(signal: AbortSignal = new AbortController().signal): Context {
  return {
    requestId: "detached",
    signal,
    progress: () => {},
    log: () => {},
    stage: (_name, body) => body(),
    shield: (body) => body(),
  };
}

function createContext(frame: RequestFrame): Context {
  const inside = <R>(body: () => Promise<R>, change: (current: Current) => Partial<Current>): Promise<R> => {
    const current = storage.getStore();
    return current === undefined ? body() : inScope({ ...current, ...change(current) }, body);
  };
  return {
    requestId: frame.requestId,
    signal: frame.signal,
    progress: (step, total, stage) =>
      frame.sink.progress(step, total ?? null, stageName(storage.getStore()?.stages ?? [], stage)),
    log: (message) => frame.sink.log(message),
    stage: (name, body) => inside(body, ({ stages }) => ({ stages: [...stages, name] })),
    shield: (body) => inside(body, () => ({ signal: undefined })),
  };
}

/** As it is shown: stages from the outermost in, then the name that the progress itself has. */
export function stageName(stages: readonly string[], own: string | null | undefined): string | null {
  return [...stages, ...(own ? [own] : [])].join(" · ") || null;
}
