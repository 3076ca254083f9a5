// What an encoder is given and what it gives. Types only.
import type { HandleFields } from "./decode.ts";
import type { Recipe } from "./values.ts";

export interface Attachment {
  readonly id: number;
  readonly bytes: Uint8Array;
}

export interface EncodedMessage {
  /** 16 bytes of room for the header, then the body. */
  readonly bytes: Uint8Array;
  readonly attachments: readonly Attachment[];
  /** Each live object or open call that the message names: kept alive until its answer came. */
  readonly refs: readonly Recipe[];
}

export interface EncodeContext {
  readonly owner: object;
  readonly limits: {
    readonly inlineBytes: number;
    readonly maxDepth: number;
    readonly maxItems: number;
    readonly maxAttachmentBytes: number;
    readonly maxFrameBytes: number;
  };
  nextAttachmentId(): number;
  /** What a worker tells of an object that stays with it. A host has no such objects. */
  handleOf?(value: object): HandleFields | undefined;
  registerFunction(fn: (...args: never) => unknown): { readonly id: number; readonly kind: number };
}
