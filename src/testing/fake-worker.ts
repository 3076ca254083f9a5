// The worker's half of the wire, played in this process over plain TypeScript values. The frames are the real ones, and so are the
// proxies, their order and their errors. Knows no app.
import { type Duplex, duplexPair } from "node:stream";
import { inspect } from "node:util";
import { array, Decoder, integer } from "../bridge/decode.ts";
import { Encoder } from "../bridge/encode.ts";
import { FrameType, type Header, PROTOCOL_VERSION } from "../bridge/protocol.ts";
import { Transport } from "../bridge/transport.ts";
import { limits } from "../config.ts";
import { FlambeauError, toError } from "../errors.ts";
import { hostOnly, replaced, type Standin } from "./fake-message.ts";
import { allModules, type FakeModules, FakePythonError, findModule, type Recorded } from "./fake-modules.ts";
import { Failed, FakeObjects, Lent, typeName } from "./fake-objects.ts";
import * as operations from "./fake-operations.ts";

/** A CALL, everything in it found. */
interface FakeCall {
  readonly id: number;
  readonly op: string;
  readonly target: unknown;
  readonly steps: readonly operations.WireStep[];
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  /** As written: `diffusers.DiffusionPipeline.from_pretrained`. */
  readonly path: string;
}

/** What the TypeScript function that a fake has called threw. */
class HostError extends Error {
  readonly callbackId: number;

  constructor(callbackId: number, message: string) {
    super(message);
    this.callbackId = callbackId;
  }
}

export class FakeWorker {
  /** The host's end. */
  readonly stream: Duplex;
  readonly calls: Recorded[] = [];
  readonly #modules: FakeModules;
  readonly #transport: Transport;
  readonly #objects = new FakeObjects();
  readonly #encoder: Encoder;
  readonly #decoder = new Decoder({
    limits,
    onHandle: () => undefined,
    onHostOnly: (type, read) => hostOnly(type, read),
  });
  /** Where an object came from, for the paths of calls. */
  readonly #origins = new WeakMap<object, string>();
  /** Attachments that are not whole yet, and who waits for each. */
  readonly #arriving = new Map<number, () => void>();
  /** Calls that have not been answered, and how each is given up. */
  readonly #open = new Map<number, () => void>();
  readonly #callbacks = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #tail: Promise<void> = Promise.resolve();
  #nextId = 1;

  constructor(modules: FakeModules) {
    this.#modules = allModules(modules);
    const [host, worker] = duplexPair();
    this.stream = host;
    this.#encoder = new Encoder({
      owner: this,
      limits,
      nextAttachmentId: () => this.#nextId++,
      registerFunction: () => {
        throw new FlambeauError(
          "NOT_SENDABLE",
          "a function of a fake cannot be copied as plain data; pick other fields",
        );
      },
      handleOf: (value) => (value instanceof Lent ? value.fields : undefined),
    });
    this.#transport = new Transport(worker, limits, {
      onFrame: (header, body) => this.#receive(header, body),
      onAttachment: (id) => this.#arrived(id),
      onEnd: () => {},
    });
    const hello = { protocol: "flambeau", version: PROTOCOL_VERSION, pid: 0, python: "fake" };
    this.#send(FrameType.hello, 0, { ...hello, executable: "fake", platform: process.platform });
  }

  close(): void {
    this.#transport.close();
  }

  #send(type: FrameType, id: number, value: unknown): void {
    const message = this.#encoder.message(value);
    this.#transport.send(type, id, message.bytes);
    for (const attachment of message.attachments) this.#transport.sendAttachment(attachment.id, attachment.bytes);
  }

  #receive({ type, id }: Header, body: Uint8Array): void {
    const { value, expected } = this.#decoder.message(body);
    const whole = expected.map(
      (attachment) => new Promise<void>((resolve) => void this.#arriving.set(attachment.id, resolve)),
    );
    for (const { id, bytes } of expected) this.#transport.expect(id, bytes);
    this.#deliver(type, id, value, Promise.all(whole));
  }

  #arrived(id: number): void {
    this.#arriving.get(id)?.();
    this.#arriving.delete(id);
  }

  /** @param whole resolves when the bytes that follow the message are here; its place in the order is taken before */
  #deliver(type: FrameType, id: number, value: unknown, whole: Promise<unknown>): void {
    switch (type) {
      case FrameType.call:
        return this.#accept(id, array(value), whole);
      case FrameType.release:
        return this.#inOrder(async () => {
          for (const pair of array(value)) this.#objects.release(integer(array(pair)[0]), integer(array(pair)[1]));
        });
      case FrameType.cancel:
        return this.#open.get(id)?.();
      case FrameType.return:
        return void whole.then(() => this.#returned(id, array(value)));
      case FrameType.ping:
        return this.#send(FrameType.pong, id, {
          running: null,
          running_ms: 0,
          queued: this.#open.size,
          handles: this.#objects.size,
          bytes: 0,
        });
      case FrameType.dump:
        return this.#send(FrameType.stack, id, "no Python runs in this test");
    }
  }

  /** One after the other; while a fake waits for a function of the host, what comes runs inside of it. */
  #inOrder(work: () => Promise<void>): void {
    if (this.#callbacks.size > 0) void work();
    else this.#tail = this.#tail.then(work);
  }

  #accept(id: number, body: readonly unknown[], whole: Promise<unknown>): void {
    let giveUp = (): void => {};
    const cancelled = new Promise<never>((_resolve, reject) => {
      giveUp = () => reject(new FakePythonError("flambeau.CallCancelled", "the call was cancelled", "CANCELLED"));
    });
    cancelled.catch(() => {});
    this.#open.set(id, giveUp);
    this.#inOrder(async () => {
      try {
        const result = await Promise.race([cancelled, whole.then(() => this.#run(id, body))]);
        this.#send(FrameType.result, id, result);
      } catch (thrown) {
        const failure = failureOf(thrown);
        this.#objects.result(id, new Failed(failure, thrown instanceof Failed ? thrown.callId : id));
        this.#send(FrameType.failure, id, failure);
      } finally {
        this.#open.delete(id);
      }
    });
  }

  /** What the host is told. */
  async #run(id: number, [op, target, steps, args, kwargs]: readonly unknown[]): Promise<unknown> {
    // A reference may name the result of a call that has run by now.
    const real = (value: unknown): unknown => replaced(value, (standin) => this.#real(standin));
    const base = real(target);
    const path = [...array(real(steps))] as operations.WireStep[];
    const call: FakeCall = {
      id,
      op: String(op),
      target: base,
      steps: path,
      args: array(real(args)),
      kwargs: real(kwargs) as Readonly<Record<string, unknown>>,
      path: this.#describe(target, base, path),
    };
    const byValue = BY_VALUE[call.op];
    if (byValue !== undefined) return byValue(operations.walk(base, path).value, call.args);
    const value = await this.#carryOut(call);
    this.#remember(value, call.op === "call" ? `${call.path}()` : call.path);
    return call.op === "next" ? this.#items(value) : this.#objects.result(id, value);
  }

  async #carryOut({ op, target, steps, args, kwargs, path }: FakeCall): Promise<unknown> {
    const found = (): operations.Found => operations.walk(target, steps);
    const last = steps.at(-1) ?? "";
    const owner = (): unknown => operations.walk(target, steps.slice(0, -1)).value;
    switch (op) {
      case "get":
        return found().value;
      case "call":
        this.calls.push({ path, args, kwargs });
        return operations.call(found(), args, kwargs);
      case "set":
        return operations.assign(owner(), last, args[0]);
      case "delete":
        return operations.remove(owner(), last);
      case "iter":
        return operations.iterator(found().value);
      case "next":
        return (found().value as operations.FakeIterator).next();
      case "close":
        return void (await (found().value as operations.FakeIterator).return?.());
      case "enter":
        return operations.enter(found().value);
      case "exit":
        return Boolean(await operations.leave(found().value, args[0]));
      default:
        throw new FakePythonError("flambeau.UnknownOperation", `operation ${op} is not known`, "PROTOCOL_ERROR");
    }
  }

  /** The answer of `next`: done, and what came. */
  #items(answer: unknown): readonly unknown[] {
    const { done, value } = answer as IteratorResult<unknown>;
    return [done === true, done === true ? [] : [this.#objects.lend(value)]];
  }

  #real({ of }: Standin): unknown {
    const real = (value: unknown): unknown => replaced(value, (standin) => this.#real(standin));
    switch (of.kind) {
      case "ref":
        return this.#objects.get(of.id);
      case "path":
        return operations.walk(real(of.target), real(of.steps) as operations.WireStep[]).value;
      case "module":
        return findModule(this.#modules, of.name);
      case "file":
        return findModule(this.#modules, of.path.slice(of.path.lastIndexOf("/") + 1));
      case "function":
        return (...args: unknown[]) => this.#invoke(of.id, of.isOneWay, args);
    }
  }

  /** A fake calls a function of the host: a promise of what that returns. */
  #invoke(functionId: number, isOneWay: boolean, args: readonly unknown[]): Promise<unknown> {
    const id = this.#nextId++;
    const answer = isOneWay
      ? Promise.resolve(undefined)
      : new Promise<unknown>((resolve, reject) => void this.#callbacks.set(id, { resolve, reject }));
    const lent = args.map((value) => this.#objects.lend(value));
    this.#send(FrameType.invoke, id, [functionId, lent, {}, isOneWay]);
    return answer;
  }

  #returned(id: number, [isOk, value]: readonly unknown[]): void {
    const callback = this.#callbacks.get(id);
    this.#callbacks.delete(id);
    if (isOk === true) return callback?.resolve(replaced(value, (standin) => this.#real(standin)));
    const { message } = Object(value) as { readonly message?: unknown };
    callback?.reject(new HostError(id, String(message)));
  }

  #describe(written: unknown, base: unknown, steps: readonly operations.WireStep[]): string {
    const of = (written as Partial<Standin> | null)?.of;
    const origin = typeof base === "object" || typeof base === "function" ? this.#origins.get(base ?? {}) : undefined;
    const start = of?.kind === "module" ? of.name : of?.kind === "file" ? of.path : (origin ?? typeName(base));
    return start + steps.map((step) => (typeof step === "string" ? `.${step}` : `[${inspect(step[0])}]`)).join("");
  }

  #remember(value: unknown, path: string): void {
    if ((typeof value !== "object" && typeof value !== "function") || value === null) return;
    if (!this.#origins.has(value)) this.#origins.set(value, path);
  }
}

const BY_VALUE: Readonly<Record<string, (value: unknown, args: readonly unknown[]) => unknown>> = {
  value: (value) => value,
  array: (value, [dtype]) => operations.elements(value, dtype),
  len: (value) => operations.length(value),
  repr: (value) => inspect(value),
  pixels: (value) => operations.pixels(value),
};

/** The body of FAILURE. A chain of causes may end in itself. */
function failureOf(thrown: unknown, causes: number = limits.fakeCauses): Readonly<Record<string, unknown>> {
  if (thrown instanceof Failed) return { ...thrown.failure, link: thrown.callId };
  const error = toError(thrown);
  const type = error instanceof FakePythonError ? error.pythonType : error.name;
  return {
    type,
    mro: [type, "Exception", "BaseException"],
    message: error.message,
    // Where in the fake it was thrown.
    traceback: error.stack ?? "",
    ...(error instanceof HostError ? { callback: error.callbackId } : {}),
    ...codeOf(error),
    ...(error.cause instanceof Error && causes > 0 ? { cause: failureOf(error.cause, causes - 1) } : {}),
  };
}

function codeOf(error: Error): { code?: string; live?: object } {
  if (error instanceof FlambeauError) return { code: error.code };
  if (!(error instanceof FakePythonError) || error.code === undefined) return {};
  return { code: error.code, ...(error.code === "OUT_OF_MEMORY" ? { live: { handles: 0, bytes: 0 } } : {}) };
}
