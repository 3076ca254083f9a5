// Numbers in bulk as an input or output: a typed array in the handler, a JSON array on the wire.
import { z } from "zod";
import { limits } from "../config.ts";

export interface FloatsOptions {
  /** Numbers, not bytes; 16,777,216 by default. A JSON array is bounded by the size of a body and its items as well. */
  readonly maxLength?: number;
}

/**
 * Numbers in bulk as a field of an endpoint's input or output: samples, embeddings, a mask. Rounded to 32 bits.
 * @returns a schema that takes a Float32Array or an array of numbers and gives a Float32Array; what is not finite, and more than
 *   `maxLength`, is an issue of INPUT_INVALID or OUTPUT_INVALID
 */
export function floats({
  maxLength = limits.floatsMax,
}: FloatsOptions = {}): z.ZodType<Float32Array, Float32Array | readonly number[]> {
  return z
    .custom<Float32Array | readonly number[]>(isNumbers, "expected numbers: an array, or a Float32Array")
    .refine((value) => value.length <= maxLength, { error: `at most ${maxLength} numbers`, abort: true })
    .transform((value) => (value instanceof Float32Array ? value : Float32Array.from(value)))
    .superRefine((value, context) => {
      const at = value.findIndex((number) => !Number.isFinite(number));
      if (at >= 0) context.addIssue(`number ${at} is ${value[at]}, for which JSON has no word`);
    })
    .meta({ jsonSchema: { type: "array", items: { type: "number" }, maxItems: maxLength } });
}

function isNumbers(value: unknown): boolean {
  return value instanceof Float32Array || (Array.isArray(value) && value.every((item) => typeof item === "number"));
}
