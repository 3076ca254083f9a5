// Where in a value the encoder is: its name for messages (`args[0].a[3].b`), its depth, and whether it contains itself.
import { types } from "node:util";
import { FlambeauError } from "../errors.ts";

const SHOWN_KEYS = 20;

export class Trail {
  readonly #maxDepth: number;
  /** What the items of the outermost array are called. */
  #names: readonly string[] | undefined;
  readonly #keys: (string | number)[] = [];
  /** The containers around the value at hand; `#keys` has a key for each. */
  readonly #around: object[] = [];

  constructor(maxDepth: number) {
    this.#maxDepth = maxDepth;
  }

  /** Another value, whatever became of the one before. */
  begin(names?: readonly string[]): void {
    this.#names = names;
    this.#keys.length = 0;
    this.#around.length = 0;
  }

  /** @throws FlambeauError NOT_SENDABLE: too deep, or a cycle, which is found only then because looking for it costs time */
  enter(container: object): void {
    if (this.#around.length >= this.#maxDepth) throw this.#tooDeep(container);
    this.#around.push(container);
  }

  leave(): void {
    this.#around.pop();
  }

  push(key: string | number): void {
    this.#keys.push(key);
  }

  pop(): void {
    this.#keys.pop();
  }

  where(keys: readonly (string | number)[] = this.#keys): string {
    const [first] = keys;
    const name = typeof first === "number" ? this.#names?.[first] : undefined;
    const below = name === undefined ? keys : keys.slice(1);
    const shown = below.slice(0, SHOWN_KEYS).map((key) => (typeof key === "number" ? `[${key}]` : `.${key}`));
    return `${name ?? "$"}${shown.join("")}${below.length > SHOWN_KEYS ? "…" : ""}`;
  }

  unsendable(what: string, instead: string): FlambeauError {
    return new FlambeauError("NOT_SENDABLE", `${this.where()} is ${what}: ${instead}.`);
  }

  /** For an object that is neither plain data nor one of ours. */
  foreign(value: object): FlambeauError {
    if (types.isPromise(value)) return this.unsendable("a Promise", "await it first");
    if (value instanceof URL) return this.unsendable("a URL", "pass url.href, or fileURLToPath(url) for a file");
    if (types.isNumberObject(value)) return this.unsendable("a boxed Number", "pass the number, or py.float() of it");
    if (types.isBoxedPrimitive(value)) return this.unsendable("a boxed value", "pass what its valueOf() gives");
    if (Symbol.iterator in value) return this.unsendable("an iterator", "spread it into an array first: [...items]");
    const name: unknown = value.constructor?.name;
    return this.unsendable(
      `an instance of ${typeof name === "string" && name !== "" ? name : "a class"}`,
      "pass a plain object of the fields that Python needs, or py.dict() of them",
    );
  }

  #tooDeep(container: object): FlambeauError {
    const all = [...this.#around, container];
    const first = all.findIndex((one, at) => all.indexOf(one, at + 1) !== -1);
    const [original] = all.slice(first, first + 1);
    if (first === -1 || original === undefined)
      return this.unsendable(
        "nested too deeply",
        `at most ${this.#maxDepth} levels travel; make its parts in Python with await py.of(part) and pass those`,
      );
    const named = (depth: number): string => this.where(this.#keys.slice(0, depth));
    return new FlambeauError(
      "NOT_SENDABLE",
      `${named(all.indexOf(original, first + 1))} is ${named(first)} again: a value that contains itself cannot travel. Make it in Python: const it = await py.dict(); await it.$setItem("self", it).`,
    );
  }
}
