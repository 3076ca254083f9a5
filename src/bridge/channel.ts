// Calls over one transport: ids, open calls, cancels, releases, functions that Python calls. When the transport ends, every open
// call fails once. Knows no process: whoever owns one says why it ended.
import type { Duplex } from "node:stream";
import { z } from "zod";
import { cancelled, FlambeauError, toError } from "../errors.ts";
import { PyCall } from "./call.ts";
import { array, Decoder, type Expected, type HandleFields, integer } from "./decode.ts";
import { type EncodedMessage, Encoder } from "./encode.ts";
import { type Handle, Handles } from "./handles.ts";
import { FrameType, type Header, type Op, PROTOCOL_VERSION } from "./protocol.ts";
import { errorFromFailure } from "./py-error.ts";
import { type CallScope, Scopes } from "./scope.ts";
import { Transport } from "./transport.ts";
import { RECIPE, type Recipe, recipeOf, type Step } from "./values.ts";

export interface ChannelLimits {
  readonly maxFrameBytes: number;
  readonly chunkBytes: number;
  readonly inlineBytes: number;
  readonly maxAttachmentBytes: number;
  readonly maxDepth: number;
  readonly maxItems: number;
  readonly helloTimeoutMs: number;
  readonly maxPendingCalls: number;
  readonly cancelGraceMs: number;
  readonly releaseBatchMs: number;
  readonly releaseBatchCount: number;
}

export interface ChannelOptions {
  readonly limits: ChannelLimits;
  /** Whose proxies may travel here; those of another owner are stale. */
  readonly owner: object;
  /** The proxy of a handle. */
  wrap(handle: Handle): object;
  /** Progress, logs and notices; the tag says of which scope. */
  onEvent?(tag: number, event: unknown): void;
  /** A call outside of any request failed and nobody has asked for its outcome. */
  onUnseen?(error: Error): void;
  /** The transport ended. Whoever handles this calls `fail`, knowing better why; otherwise the channel fails by itself. */
  onEnd?(error: Error | undefined): void;
  /** A cancelled call has not ended within `cancelGraceMs`. */
  onStuck?(call: PyCall): void;
  /** Something became open, or nothing is any more. */
  onBusy?(isBusy: boolean): void;
}

export interface CallSpec {
  readonly op: Op;
  readonly target: Recipe;
  readonly steps: readonly Step[];
  readonly args?: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
  /** For messages: `pipeline.unet.to()`. */
  readonly path: string;
  readonly options?: CallOptions | undefined;
}

export interface CallOptions {
  /** Undefined: the signal of the request; null: none. */
  readonly signal?: AbortSignal | null;
  readonly timeoutMs?: number;
}

const Hello = z.object({
  protocol: z.literal("flambeau"),
  version: z.number(),
  pid: z.number(),
  python: z.string(),
  executable: z.string(),
  platform: z.string(),
});
export type WorkerHello = z.output<typeof Hello>;

const Pong = z.object({
  running: z.number().nullable(),
  running_ms: z.number(),
  queued: z.number(),
  handles: z.number(),
  bytes: z.number(),
});
export type WorkerStats = z.output<typeof Pong>;

type AnyFunction = (...args: unknown[]) => unknown;

export class Channel {
  readonly scopes = new Scopes();
  readonly handles: Handles;
  readonly #transport: Transport;
  readonly #options: ChannelOptions;
  readonly #encoder: Encoder;
  readonly #decoder: Decoder;
  readonly #calls = new Map<number, PyCall>();
  readonly #questions = new Map<number, (body: unknown) => void>();
  readonly #functions = new Map<number, { readonly fn: AnyFunction; readonly scope: CallScope }>();
  /** Messages whose attachments are not whole yet, by attachment. */
  readonly #waiting = new Map<number, { left: number; deliver: () => void }>();
  #ended: Error | undefined;
  #nextId = 1;
  #isBusy = false;
  #held: unknown[] = [];

  constructor(stream: Duplex, options: ChannelOptions) {
    this.#options = options;
    const { limits } = options;
    this.handles = new Handles((pairs) => this.#send(FrameType.release, 0, this.#encoder.message(pairs)), {
      ms: limits.releaseBatchMs,
      count: limits.releaseBatchCount,
    });
    this.#encoder = new Encoder({
      owner: options.owner,
      limits,
      nextAttachmentId: () => this.#nextId++,
      registerFunction: (fn) => this.#registerFunction(fn as AnyFunction),
      onRef: (recipe) => this.#held.push(recipe),
    });
    this.#decoder = new Decoder({
      limits,
      onHandle: (fields: HandleFields) => options.wrap(this.handles.received(fields)),
    });
    this.#transport = new Transport(stream, limits, {
      onFrame: (header, body) => this.#receive(header, body),
      onAttachment: (id) => this.#attached(id),
      onEnd: (error) => {
        if (options.onEnd !== undefined) options.onEnd(error);
        else this.fail(error ?? new FlambeauError("WORKER_EXITED", "The channel to Python was closed."));
      },
    });
  }

  get ended(): Error | undefined {
    return this.#ended;
  }

  get openCalls(): readonly PyCall[] {
    return [...this.#calls.values()];
  }

  /**
   * Greets the worker; nothing else may be sent before.
   * @throws FlambeauError PROTOCOL_ERROR (another version), TIMEOUT, WORKER_EXITED
   */
  async hello(setup: Readonly<Record<string, unknown>>): Promise<WorkerHello> {
    const answer = this.#question(FrameType.hello, 0);
    this.#send(FrameType.hello, 0, this.#encoder.message({ protocol: "flambeau", version: PROTOCOL_VERSION, setup }));
    const hello = Hello.safeParse(
      await within(answer, this.#options.limits.helloTimeoutMs, "Python did not say hello"),
    );
    if (hello.success && hello.data.version === PROTOCOL_VERSION) return hello.data;
    const theirs = hello.success ? `version ${hello.data.version}` : "something else";
    throw new FlambeauError(
      "PROTOCOL_ERROR",
      `The worker speaks ${theirs} and this host version ${PROTOCOL_VERSION} of the protocol. Reinstall flambeau so that both halves match.`,
    );
  }

  /** Sends a call in order behind all earlier ones. Never throws: what is wrong is the call's outcome. */
  call(spec: CallSpec): PyCall {
    const id = this.#nextId++;
    const call = new PyCall(id, spec.path, (reason) => this.#cancel(call, reason));
    const scope = this.scopes.current;
    try {
      this.#refuse(scope, spec);
      this.#held = [];
      const message = this.#encoder.message([
        spec.op,
        { [RECIPE]: spec.target },
        spec.steps.map((step) => (typeof step === "string" ? step : [step.item])),
        spec.args ?? [],
        spec.kwargs ?? {},
        scope.tag,
      ]);
      call.held = this.#held;
      this.#calls.set(id, call);
      this.#busy();
      scope.add(call);
      this.#limit(call, spec.options);
      this.#send(FrameType.call, id, message);
    } catch (thrown) {
      call.settle({ kind: "failed", error: toError(thrown) });
      scope.add(call);
    }
    if (scope.tag === 1) this.#watchUnseen(call);
    return call;
  }

  async ping(): Promise<WorkerStats> {
    const id = this.#nextId++;
    const answer = this.#question(FrameType.pong, id);
    this.#send(FrameType.ping, id, this.#encoder.message(null));
    return Pong.parse(await answer);
  }

  /** The Python stack of the main thread, also while it is busy. */
  async stack(): Promise<string> {
    const id = this.#nextId++;
    const answer = this.#question(FrameType.stack, id);
    this.#send(FrameType.dump, id, this.#encoder.message(null));
    return String(await answer);
  }

  /** Asks the worker to end itself. */
  shutdown(): void {
    this.#send(FrameType.shutdown, 0, this.#encoder.message(null));
  }

  /** The worker is gone: every open call fails with this, once, and so does every later one. */
  fail(error: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    for (const call of this.#calls.values()) call.settle({ kind: "failed", error });
    this.#calls.clear();
    for (const answer of this.#questions.values()) answer(error);
    this.#questions.clear();
    this.#functions.clear();
    this.#waiting.clear();
    this.handles.clear();
    this.#busy();
    this.#transport.close();
  }

  #refuse(scope: CallScope, spec: CallSpec): void {
    if (this.#ended !== undefined) throw this.#ended;
    const signal = spec.options?.signal;
    if (signal?.aborted) throw cancelled(signal.reason, spec.path);
    if (signal === undefined && scope.aborted) throw cancelled(scope.aborted.reason, spec.path);
    const { maxPendingCalls } = this.#options.limits;
    if (this.#calls.size >= maxPendingCalls) {
      throw new FlambeauError(
        "QUEUE_FULL",
        `${maxPendingCalls} calls to Python are open; await some before making more.`,
      );
    }
  }

  #limit(call: PyCall, options: CallOptions | undefined): void {
    if (options?.signal) {
      const { signal } = options;
      const abort = (): void => call.cancel(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
      void call.outcome.then(() => signal.removeEventListener("abort", abort));
    }
    if (options?.timeoutMs !== undefined) {
      const { timeoutMs } = options;
      const timer = setTimeout(
        () => call.cancel(new FlambeauError("TIMEOUT", `${call.path} took longer than ${timeoutMs} ms`)),
        timeoutMs,
      );
      void call.outcome.then(() => clearTimeout(timer));
    }
  }

  #cancel(call: PyCall, reason: unknown): void {
    if (call.reason !== undefined || call.state.kind !== "pending") return;
    call.reason = reason ?? "cancelled";
    this.#send(FrameType.cancel, call.id, this.#encoder.message(null));
    const timer = setTimeout(() => this.#options.onStuck?.(call), this.#options.limits.cancelGraceMs);
    void call.outcome.then(() => clearTimeout(timer));
  }

  /** Tells the owner when the first thing becomes open and when the last one is answered. */
  #busy(): void {
    const isBusy = this.#calls.size + this.#questions.size > 0;
    if (isBusy === this.#isBusy) return;
    this.#isBusy = isBusy;
    this.#options.onBusy?.(isBusy);
  }

  #watchUnseen(call: PyCall): void {
    void call.outcome.then((error) => {
      if (error !== undefined) setTimeout(() => call.observed || this.#options.onUnseen?.(error), 0).unref();
    });
  }

  #send(type: FrameType, id: number, message: EncodedMessage): void {
    if (this.#ended !== undefined) return;
    this.#transport.send(type, id, message.bytes);
    for (const attachment of message.attachments) this.#transport.sendAttachment(attachment.id, attachment.bytes);
  }

  #question(type: FrameType, id: number): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#questions.set(type * 2 ** 40 + id, (body) => (body instanceof Error ? reject(body) : resolve(body)));
      this.#busy();
    });
  }

  #answer(type: FrameType, id: number, body: unknown): void {
    const key = type * 2 ** 40 + id;
    const answer = this.#questions.get(key);
    this.#questions.delete(key);
    this.#busy();
    answer?.(body);
  }

  #receive(header: Header, body: Uint8Array): void {
    const { value, expected } = this.#decoder.message(body);
    if (expected.length === 0) return this.#deliver(header, value);
    this.#await(expected, () => this.#deliver(header, value));
  }

  #await(expected: readonly Expected[], deliver: () => void): void {
    const waiting = { left: expected.length, deliver };
    for (const { id } of expected) this.#waiting.set(id, waiting);
    for (const { id, bytes } of expected) this.#transport.expect(id, bytes);
  }

  #attached(id: number): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting !== undefined && --waiting.left === 0) waiting.deliver();
  }

  #deliver({ type, id }: Header, value: unknown): void {
    switch (type) {
      case FrameType.result:
        return this.#result(id, value);
      case FrameType.failure:
        return this.#failure(id, value);
      case FrameType.event:
        return this.#options.onEvent?.(id, value);
      case FrameType.invoke:
        return void this.#invoke(id, array(value));
      case FrameType.hello:
      case FrameType.pong:
      case FrameType.stack:
        return this.#answer(type, id, value);
      default:
        throw new FlambeauError(
          "PROTOCOL_ERROR",
          `The worker sent a frame of type ${type}, which only the host sends.`,
        );
    }
  }

  #result(id: number, value: unknown): void {
    const call = this.#take(id);
    const recipe = recipeOf(value);
    const handle = recipe?.kind === "ref" ? (recipe.handle as Handle) : undefined;
    if (handle?.id !== id) this.handles.releaseResult(id);
    call?.settle(handle === undefined ? { kind: "value", value } : { kind: "ref", handle });
  }

  #failure(id: number, body: unknown): void {
    const call = this.#take(id);
    this.handles.releaseResult(id);
    if (call === undefined) return;
    const timedOut = call.reason instanceof FlambeauError && call.reason.code === "TIMEOUT" ? call.reason : undefined;
    call.settle({ kind: "failed", error: timedOut ?? errorFromFailure(body, call) });
  }

  #take(id: number): PyCall | undefined {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    this.#busy();
    return call;
  }

  #registerFunction(fn: AnyFunction): { id: number; kind: number } {
    const id = this.#nextId++;
    const scope = this.scopes.current;
    this.#functions.set(id, { fn, scope });
    scope.onEnd(() => this.#functions.delete(id));
    return { id, kind: 0 };
  }

  async #invoke(id: number, [functionId, args, kwargs, isOneWay]: readonly unknown[]): Promise<void> {
    const registered = this.#functions.get(integer(functionId));
    const given = [...array(args)];
    if (typeof kwargs === "object" && kwargs !== null && Object.keys(kwargs).length > 0) given.push(kwargs);
    let answer: readonly [boolean, unknown];
    try {
      if (registered === undefined)
        throw new FlambeauError(
          "STALE_REF",
          "Python called a TypeScript function after the request that passed it had ended.",
        );
      answer = [true, await this.scopes.run(registered.scope, async () => registered.fn(...given))];
    } catch (thrown) {
      const { name, message, stack } = toError(thrown);
      answer = [false, { name, message, stack: stack ?? "" }];
    }
    if (isOneWay === true) return;
    try {
      this.#send(FrameType.return, id, this.#encoder.message(answer));
    } catch (thrown) {
      const { name, message } = toError(thrown);
      this.#send(FrameType.return, id, this.#encoder.message([false, { name, message, stack: "" }]));
    }
  }
}

async function within<T>(answer: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new FlambeauError("TIMEOUT", `${what} within ${timeoutMs} ms.`)), timeoutMs);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}
