// `py`: modules, values that JavaScript has no word for, and expressions. A session exists before its worker does: paths are
// recorded at once (field initialisers may import), a call needs the channel.
import { fileURLToPath } from "node:url";
import { FlambeauError } from "../errors.ts";
import { PyCall } from "./call.ts";
import { type AnyFunction, oneWay } from "./callbacks.ts";
import type { Channel } from "./channel.ts";
import { deadlock } from "./inside.ts";
import { Stubs } from "./stub.ts";
import type { PyArg, PyExpr, PyLike, Python } from "./stub-types.ts";
import { PyDict, PyEllipsis, PyFloat, PySlice, PyTuple, type Recipe } from "./values.ts";

/** Functions of ours on the Python side. */
const VALUES = "flambeau.values";

/** One Python process as TypeScript sees it, from before its start until after its end. */
export class PythonSession {
  readonly stubs: Stubs = new Stubs(this);
  readonly py: Python = createPython(this);
  #channel: Channel | undefined;

  connect(channel: Channel): void {
    this.#channel = channel;
  }

  get channel(): Channel {
    if (this.#channel !== undefined) return this.#channel;
    throw new FlambeauError(
      "WORKER_EXITED",
      "Python is not running yet: call it in setup() or in an endpoint. Only paths, such as this.py.import(…), may stand in field initialisers.",
    );
  }
}

function createPython(owner: PythonSession): Python {
  const { stubs } = owner;
  const expression = (recipe: Recipe): PyExpr => stubs.expression(recipe) as PyExpr;
  const data = (value: unknown): PyExpr => expression({ kind: "data", owner, value });
  const values = (name: string): PyExpr =>
    expression({ kind: "path", owner, base: { kind: "module", owner, name: VALUES }, steps: [name] });
  return {
    import: (name: string) => expression({ kind: "module", owner, name }),
    importFile: (file) => expression({ kind: "file", owner, path: localPath(file) }),
    float: (value) => data(new PyFloat(value)) as PyLike<number>,
    int: (value) => data(BigInt(value)) as PyLike<number>,
    tuple: (...items) => data(new PyTuple(items)),
    set: (items) => data(new Set(items)),
    dict: (entries = {}) => data(new PyDict(pairs(entries))),
    slice: (start, stop = null, step = null) => data(new PySlice(start, stop, step)),
    none: data(null),
    ellipsis: data(new PyEllipsis()),
    as: <T>(value: PyLike) => value as PyExpr<T>,
    of: (value) => data(value),
    recycle: (array) => owner.channel.blocks.giveBack(array),
    tensor: (array, shape, options = {}) =>
      values("tensor").$call([array, shape === undefined ? null : [...shape]], options as Record<string, PyArg>),
    expr: (source, ...given) =>
      values("evaluate").$call([source.reduce((text, part, i) => `${text}_${i - 1}${part}`), ...given]),
    object: (methods) => values("make_object").$call([methods]),
    oneway: (fn, options) => oneWay(fn as AnyFunction, options),
    with: (manager, body) => stubs.block(manager, body as (value: unknown) => Promise<unknown>),
    scope: (body) => stubs.scope(body),
    flush: () => flush(owner.channel),
  } as Python;
}

/** A call that waits for the flow in which this is asked, such as the one around a callback, is not waited for. */
async function flush({ scopes }: Channel): Promise<void> {
  const { inside } = scopes;
  await scopes.current.settle((call) => call instanceof PyCall && deadlock(inside, call) !== undefined);
}

function pairs(
  entries: Readonly<Record<string, PyArg | undefined>> | Iterable<readonly [PyArg, PyArg]>,
): (readonly [unknown, unknown])[] {
  return Symbol.iterator in entries
    ? [...(entries as Iterable<readonly [PyArg, PyArg]>)]
    : Object.entries(entries).filter((entry) => entry[1] !== undefined);
}

function localPath(file: URL): string {
  if (file.protocol === "file:") return fileURLToPath(file);
  throw new FlambeauError(
    "NOT_SENDABLE",
    `py.importFile: expected a file URL, as new URL("./model.py", import.meta.url) gives, got ${file.href}`,
  );
}
