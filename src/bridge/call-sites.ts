// Which line of TypeScript made a call. Its stack takes longer than all else that a call costs on this side, so in a dense series not
// every call has one: those are told by the lines that await them, which V8 knows for nothing when the call fails.
import { fileURLToPath } from "node:url";

/** Holds a V8 stack in `stack`. */
export interface Site {
  readonly stack?: string;
}

/** The package: stacks name its files under dist/, or under src/ where source maps are read. */
const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));
/** Frames of the bridge itself and of Node say nothing to whoever reads an error. */
const NOISE = [`${PACKAGE}src/bridge/`, `${PACKAGE}dist/bridge/`, "node:internal/"];
const WINDOWS_PER_SECOND = 10;

export class CallSites {
  readonly #frames: number;
  readonly #perWindow: number;
  #left = 0;
  #windowEndsMs = 0;

  constructor({ callSiteFrames, callSitesPerSecond }: { callSiteFrames: number; callSitesPerSecond: number }) {
    this.#frames = callSiteFrames;
    this.#perWindow = callSitesPerSecond / WINDOWS_PER_SECOND;
  }

  /** The lines that are running; undefined once there were as many in this tenth of a second as are allowed. */
  here(): Site | undefined {
    if (this.#left < 1 && !this.#renew()) return undefined;
    this.#left--;
    const site: Site = {};
    // The bridge's own frames are cut from what is shown, so more are taken than V8 keeps by itself.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = Math.max(stackTraceLimit, this.#frames);
    Error.captureStackTrace(site);
    Error.stackTraceLimit = stackTraceLimit;
    return site;
  }

  #renew(): boolean {
    const nowMs = performance.now();
    if (nowMs < this.#windowEndsMs) return false;
    this.#windowEndsMs = nowMs + 1_000 / WINDOWS_PER_SECOND;
    this.#left = this.#perWindow;
    return this.#left >= 1;
  }
}

/** How the stack of a failed call begins. */
export function headOf(error: Error, path: string): string {
  return `${error.name}: ${error.message}\n    in ${path}`;
}

/** The lines of whoever uses the bridge. */
export function linesOf(site: Site | undefined): string[] {
  const isOurs = (line: string): boolean => NOISE.some((part) => line.includes(part));
  return (site?.stack ?? "").split("\n").filter((line) => /^ +at /.test(line) && !isOurs(line));
}

/**
 * Rejects with the error of a call without a site, once the lines that await it are in its stack. V8 knows them in a reaction of a
 * promise that theirs already waits for, so the caller has to resolve with what this returns in the same turn.
 */
export function awaited(error: Error, path: string): Promise<never> {
  return new Promise<never>((_resolve, reject) => queueMicrotask(() => reject(error))).catch((thrown: Error) => {
    const head = headOf(thrown, path);
    const rest = thrown.stack?.startsWith(head) ? thrown.stack.slice(head.length) : undefined;
    if (rest !== undefined && !/^\n +at /.test(rest)) thrown.stack = [head, ...linesOf(new Error())].join("\n") + rest;
    throw thrown;
  });
}
