// The request that is being carried out, for the handler and for everything that it calls: id, signal, progress, logs.
// Carried by AsyncLocalStorage, beside the bridge's scope. Knows no queue: events go to the sink that it is handed.
import { AsyncLocalStorage } from "node:async_hooks";
import type { Scopes } from "../bridge/scope.ts";
import type { FileStore } from "./files.ts";

/** What a handler is given beside its input. */
export interface Context {
  readonly requestId: string;
  /** Fires when the request is cancelled; Python calls of the request are cancelled with it. */
  readonly signal: AbortSignal;
  /** Progress of your own. Steps of diffusers pipelines are reported without it. */
  progress(step: number, totalSteps?: number, stage?: string): void;
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
  /** The number under which Python reports this request's progress and logs, before anything is called. */
  onTag?(tag: number): void;
}

interface Current {
  readonly context: Context;
  readonly frame: RequestFrame;
  readonly stages: readonly string[];
}

/** One store for the process: a request is found by whoever runs inside it, whichever app made it. */
const storage = new AsyncLocalStorage<Current>();

/**
 * Carries out `body` as a request: Python calls carry its signal, and work that nobody awaited is waited for at the end.
 * @throws what body throws, or else the first failure of unawaited work
 */
export async function runRequest<R>(frame: RequestFrame, body: (context: Context) => Promise<R>): Promise<R> {
  const scope = frame.scopes.create(frame.signal);
  frame.onTag?.(scope.tag);
  const context = createContext(frame);
  const current: Current = { context, frame, stages: [] };
  try {
    return await frame.scopes.run(scope, () =>
      storage.run(current, async () => {
        const result = await body(context);
        await scope.settle();
        return result;
      }),
    );
  } finally {
    // Also after a failure: the request has ended when the worker is free of it.
    await scope.settle().catch(() => {});
    scope.end();
  }
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
  return storage.getStore()?.frame;
}

/** Names of the stages that are entered, outermost first. */
export function currentStages(): readonly string[] {
  return storage.getStore()?.stages ?? [];
}

/** Outside of any request (tests, scripts): no progress, its own signal. */
export function detachedContext(options: { signal?: AbortSignal }): Context {
  const signal = options.signal ?? new AbortController().signal;
  const pass = <T>(inner: () => Promise<T>): Promise<T> => inner();
  return {
    requestId: "detached",
    signal,
    progress: () => {},
    log: () => {},
    stage: (_name, inner) => pass(inner),
    shield: pass,
  };
}

export function runDetached<R>(body: (context: Context) => Promise<R>, options: { signal?: AbortSignal }): Promise<R> {
  return body(detachedContext(options));
}

function createContext(frame: RequestFrame): Context {
  return {
    requestId: frame.requestId,
    signal: frame.signal,
    progress: (step, total, stage) => frame.sink.progress(step, total ?? null, stage ?? joined()),
    log: (message) => frame.sink.log(message),
    stage: (name, body) => {
      const current = storage.getStore();
      if (current === undefined) return body();
      return storage.run({ ...current, stages: [...current.stages, name] }, body);
    },
    shield: async (body) => {
      const scope = frame.scopes.create();
      try {
        return await frame.scopes.run(scope, async () => {
          const result = await body();
          await scope.settle();
          return result;
        });
      } finally {
        scope.end();
      }
    },
  };
}

function joined(): string | null {
  const stages = currentStages();
  return stages.length === 0 ? null : stages.join(" · ");
}
