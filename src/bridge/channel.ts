// Calls over one transport: ids, open calls, cancels, releases, functions that Python calls. When the transport ends, every open
// call fails once. Knows no process: whoever owns one says why it ended.
import type { Duplex } from "node:stream";
import { cancelled, FlambeauError, toError } from "../errors.ts";
import { Arrivals, outOfMemory } from "./arrivals.ts";
import { Blocks } from "./blocks.ts";
import { type CallOwner, limitCall, PyCall } from "./call.ts";
import { CallSites } from "./call-sites.ts";
import { type AnyFunction, Callbacks, kindOf } from "./callbacks.ts";
import {
  type CallSpec,
  type ChannelOptions,
  Greeting,
  Hello,
  Pong,
  type WorkerHello,
  type WorkerStats,
} from "./channel-options.ts";
import { array, Decoder, type HandleFields, type NoRoom } from "./decode.ts";
import { Encoder } from "./encode.ts";
import type { EncodedMessage } from "./encoded.ts";
import { type Handle, Handles } from "./handles.ts";
import { FrameType, type Header, PROTOCOL_VERSION } from "./protocol.ts";
import { errorFromFailure, stoppedError } from "./py-error.ts";
import { Questions, within } from "./questions.ts";
import { type CallScope, Scopes } from "./scope.ts";
import { Transport } from "./transport.ts";
import { RECIPE, recipeOf } from "./values.ts";

/** How the items of a CALL body are called in messages. */
const CALL_NAMES = ["op", "target", "path", "args", "kwargs", "tag", "inside"];

export class Channel {
  readonly scopes: Scopes;
  readonly handles: Handles;
  readonly blocks: Blocks;
  readonly #transport: Transport;
  readonly #options: ChannelOptions;
  readonly #encoder: Encoder;
  readonly #decoder: Decoder;
  readonly callbacks: Callbacks;
  readonly #calls = new Map<number, PyCall>();
  readonly #callOwner: CallOwner;
  readonly #questions = new Questions();
  readonly #arrivals = new Arrivals();
  #ended: Error | undefined;
  #nextId = 1;
  #isBusy = false;
  #isGreeted = false;

  constructor(stream: Duplex, options: ChannelOptions) {
    this.#options = options;
    const { limits } = options;
    const sites = new CallSites(limits);
    this.blocks = new Blocks(limits);
    this.#callOwner = { site: () => sites.here(), cancel: (call, reason) => this.#cancel(call, reason) };
    this.scopes = new Scopes((error) => options.onUnseen?.(error));
    this.handles = new Handles((pairs) => this.#send(FrameType.release, 0, this.#encoder.message(pairs)), {
      limits,
      isBusy: () => this.#calls.size > 0,
    });
    this.callbacks = new Callbacks({
      scopes: this.scopes,
      handles: this.handles,
      encoder: () => this.#encoder,
      errorsKept: limits.callbackErrorsKept,
      call: (id) => this.#calls.get(id),
      answer: (id, message) => this.#send(FrameType.return, id, message),
    });
    this.#encoder = new Encoder({
      owner: options.owner,
      limits,
      nextAttachmentId: () => this.#nextId++,
      registerFunction: (fn) => this.#registerFunction(fn as AnyFunction),
    });
    this.#decoder = new Decoder({
      limits,
      onHandle: (fields: HandleFields) => options.wrap(this.handles.received(fields)),
      room: (length) => this.blocks.take(length),
    });
    this.#transport = new Transport(stream, limits, {
      onFrame: (header, body) => this.#receive(header, body),
      onAttachment: (id) => this.#arrivals.arrived(id),
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
    const answer = this.#ask(FrameType.hello, 0);
    this.#send(FrameType.hello, 0, this.#encoder.message({ protocol: "flambeau", version: PROTOCOL_VERSION, setup }));
    const came = await within(answer, this.#options.limits.helloTimeoutMs, "Python did not say hello");
    const greeting = Greeting.safeParse(came);
    const hello = Hello.safeParse(came);
    if (hello.success && hello.data.version === PROTOCOL_VERSION) return hello.data;
    const theirs = greeting.success ? `version ${greeting.data.version}` : "something else";
    throw new FlambeauError(
      "PROTOCOL_ERROR",
      `The worker speaks ${theirs} and this host version ${PROTOCOL_VERSION} of the protocol. Reinstall flambeau so that both halves match.`,
    );
  }

  /** Sends a call in order behind all earlier ones. Never throws: what is wrong is the call's outcome. */
  call(spec: CallSpec): PyCall {
    const id = this.#nextId++;
    const call = new PyCall(id, spec.path, this.#callOwner);
    const scope = this.scopes.current;
    try {
      this.#refuse(scope, spec);
      const body = [
        spec.op,
        { [RECIPE]: spec.target },
        spec.steps.map((step) => (typeof step === "string" ? step : [step.item])),
        spec.args ?? [],
        spec.kwargs ?? {},
        scope.tag,
      ];
      call.tag = scope.tag;
      call.inside = this.scopes.inside;
      if (call.inside !== undefined) body.push(call.inside.ids);
      const message = this.#encoder.message(body, CALL_NAMES);
      call.held = message.refs;
      this.#calls.set(id, call);
      this.#busy();
      this.#send(FrameType.call, id, message);
      limitCall(call, spec.options);
    } catch (thrown) {
      call.settle({ kind: "failed", error: toError(thrown) });
    }
    scope.add(call, { stops: spec.options?.signal !== null });
    return call;
  }

  async ping(): Promise<WorkerStats> {
    const id = this.#nextId++;
    const answer = this.#ask(FrameType.pong, id);
    this.#send(FrameType.ping, id, this.#encoder.message(null));
    const pong = Pong.safeParse(await answer);
    if (pong.success) return pong.data;
    throw new FlambeauError("PROTOCOL_ERROR", `The worker answered a ping with something else: ${pong.error.message}`);
  }

  /** The Python stack of the main thread, also while it is busy. */
  async stack(): Promise<string> {
    const id = this.#nextId++;
    const answer = this.#ask(FrameType.stack, id);
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
    for (const call of this.#calls.values()) {
      call.settle({ kind: "failed", error: call.reason === undefined ? error : stoppedError(call, error) });
    }
    this.#calls.clear();
    this.#questions.fail(error);
    this.callbacks.clear();
    this.#arrivals.clear();
    this.handles.clear();
    this.blocks.clear();
    this.#busy();
    this.#transport.close();
  }

  #refuse(scope: CallScope, { options, path }: CallSpec): void {
    if (this.#ended !== undefined) throw this.#ended;
    if (options?.signal?.aborted) throw cancelled(options.signal.reason, path);
    if (options?.signal !== null && scope.aborted) throw cancelled(scope.aborted.reason, path);
    const { maxPendingCalls } = this.#options.limits;
    if (this.#calls.size >= maxPendingCalls) {
      throw new FlambeauError(
        "QUEUE_FULL",
        `${maxPendingCalls} calls to Python are open; await some before making more.`,
      );
    }
  }

  #cancel(call: PyCall, reason: unknown): void {
    if (call.reason !== undefined || call.state.kind !== "pending") return;
    call.reason = reason ?? "cancelled";
    this.#send(FrameType.cancel, call.id, this.#encoder.message(null));
    const timer = setTimeout(() => this.#options.onStuck?.(call), this.#options.limits.cancelGraceMs);
    call.whenSettled(() => clearTimeout(timer));
  }

  /** Tells the owner when the first thing becomes open and when the last one is answered. */
  #busy(): void {
    const isBusy = this.#calls.size + this.#questions.size > 0;
    if (isBusy === this.#isBusy) return;
    this.#isBusy = isBusy;
    if (!isBusy) this.handles.idle();
    this.#options.onBusy?.(isBusy);
  }

  #send(type: FrameType, id: number, message: EncodedMessage): void {
    if (this.#ended !== undefined) return;
    this.#transport.send(type, id, message.bytes);
    for (const attachment of message.attachments) this.#transport.sendAttachment(attachment.id, attachment.bytes);
  }

  #ask(type: FrameType, id: number): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const answer = this.#questions.ask(type, id);
    this.#busy();
    return answer;
  }

  #receive(header: Header, body: Uint8Array): void {
    const { value, expected, noRoom } = this.#decoder.message(body);
    if (expected.length === 0) return this.#deliver(header, value);
    if (noRoom === undefined) this.#arrivals.expect(expected, () => this.#deliver(header, value));
    else this.#refuseBulk(header, noRoom);
    for (const { id, bytes, length } of expected) this.#transport.expect(id, bytes, length);
  }

  /** Its own call fails and no other; an event is left out. */
  #refuseBulk({ type, id }: Header, noRoom: NoRoom): void {
    if (type === FrameType.invoke) this.callbacks.refuse(id, outOfMemory("A callback", noRoom));
    if (type === FrameType.result) this.handles.releaseResult(id);
    const call = type === FrameType.result ? this.#take(id) : undefined;
    call?.settle({ kind: "failed", error: outOfMemory(call.path, noRoom) });
  }

  #deliver({ type, id }: Header, value: unknown): void {
    if (this.#isGreeted || type === FrameType.hello) {
      this.#isGreeted = true;
      switch (type) {
        case FrameType.result:
          return this.#result(id, value);
        case FrameType.failure:
          return this.#failure(id, value);
        case FrameType.event:
          return this.#options.onEvent?.(id, value);
        case FrameType.invoke:
          return void this.callbacks.invoke(id, array(value));
        case FrameType.dropped:
          return this.callbacks.dropped(array(value));
        case FrameType.hello:
        case FrameType.pong:
        case FrameType.stack:
          this.#questions.answer(type, id, value);
          return this.#busy();
      }
    }
    throw new FlambeauError("PROTOCOL_ERROR", `The worker sent a frame of type ${type}, which has no place here.`);
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
    const failure = errorFromFailure(body, call, (callbackId) => this.callbacks.thrownBy(callbackId));
    // Code that was told to stop may answer with an error of its own.
    const isStopped = call.reason !== undefined && !(failure instanceof FlambeauError && failure.code === "CANCELLED");
    call.settle({ kind: "failed", error: isStopped ? stoppedError(call, failure) : failure });
  }

  #take(id: number): PyCall | undefined {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    this.#busy();
    return call;
  }

  #registerFunction(fn: AnyFunction): { id: number; kind: number } {
    const id = this.#nextId++;
    this.callbacks.register(id, fn);
    return { id, kind: kindOf(fn) };
  }
}
