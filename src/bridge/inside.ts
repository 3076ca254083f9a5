// What a flow of TypeScript is inside of: functions that Python waits for, and blocks that hold Python's main thread. From this it
// is known which calls cannot run before the flow itself goes on. Carried by AsyncLocalStorage (scope.ts); knows no wire.
import { FlambeauError } from "../errors.ts";
import type { Recipe } from "./values.ts";

export interface Inside {
  readonly kind: "callback" | "block";
  /** The call that waits for the function, or the one that entered the block. */
  readonly call: number;
  /** Of that call, as written. */
  readonly path: string;
  /** Of that call's scope: its other calls run inside as well. */
  readonly tag: number;
  /** Calls up to this one, if they are open, wait behind it. */
  readonly newest: number;
  readonly outer: Inside | undefined;
  /** `call` of each, outermost first, as it travels. */
  readonly ids: readonly number[];
}

/** An open call, as far as it matters here. */
export interface WaitingCall {
  readonly id: number;
  readonly path: string;
  readonly tag: number;
  readonly inside: Inside | undefined;
  readonly held: readonly Recipe[];
  readonly state: { readonly kind: string };
}

export function enter(outer: Inside | undefined, here: Omit<Inside, "outer" | "ids">): Inside {
  return { ...here, outer, ids: [...(outer?.ids ?? []), here.call] };
}

/**
 * The error of waiting for `call` here, if that would be waiting for ever: Python would wait for this flow, and this flow for a
 * call that Python runs only afterwards.
 */
export function deadlock(inside: Inside | undefined, call: WaitingCall): FlambeauError | undefined {
  for (let at = inside; at !== undefined; at = at.outer) {
    const blocked = firstBehind(at, call);
    if (blocked === undefined) continue;
    const why =
      at.kind === "callback"
        ? `until ${at.path} has ended, and that waits for the function that waits here`
        : `before the end of the block of ${at.path}, which waits here`;
    return new FlambeauError(
      "DEADLOCK",
      `${blocked.path} cannot run ${why}: both would wait for ever. Make the call in here, or await it outside.`,
    );
  }
  return undefined;
}

/** The call itself, or the first of those that it builds on, that waits until `at` is over. */
function firstBehind(at: Inside, call: WaitingCall): WaitingCall | undefined {
  if (call.state.kind !== "pending") return undefined;
  if (isBehind(at, call)) return call;
  for (const recipe of call.held) {
    const before = recipe.kind === "result" ? firstBehind(at, recipe.call as unknown as WaitingCall) : undefined;
    if (before !== undefined) return before;
  }
  return undefined;
}

function isBehind(at: Inside, call: WaitingCall): boolean {
  if (call.id === at.call) return true;
  if (at.kind === "block") return call.id > at.call && !isIn(call, [at.call]);
  // What ran before it has been answered, though its bytes may still be on their way.
  if (call.id < at.call) return false;
  return call.id <= at.newest || !(call.tag === at.tag || isIn(call, at.ids));
}

function isIn({ inside }: WaitingCall, ids: readonly number[]): boolean {
  return inside?.ids.some((id) => ids.includes(id)) ?? false;
}
