// Frames that are answered by one frame of the same id: hello, ping, stack dump. Knows neither what is asked nor how it travels.
import { FlambeauError } from "../errors.ts";
import type { FrameType } from "./protocol.ts";

/** Ids stay below this, so type and id make one key. */
const IDS = 2 ** 48;

export class Questions {
  readonly #open = new Map<number, (answer: unknown) => void>();

  get size(): number {
    return this.#open.size;
  }

  /** Resolves with the body of the answer; rejects when that is an error. */
  ask(type: FrameType, id: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#open.set(type * IDS + id, (answer) => (answer instanceof Error ? reject(answer) : resolve(answer)));
    });
  }

  answer(type: FrameType, id: number, body: unknown): void {
    const open = this.#open.get(type * IDS + id);
    this.#open.delete(type * IDS + id);
    open?.(body);
  }

  fail(error: Error): void {
    for (const open of this.#open.values()) open(error);
    this.#open.clear();
  }
}

/** @throws FlambeauError TIMEOUT */
export async function within<T>(answer: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new FlambeauError("TIMEOUT", `${what} within ${timeoutMs} ms.`)), timeoutMs);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}
