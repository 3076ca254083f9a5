// What a proxy answers to names that start with `$`. Knows the names; what they do is handed in by the proxies.
import { FlambeauError } from "../errors.ts";
import type { CallOptions } from "./call.ts";
import { describe } from "./describe.ts";
import type { Handle } from "./handles.ts";
import type { Op } from "./protocol.ts";
import { type Recipe, recipeOf, type Step, TYPED_ARRAYS } from "./values.ts";

/** What stands behind a proxy. */
export interface Target {
  readonly recipe: Recipe;
  readonly options: CallOptions | undefined;
}

export interface Actions {
  expression(recipe: Recipe, options: CallOptions | undefined): object;
  ref(handle: Handle): object;
  step(target: Target, step: Step): object;
  invoke(target: Target, args: readonly unknown[], kwargs: Readonly<Record<string, unknown>>): object;
  /** Sends at once; resolves with the settled value. */
  request(op: Op, target: Target, steps: readonly Step[], args: readonly unknown[]): Promise<unknown>;
  settle(target: Target): Promise<unknown>;
}

/** @throws TypeError for a name that is not ours */
export function ownName(actions: Actions, target: Target, key: string): unknown {
  const { recipe, options } = target;
  const handle = handleOf(recipe);
  const set = async (step: Step, value: unknown): Promise<void> => {
    await actions.request("set", target, [step], [value]);
  };
  switch (key) {
    case "$type":
      return handle?.type ?? "?";
    case "$length":
      return handle?.length ?? undefined;
    case "$released":
      return handle !== undefined && handle.lost !== undefined;
    case "$keep":
      return () => keep(actions, target);
    case "$get":
      return (name: string) => actions.step(target, name);
    case "$set":
      return (name: string, value: unknown) => set(name, value);
    case "$item":
      return (item: unknown) => actions.step(target, { item });
    case "$setItem":
      return (item: unknown, value: unknown) => set({ item }, value);
    case "$call":
      return (args: readonly unknown[], kwargs?: Readonly<Record<string, unknown>>) =>
        actions.invoke(target, args, kwargs ?? {});
    case "$opts":
      return (more: CallOptions) => actions.expression(recipe, { ...options, ...more });
    default:
      return conversion(actions, target, key);
  }
}

export function handleOf(recipe: Recipe | undefined): Handle | undefined {
  if (recipe === undefined) return undefined;
  if (recipe.kind === "ref") return recipe.handle as Handle;
  return recipe.kind === "result" && recipe.call.state.kind === "ref"
    ? (recipe.call.state.handle as Handle)
    : undefined;
}

function keep(actions: Actions, { recipe, options }: Target): object {
  const handle = handleOf(recipe);
  if (handle === undefined || recipe.kind !== "ref") return actions.expression(recipe, options);
  handle.isKept = true;
  return actions.ref(handle);
}

function conversion(actions: Actions, target: Target, key: string): unknown {
  const request = (op: Op, ...args: readonly unknown[]): Promise<unknown> => actions.request(op, target, [], args);
  switch (key) {
    case "$value":
      return async (schema?: { parse(value: unknown): unknown }) => {
        const value = await request("value");
        return schema === undefined ? value : schema.parse(value);
      };
    case "$array":
      return async (as: unknown) => flat(await request("array", dtypeName(as)));
    case "$repr":
      return () => request("repr");
    case "$pixels":
      return () => request("pixels");
    case "$number":
      return () => scalar(actions, target, "number");
    case "$string":
      return () => scalar(actions, target, "string");
    case "$boolean":
      return () => scalar(actions, target, "boolean");
    default:
      throw new TypeError(
        `${key} is not one of Flambeau's own names ($get, $set, $item, $call, $value, $array, $number, …)`,
      );
  }
}

async function scalar(actions: Actions, target: Target, expected: "number" | "string" | "boolean"): Promise<unknown> {
  const value = await actions.settle(target);
  if (typeof value === expected) return value;
  const recipe = recipeOf(value);
  const came = recipe !== undefined ? describe(recipe) : value === null ? "None" : typeof value;
  throw new FlambeauError(
    "OUTPUT_INVALID",
    `${describe(target.recipe)}: expected a ${expected} from Python, got ${came}; for a tensor call .item() first`,
  );
}

/** The elements in C order; shapes are for deep copies. */
function flat(value: unknown): unknown {
  return typeof value === "object" && value !== null && "data" in value ? value.data : value;
}

function dtypeName(as: unknown): string {
  for (const [name, kind] of Object.entries(TYPED_ARRAYS)) if (kind === as) return name;
  throw new TypeError("$array takes a typed array's constructor: Float32Array, Int64Array is BigInt64Array, …");
}
