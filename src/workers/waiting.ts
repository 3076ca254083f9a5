// Tells the logger how far one long wait is, at once when something changes and otherwise twice a second.
import { limits } from "../config.ts";
import type { Logger, Wait } from "../log.ts";

type State = Omit<Wait, "id" | "finished">;

/** One bar. Its owner ends it with `using`, in success and failure alike. */
export class Waiting implements Disposable {
  readonly #logger: Logger;
  readonly #id: string;
  #state: State;
  #measure: (() => Promise<Partial<State>>) | null = null;
  #measuring = false;
  #ended = false;
  readonly #timer: NodeJS.Timeout;

  constructor(logger: Logger, id: string, first: State) {
    this.#logger = logger;
    this.#id = id;
    this.#state = first;
    this.#timer = setInterval(() => void this.#tick(), limits.waitUpdateMs);
    this.#say();
  }

  /** A new label begins a new stretch; what is not named stays. */
  set(change: Partial<State>): void {
    this.#state = { ...this.#state, ...change };
    this.#say();
  }

  /** Asked at every tick from now on (sizes of files that are growing); null for nothing to ask. */
  measureWith(measure: (() => Promise<Partial<State>>) | null): void {
    this.#measure = measure;
  }

  [Symbol.dispose](): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#timer);
    this.#logger.wait({ id: this.#id, ...this.#state, finished: true });
  }

  async #tick(): Promise<void> {
    const measure = this.#measure;
    if (measure !== null && !this.#measuring) {
      this.#measuring = true;
      const change = await measure().catch(() => ({}));
      this.#measuring = false;
      if (measure === this.#measure) this.#state = { ...this.#state, ...change };
    }
    this.#say();
  }

  #say(): void {
    if (!this.#ended) this.#logger.wait({ id: this.#id, ...this.#state });
  }
}
