// What a host sends and no worker ever does, read: references, modules, paths, functions. They stand in the message until its
// call runs, since a reference may name the result of a call that runs before.
import { array, integer } from "../bridge/decode.ts";
import { Ext } from "../bridge/protocol.ts";
import { PyEllipsis, PySlice } from "../bridge/values.ts";

export type StandsFor =
  | { readonly kind: "ref"; readonly id: number }
  | { readonly kind: "path"; readonly target: unknown; readonly steps: readonly unknown[] }
  | { readonly kind: "module"; readonly name: string }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "function"; readonly id: number; readonly isOneWay: boolean };

/** Its own class, so that nobody's plain object is taken for one. */
export class Standin {
  readonly of: StandsFor;

  constructor(of: StandsFor) {
    this.of = of;
  }
}

/** For the decoder: undefined for an extension that is not known. */
export function hostOnly(type: number, read: () => unknown): unknown {
  switch (type) {
    case Ext.ref:
      return new Standin({ kind: "ref", id: integer(read()) });
    case Ext.path: {
      const [target, steps] = array(read());
      return new Standin({ kind: "path", target, steps: array(steps) });
    }
    case Ext.module:
      return new Standin({ kind: "module", name: String(read()) });
    case Ext.file:
      return new Standin({ kind: "file", path: String(read()) });
    case Ext.function: {
      const [id, kind] = array(read());
      return new Standin({ kind: "function", id: integer(id), isOneWay: kind !== 0 });
    }
    case Ext.slice: {
      const [start, stop, step] = array(read());
      return new PySlice(start, stop, step);
    }
    case Ext.ellipsis:
      return new PyEllipsis();
    default:
      return undefined;
  }
}

/** The same value with every stand-in replaced. */
export function replaced(value: unknown, replace: (standin: Standin) => unknown): unknown {
  const inside = (one: unknown): unknown => replaced(one, replace);
  if (value instanceof Standin) return replace(value);
  if (Array.isArray(value)) return value.map(inside);
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [inside(key), inside(item)]));
  if (value instanceof Set) return new Set([...value].map(inside));
  if (value instanceof PySlice) return value;
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inside(item)]));
}
