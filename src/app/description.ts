// What the rest of Flambeau needs to know of an app: plain data, no instance and no Python.
// The types come first so that server, queue and cli agree on them; app.ts makes one from an App class.
import type { z } from "zod";

/** Answers once, or yields as it goes. */
export type EndpointMode = "unary" | "stream";

export interface EndpointDescription {
  /** Name of the class field: `textToImage`. */
  readonly name: string;
  readonly path: `/${string}`;
  readonly mode: EndpointMode;
  readonly input: z.ZodType;
  /** What the endpoint returns; of a stream, what it yields. */
  readonly output: z.ZodType;
}

export interface AppDescription {
  /** Class name: `TextToImage`. */
  readonly name: string;
  readonly endpoints: readonly EndpointDescription[];
}
