// Rounds, medians and ratios. Cells take turns within a round, so that whatever else the machine does meets all of them alike;
// a ratio is taken within each round, and its median over the rounds is what is told.

/** One thing that is measured. */
export interface Cell {
  readonly name: string;
  /** Milliseconds of each of its operations. */
  round(): Promise<readonly number[]>;
}

export interface Figure {
  readonly min: number;
  readonly median: number;
  readonly p99: number;
  /** How many operations, over all rounds. */
  readonly count: number;
}

/** Milliseconds by cell, one array for each round. */
export class Samples {
  readonly #rounds = new Map<string, (readonly number[])[]>();

  add(name: string, times: readonly number[]): void {
    const rounds = this.#rounds.get(name);
    if (rounds === undefined) this.#rounds.set(name, [times]);
    else rounds.push(times);
  }

  get names(): readonly string[] {
    return [...this.#rounds.keys()];
  }

  has(name: string): boolean {
    return this.#rounds.has(name);
  }

  /** Over the operations of all rounds, each changed by `unit`, such as milliseconds to microseconds. */
  figure(name: string, unit: (ms: number) => number = (ms) => ms): Figure {
    const all = this.#of(name).flat().map(unit).sort(ascending);
    return { min: at(all, 0), median: at(all, 0.5), p99: at(all, 0.99), count: all.length };
  }

  /** Median over the rounds of (median of `name`) / (median of `base`). */
  ratio(name: string, base: string): number {
    return this.#pairs(name, base, (a, b) => a / b);
  }

  /** Median over the rounds of (median of `name`) − (median of `base`), in milliseconds. */
  difference(name: string, base: string): number {
    return this.#pairs(name, base, (a, b) => a - b);
  }

  #pairs(name: string, base: string, compare: (a: number, b: number) => number): number {
    const bases = this.#of(base).map(median);
    return median(this.#of(name).map((times, i) => compare(median(times), bases[i] ?? Number.NaN)));
  }

  #of(name: string): readonly (readonly number[])[] {
    const rounds = this.#rounds.get(name);
    if (rounds === undefined) throw new Error(`${name} was not measured; there is ${this.names.join(", ")}`);
    return rounds;
  }
}

/** Each cell once in a round; every other round goes backwards, so that a drift cancels out. */
export async function interleave(
  cells: readonly Cell[],
  rounds: number,
  { signal, onRound }: { signal?: AbortSignal; onRound?: (round: number) => void | Promise<void> } = {},
): Promise<Samples> {
  const samples = new Samples();
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? cells : [...cells].reverse();
    for (const cell of order) {
      signal?.throwIfAborted();
      samples.add(cell.name, await cell.round());
    }
    await onRound?.(round + 1);
  }
  return samples;
}

/** Milliseconds of each of `count` runs, one after the other. */
export async function timed(count: number, operation: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    await operation();
    times.push(performance.now() - start);
  }
  return times;
}

export function median(values: readonly number[]): number {
  return at([...values].sort(ascending), 0.5);
}

function at(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function ascending(a: number, b: number): number {
  return a - b;
}
