// Where what Python tells beside results goes: to the request that runs, or, outside of one, to the log as waits and lines.
import type { ContextSink } from "../app/context.ts";
import { stageName } from "../app/context.ts";
import type { Logger, Wait } from "../log.ts";
import { parseWorkerEvent } from "./worker-event.ts";

/** Where what Python says of one request goes. */
export interface InstanceSink extends ContextSink {
  line(source: "stdout" | "stderr", line: string): void;
}

/** Outside of requests: progress is a wait that people see, what Python prints is a log line. */
export class LogSink implements InstanceSink {
  readonly #logger: Logger;
  /** Waits that are not finished, by label: loops nest, so several may be open. */
  readonly #open = new Map<string, Wait>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  progress(step: number, total: number | null, stage: string | null): void {
    const label = stage ?? "warm-up";
    const wait: Wait = { id: `setup ${label}`, label, done: step, total, unit: "steps" };
    if (total !== null && step >= total) return this.#finish(wait);
    this.#open.set(wait.id, wait);
    this.#logger.wait(wait);
  }

  log(message: string): void {
    this.#logger.info(message);
  }

  /** Libraries warn a lot on stderr, and little of it concerns whoever runs the app. */
  line(source: "stdout" | "stderr", line: string): void {
    if (source === "stdout") this.#logger.info(line);
    else this.#logger.debug(`${source}: ${line}`);
  }

  /** Nothing more comes: whatever is still open has ended. */
  finish(): void {
    for (const wait of [...this.#open.values()]) this.#finish(wait);
  }

  #finish(wait: Wait): void {
    this.#open.delete(wait.id);
    this.#logger.wait({ ...wait, finished: true });
  }
}

/** The same sink, for Python's progress inside of stages. */
export function staged(sink: InstanceSink, stages: readonly string[]): InstanceSink {
  if (stages.length === 0) return sink;
  return {
    progress: (step, total, stage) => sink.progress(step, total, stageName(stages, stage)),
    log: (message) => sink.log(message),
    line: (source, line) => sink.line(source, line),
  };
}

/** One event of the worker, to the sink of its request. */
export function deliver(event: unknown, sink: InstanceSink, logger: Logger): void {
  const known = parseWorkerEvent(event);
  if (known === undefined) return logger.debug(`Python sent an event of an unknown kind: ${JSON.stringify(event)}`);
  if (known.kind === "progress") sink.progress(known.step, known.total, known.stage);
  else if (known.kind === "log") sink.log(known.message);
  else logger.info(known.message);
}
