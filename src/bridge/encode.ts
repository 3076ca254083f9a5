// TypeScript values → one message body and the attachments that follow it. The rules are README.md's table.
// Everything that cannot travel names its path: `args[0].a[3].b`.
import { types } from "node:util";
import { FlambeauError } from "../errors.ts";
import { twosComplement } from "./big-integers.ts";
import type { Attachment, EncodeContext, EncodedMessage } from "./encoded.ts";
import { MsgpackWriter } from "./msgpack-writer.ts";
import { Ext, HEADER_BYTES } from "./protocol.ts";
import { Trail } from "./trail.ts";
import {
  dtypeOf,
  isPlainObject,
  PyDict,
  PyEllipsis,
  PyFloat,
  PySlice,
  PyTuple,
  type Recipe,
  recipeOf,
  type Step,
} from "./values.ts";

const LAST_YEAR = 9999;

export class Encoder {
  readonly #writer: MsgpackWriter;
  readonly #context: EncodeContext;
  #isBusy = false;
  #attachments: Attachment[] = [];
  #refs: Recipe[] = [];
  #items = 0;
  readonly #trail: Trail;

  constructor(context: EncodeContext) {
    this.#context = context;
    this.#trail = new Trail(context.limits.maxDepth);
    this.#writer = new MsgpackWriter(context.limits.maxFrameBytes + HEADER_BYTES);
  }

  /**
   * @param names what the items of the outermost array are called in messages; `$` without
   * @throws FlambeauError NOT_SENDABLE with the path, STALE_REF, TOO_LARGE; and whatever a getter inside of the value throws
   */
  message(value: unknown, names?: readonly string[]): EncodedMessage {
    // A getter may call Python, and so come back here.
    if (this.#isBusy) return new Encoder(this.#context).message(value, names);
    this.#isBusy = true;
    this.#attachments = [];
    this.#refs = [];
    this.#items = 0;
    this.#trail.begin(names);
    try {
      this.#writer.begin(HEADER_BYTES);
      this.#value(value);
      return { bytes: this.#writer.finish(), attachments: this.#attachments, refs: this.#refs };
    } finally {
      this.#isBusy = false;
    }
  }

  #value(value: unknown): void {
    if (++this.#items > this.#context.limits.maxItems) throw this.#tooMany();
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
        throw this.#trail.unsendable(`a ${typeof value}`, "it has no counterpart in Python; pass text or a number");
    }
  }

  #object(value: object): void {
    if (Array.isArray(value)) return this.#sequence(value, value);
    const recipe = recipeOf(value);
    if (recipe !== undefined) return this.#recipe(recipe);
    // Every call has one: told before all the kinds that have to be asked for one by one.
    if (Object.getPrototypeOf(value) === Object.prototype) return this.#fields(value);
    if (types.isUint8Array(value)) return this.#bytes(value);
    if (ArrayBuffer.isView(value)) return this.#array(value);
    if (types.isAnyArrayBuffer(value)) return this.#bytes(new Uint8Array(value));
    if (types.isMap(value)) return this.#entries(value, [...value]);
    if (types.isSet(value)) return this.#set(value);
    if (types.isDate(value)) return this.#date(value);
    if (value instanceof PyFloat) return this.#writer.float64(value.value);
    if (value instanceof PyTuple) return this.#writer.extension(Ext.tuple, () => this.#sequence(value, value.items));
    if (value instanceof PyDict) return this.#entries(value, value.entries);
    if (value instanceof PySlice) return this.#writer.extension(Ext.slice, () => this.#sequence(value, value.parts));
    if (value instanceof PyEllipsis) return this.#writer.extension(Ext.ellipsis, () => {});
    if (isPlainObject(value) || Object.getPrototypeOf(value) === null) return this.#fields(value);
    this.#handle(value);
  }

  #fields(value: object): void {
    this.#entries(
      value,
      Object.entries(value).filter((entry) => entry[1] !== undefined),
    );
  }

  #handle(value: object): void {
    const handle = this.#context.handleOf?.(value);
    if (handle === undefined) throw this.#trail.foreign(value);
    const { id, type, length, flags } = handle;
    this.#writer.extension(Ext.handle, () => this.#sequence(value, [id, type, length, flags]));
  }

  /** The length is looked at before the items are: they may be a billion holes. */
  #enter(container: object, length: number): void {
    if (this.#items + length > this.#context.limits.maxItems) throw this.#tooMany();
    this.#trail.enter(container);
  }

  #inside(key: string | number, value: unknown): void {
    this.#trail.push(key);
    this.#value(value);
    this.#trail.pop();
  }

  #sequence(container: object, items: readonly unknown[]): void {
    this.#enter(container, items.length);
    this.#writer.array(items.length);
    for (let i = 0; i < items.length; i++) this.#inside(i, items[i]);
    this.#trail.leave();
  }

  #set(value: ReadonlySet<unknown>): void {
    this.#writer.extension(Ext.set, () => {
      this.#writer.array(2);
      this.#writer.boolean(false);
      this.#sequence(value, [...value]);
    });
  }

  #entries(container: object, entries: readonly (readonly [unknown, unknown])[]): void {
    this.#enter(container, 2 * entries.length);
    if (entries.every(([key]) => typeof key === "string")) {
      this.#writer.map(entries.length);
      for (const [key, value] of entries) {
        this.#writer.string(String(key));
        this.#inside(String(key), value);
      }
    } else this.#writer.extension(Ext.map, () => this.#pairs(entries));
    this.#trail.leave();
  }

  #pairs(entries: readonly (readonly [unknown, unknown])[]): void {
    this.#writer.array(entries.length);
    for (const [key, value] of entries) {
      const name = typeof key === "object" || typeof key === "function" ? "(a key)" : String(key);
      this.#writer.array(2);
      this.#inside(name, key);
      this.#inside(name, value);
    }
  }

  #bigint(value: bigint): void {
    if (!this.#writer.bigint(value)) this.#writer.extension(Ext.int, () => this.#writer.raw(twosComplement(value)));
  }

  #bytes(value: Uint8Array): void {
    const { inlineBytes, maxAttachmentBytes } = this.#context.limits;
    if (value.length <= inlineBytes) return this.#writer.binary(value);
    if (value.length > maxAttachmentBytes) {
      throw new FlambeauError(
        "TOO_LARGE",
        `${this.#trail.where()} has ${value.length} bytes; at most ${maxAttachmentBytes} travel at once. Send it in parts.`,
      );
    }
    const id = this.#context.nextAttachmentId();
    this.#attachments.push({ id, bytes: value });
    this.#writer.extension(Ext.attach, () => this.#numbers(id, value.length));
  }

  #numbers(...values: number[]): void {
    this.#writer.array(values.length);
    for (const value of values) this.#writer.integer(value);
  }

  #array(value: ArrayBufferView): void {
    const dtype = dtypeOf(value);
    if (dtype === undefined)
      throw this.#trail.unsendable(`a ${value.constructor.name}`, "pass a typed array or a Uint8Array");
    this.#writer.extension(Ext.array, () => {
      this.#writer.array(3);
      this.#writer.string(dtype);
      this.#writer.nil();
      this.#bytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    });
  }

  #date(value: Date): void {
    if (Number.isNaN(value.getTime())) throw this.#trail.unsendable("an invalid Date", "pass a valid one, or null");
    const year = value.getUTCFullYear();
    if (year < 1 || year > LAST_YEAR)
      throw this.#trail.unsendable(`a Date in the year ${year}`, `Python's years end at ${LAST_YEAR} and begin at 1`);
    this.#writer.extension(Ext.date, () => {
      this.#writer.array(2);
      this.#writer.string("datetime");
      this.#writer.string(value.toISOString());
    });
  }

  #function(value: (...args: never) => unknown): void {
    const recipe = recipeOf(value);
    if (recipe !== undefined) return this.#recipe(recipe);
    const { id, kind } = this.#context.registerFunction(value);
    this.#writer.extension(Ext.function, () => this.#numbers(id, kind));
  }

  #recipe(recipe: Recipe): void {
    if (recipe.owner !== this.#context.owner) {
      throw new FlambeauError(
        "STALE_REF",
        `${this.#trail.where()} is an object of another Python process. Make it again in this one.`,
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
          this.#steps(recipe.steps);
        });
    }
  }

  #ref(recipe: Extract<Recipe, { kind: "ref" }>): void {
    const { id, lost, type } = recipe.handle;
    if (lost !== undefined) throw new FlambeauError("STALE_REF", `${this.#trail.where()} (a ${type}) ${lost}.`);
    this.#refs.push(recipe);
    this.#writer.extension(Ext.ref, () => this.#writer.integer(id));
  }

  #result(recipe: Extract<Recipe, { kind: "result" }>): void {
    const { call, owner } = recipe;
    call.observe();
    if (call.state.kind === "value") return this.#value(call.state.value);
    if (call.state.kind === "failed") throw call.state.error;
    if (call.state.kind === "ref") return this.#ref({ kind: "ref", owner, handle: call.state.handle });
    this.#refs.push(recipe);
    this.#writer.extension(Ext.ref, () => this.#writer.integer(call.id));
  }

  /** As the wire has them: a string, or an array of one for an item. */
  #steps(steps: readonly Step[]): void {
    this.#writer.array(steps.length);
    for (const step of steps) {
      if (typeof step === "string") this.#writer.string(step);
      else {
        this.#writer.array(1);
        this.#value(step.item);
      }
    }
  }

  #tooMany(): FlambeauError {
    return new FlambeauError(
      "TOO_LARGE",
      `${this.#trail.where()}: more than ${this.#context.limits.maxItems} values in one call. Send numbers in bulk as typed arrays.`,
    );
  }
}
