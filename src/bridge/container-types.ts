// Python's own containers as generated types name them. Types only.
import type { Kind, PyArgOf, PyExpr, PyPositional } from "./stub-types.ts";

/** Anything that `for` walks through: lists, tuples, generators, arrays. */
export interface PyItems<T> {
  readonly $each?: T;
  readonly $kind?: { readonly items: Kind<T> };
}

export interface PyList<T> {
  readonly $each?: T;
  readonly $kind?: { readonly list: Kind<T>; readonly items: Kind<T> };
  readonly [index: number]: PyExpr<T>;
  append(item: PyPositional | PyArgOf<T>): PyExpr<null>;
  clear(): PyExpr<null>;
  copy(): PyExpr<PyList<T>>;
  count(item: PyPositional): PyExpr<number>;
  extend(items: PyPositional): PyExpr<null>;
  index(item: PyPositional): PyExpr<number>;
  insert(at: number, item: PyPositional | PyArgOf<T>): PyExpr<null>;
  pop(at?: number): PyExpr<T>;
  reverse(): PyExpr<null>;
}

/** T holds the types of the items in order, or one array type where their number is open. */
export interface PyTuple<T extends readonly unknown[]> {
  readonly $each?: T[number];
  readonly $kind?: { readonly tuple: Kind<T[number]>; readonly items: Kind<T[number]> };
  readonly [index: number]: PyExpr<T[number]>;
  count(item: PyPositional): PyExpr<number>;
  index(item: PyPositional): PyExpr<number>;
}

export interface PyDict<K, V> {
  readonly $each?: K;
  readonly $kind?: { readonly dict: Kind<V>; readonly items: Kind<K> };
  clear(): PyExpr<null>;
  copy(): PyExpr<PyDict<K, V>>;
  get(key: PyPositional, otherwise?: PyPositional): PyExpr<V | null>;
  items(): PyExpr<PyItems<PyTuple<[K, V]>>>;
  keys(): PyExpr<PyItems<K>>;
  pop(key: PyPositional): PyExpr<V>;
  update(entries: PyPositional): PyExpr<null>;
  values(): PyExpr<PyItems<V>>;
}

export interface PySet<T> {
  readonly $each?: T;
  readonly $kind?: { readonly set: Kind<T>; readonly items: Kind<T> };
  add(item: PyPositional): PyExpr<null>;
  discard(item: PyPositional): PyExpr<null>;
  remove(item: PyPositional): PyExpr<null>;
}
