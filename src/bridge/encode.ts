// TypeScript values → one message body and the attachments that follow it. The rules are README.md's table.
// Everything that cannot travel names its path: `$.a[3].b`.
import { FlambeauError } from "../errors.ts";
import { MsgpackWriter } from "./msgpack-writer.ts";
import { Ext, HEADER_BYTES } from "./protocol.ts";
import {
  dtypeOf,
  isPlainObject,
  PyDict,
  PyFloat,
  PySlice,
  PyTuple,
  type Recipe,
  recipeOf,
  type Step,
} from "./values.ts";

export interface Attachment {
  readonly id: number;
  readonly bytes: Uint8Array;
}

export interface EncodedMessage {
  /** 16 bytes of room for the header, then the body. */
  readonly bytes: Uint8Array;
  readonly attachments: readonly Attachment[];
}

export interface EncodeContext {
  readonly owner: object;
  readonly limits: {
    readonly inlineBytes: number;
    readonly maxDepth: number;
    readonly maxAttachmentBytes: number;
    readonly maxFrameBytes: number;
  };
  /** Ids for attachments and functions of this message. */
  nextAttachmentId(): number;
  registerFunction(fn: (...args: never) => unknown): { readonly id: number; readonly kind: number };
  /** Each live object that the message names: kept alive until its answer came. */
  onRef(recipe: Recipe): void;
}

export class Encoder {
  readonly #writer = new MsgpackWriter();
  readonly #context: EncodeContext;
  #attachments: Attachment[] = [];
  #path: (string | number)[] = [];

  constructor(context: EncodeContext) {
    this.#context = context;
  }

  /** @throws FlambeauError NOT_SENDABLE with the path, STALE_REF */
  message(value: unknown): EncodedMessage {
    this.#attachments = [];
    this.#path = [];
    this.#writer.begin(HEADER_BYTES);
    this.#value(value);
    if (this.#writer.length - HEADER_BYTES > this.#context.limits.maxFrameBytes) {
      throw new FlambeauError(
        "TOO_LARGE",
        `The arguments take ${this.#writer.length} bytes; at most ${this.#context.limits.maxFrameBytes} travel in one call. Send numbers in bulk as typed arrays.`,
      );
    }
    return { bytes: this.#writer.finish(), attachments: this.#attachments };
  }

  #value(value: unknown): void {
    switch (typeof value) {
      case "string":
        return this.#writer.string(value);
      case "number":
        return Number.isSafeInteger(value) && !Object.is(value, -0)
          ? this.#writer.integer(value)
          : this.#writer.float64(value);
      case "boolean":
        return this.#writer.boolean(value);
      case "undefined":
        return this.#writer.nil();
      case "bigint":
        return this.#bigint(value);
      case "function":
        return this.#function(value as (...args: never) => unknown);
      case "object":
        return value === null ? this.#writer.nil() : this.#object(value);
      default:
        throw this.#unsendable(`a ${typeof value}`, "it has no counterpart in Python");
    }
  }

  #object(value: object): void {
    const recipe = recipeOf(value);
    if (recipe !== undefined) return this.#recipe(recipe);
    if (this.#path.length >= this.#context.limits.maxDepth) {
      throw this.#unsendable(
        "a value nested too deeply or in a cycle",
        `at most ${this.#context.limits.maxDepth} levels travel`,
      );
    }
    if (Array.isArray(value)) return this.#items(value);
    if (value instanceof Uint8Array && !(value instanceof Uint8ClampedArray)) return this.#bytes(value);
    if (ArrayBuffer.isView(value)) return this.#array(value);
    if (value instanceof ArrayBuffer) return this.#bytes(new Uint8Array(value));
    if (value instanceof Map) return this.#entries([...value]);
    if (value instanceof Set) return this.#writer.extension(Ext.set, () => this.#pair(false, [...value]));
    if (value instanceof Date) return this.#date(value);
    if (value instanceof PyFloat) return this.#writer.float64(value.value);
    if (value instanceof PyTuple) return this.#writer.extension(Ext.tuple, () => this.#items(value.items));
    if (value instanceof PyDict) return this.#entries(value.entries);
    if (value instanceof PySlice) return this.#writer.extension(Ext.slice, () => this.#items(value.parts));
    if (value instanceof URL) throw this.#unsendable("a URL", "pass url.href, or fileURLToPath(url) for a file");
    if (isPlainObject(value) || Object.getPrototypeOf(value) === null) {
      return this.#entries(Object.entries(value).filter((entry) => entry[1] !== undefined));
    }
    throw this.#unsendable(
      `an instance of ${value.constructor?.name ?? "a class"}`,
      "pass a plain object, or the fields that Python needs",
    );
  }

  #items(items: readonly unknown[]): void {
    this.#writer.array(items.length);
    for (let i = 0; i < items.length; i++) {
      this.#path.push(i);
      this.#value(items[i]);
      this.#path.pop();
    }
  }

  #pair(first: unknown, second: unknown): void {
    this.#writer.array(2);
    this.#value(first);
    this.#value(second);
  }

  #entries(entries: readonly (readonly [unknown, unknown])[]): void {
    if (entries.every(([key]) => typeof key === "string")) {
      this.#writer.map(entries.length);
      for (const [key, value] of entries) {
        this.#writer.string(String(key));
        this.#path.push(String(key));
        this.#value(value);
        this.#path.pop();
      }
      return;
    }
    this.#writer.extension(Ext.map, () => {
      this.#writer.array(entries.length);
      for (const [key, value] of entries) {
        this.#path.push(String(key));
        this.#pair(key, value);
        this.#path.pop();
      }
    });
  }

  #bigint(value: bigint): void {
    if (!this.#writer.bigint(value)) this.#writer.extension(Ext.int, () => this.#writer.raw(twosComplement(value)));
  }

  #bytes(value: Uint8Array): void {
    if (value.length <= this.#context.limits.inlineBytes) return this.#writer.binary(value);
    if (value.length > this.#context.limits.maxAttachmentBytes) {
      throw this.#unsendable(
        `${value.length} bytes`,
        `at most ${this.#context.limits.maxAttachmentBytes} travel at once`,
      );
    }
    const id = this.#context.nextAttachmentId();
    this.#attachments.push({ id, bytes: value });
    this.#writer.extension(Ext.attach, () => this.#pair(id, value.length));
  }

  #array(value: ArrayBufferView): void {
    const dtype = dtypeOf(value);
    if (dtype === undefined)
      throw this.#unsendable(`a ${value.constructor.name}`, "pass a typed array or a Uint8Array");
    this.#writer.extension(Ext.array, () => {
      this.#writer.array(3);
      this.#writer.string(dtype);
      this.#writer.nil();
      this.#bytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    });
  }

  #date(value: Date): void {
    if (Number.isNaN(value.getTime())) throw this.#unsendable("an invalid Date", "pass a valid one, or null");
    this.#writer.extension(Ext.date, () => this.#pair("datetime", value.toISOString()));
  }

  #function(value: (...args: never) => unknown): void {
    const recipe = recipeOf(value);
    if (recipe !== undefined) return this.#recipe(recipe);
    const { id, kind } = this.#context.registerFunction(value);
    this.#writer.extension(Ext.function, () => this.#pair(id, kind));
  }

  #recipe(recipe: Recipe): void {
    if (recipe.owner !== this.#context.owner) {
      throw new FlambeauError(
        "STALE_REF",
        `${this.#where()} is an object of another Python process, or of one that has ended. Make it again in this one.`,
      );
    }
    switch (recipe.kind) {
      case "module":
        return this.#writer.extension(Ext.module, () => this.#writer.string(recipe.name));
      case "file":
        return this.#writer.extension(Ext.file, () => this.#writer.string(recipe.path));
      case "data":
        return this.#value(recipe.value);
      case "ref":
        return this.#ref(recipe);
      case "result":
        return this.#result(recipe);
      case "path":
        return this.#writer.extension(Ext.path, () => {
          this.#writer.array(2);
          this.#recipe(recipe.base);
          this.steps(recipe.steps);
        });
    }
  }

  #ref(recipe: Extract<Recipe, { kind: "ref" }>): void {
    if (recipe.handle.released) {
      throw new FlambeauError(
        "STALE_REF",
        `${this.#where()} (a ${recipe.handle.type}) was released; use it before it is disposed of.`,
      );
    }
    this.#context.onRef(recipe);
    this.#writer.extension(Ext.ref, () => this.#writer.integer(recipe.handle.id));
  }

  #result(recipe: Extract<Recipe, { kind: "result" }>): void {
    const { call } = recipe;
    call.observe();
    if (call.state.kind === "value") return this.#value(call.state.value);
    if (call.state.kind === "failed") throw call.state.error;
    if (call.state.kind === "ref") return this.#ref({ kind: "ref", owner: recipe.owner, handle: call.state.handle });
    this.#context.onRef(recipe);
    this.#writer.extension(Ext.ref, () => this.#writer.integer(call.id));
  }

  /** Steps as the wire has them: a string, or an array of one for an item. */
  steps(steps: readonly Step[]): void {
    this.#writer.array(steps.length);
    for (const step of steps) {
      if (typeof step === "string") this.#writer.string(step);
      else {
        this.#writer.array(1);
        this.#value(step.item);
      }
    }
  }

  #where(): string {
    return this.#path.reduce<string>(
      (path, key) => (typeof key === "number" ? `${path}[${key}]` : `${path}.${key}`),
      "$",
    );
  }

  #unsendable(what: string, instead: string): FlambeauError {
    return new FlambeauError("NOT_SENDABLE", `${this.#where()} is ${what}: ${instead}.`);
  }
}

/** Little-endian two's complement, as short as possible. */
export function twosComplement(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const low = Number(BigInt.asUintN(8, rest));
    bytes.push(low);
    rest >>= 8n;
    if ((rest === 0n && low < 0x80) || (rest === -1n && low >= 0x80)) return Uint8Array.from(bytes);
  }
}
