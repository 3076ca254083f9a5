// What a channel is given: its limits, what it tells its owner, and what a call says. Types, and the two messages it checks.
import { z } from "zod";
import type { CallOptions, PyCall } from "./call.ts";
import type { Handle } from "./handles.ts";
import type { Op } from "./protocol.ts";
import type { Recipe, Step } from "./values.ts";

export interface ChannelLimits {
  readonly maxFrameBytes: number;
  readonly chunkBytes: number;
  readonly joinedBytes: number;
  readonly inlineBytes: number;
  readonly maxAttachmentBytes: number;
  readonly blockBytes: number;
  readonly keptBytes: number;
  readonly maxDepth: number;
  readonly maxItems: number;
  readonly helloTimeoutMs: number;
  readonly maxPendingCalls: number;
  readonly cancelGraceMs: number;
  readonly releaseBatchMs: number;
  readonly releaseBatchCount: number;
  readonly collectAboveHandles: number;
  readonly callbackErrorsKept: number;
  readonly callSiteFrames: number;
  readonly callSitesPerSecond: number;
}

export interface ChannelOptions {
  readonly limits: ChannelLimits;
  /** Whose proxies may travel here; those of another owner are stale. */
  readonly owner: object;
  /** The proxy of a handle. */
  wrap(handle: Handle): object;
  /** Progress, logs and notices; the tag says of which scope. */
  onEvent?(tag: number, event: unknown): void;
  /** A call outside of any request failed and nobody has asked for its outcome. */
  onUnseen?(error: Error): void;
  /** The transport ended. Whoever handles this calls `fail`, knowing better why; otherwise the channel fails by itself. */
  onEnd?(error: Error | undefined): void;
  /** A cancelled call has not ended within `cancelGraceMs`. */
  onStuck?(call: PyCall): void;
  /** Something became open, or nothing is any more. */
  onBusy?(isBusy: boolean): void;
}

export interface CallSpec {
  readonly op: Op;
  readonly target: Recipe;
  readonly steps: readonly Step[];
  readonly args?: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
  /** For messages: `pipeline.unet.to()`. */
  readonly path: string;
  readonly options?: CallOptions | undefined;
}

/** Read before the rest, so that another version is told from something else. */
export const Greeting = z.object({ protocol: z.literal("flambeau"), version: z.number() });

export const Hello = Greeting.extend({
  pid: z.number(),
  python: z.string(),
  executable: z.string(),
  platform: z.string(),
});
export type WorkerHello = z.output<typeof Hello>;

export const Pong = z.object({
  running: z.number().nullable(),
  running_ms: z.number(),
  queued: z.number(),
  handles: z.number(),
  bytes: z.number(),
});
export type WorkerStats = z.output<typeof Pong>;
