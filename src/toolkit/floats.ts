// Numbers in bulk as an input or output: a typed array in the handler, a JSON array on the wire.
import { z } from "zod";

export interface FloatsOptions {
  /** Numbers, not bytes. */
  readonly maxLength?: number;
}

/** @returns a schema that takes a Float32Array or an array of numbers and gives a Float32Array */
export function floats({
  maxLength = 16_777_216,
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
