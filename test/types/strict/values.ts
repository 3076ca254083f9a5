// What untyped Python looks like where members are expressions: under `strict`, without noUncheckedIndexedAccess.
import type { Py, PyExpr, PyRef, Python } from "flambeau";
import { optimize } from "flambeau/toolkit";
import { z } from "zod";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Expect<T extends true> = T;
declare const py: Python;
declare const pipe: Py;

export async function right() {
  const result = await pipe({ prompt: "x" });
  const called = pipe.unet.to("cuda");
  const settled = await pipe.unet;
  const again = await settled;
  const [first] = await result.images;
  const image = await first;
  const steps = await pipe.config.in_channels.$number();
  const data = await pipe.config.$value(z.object({ steps: z.int() }));
  const item = await py.as<number>(pipe.loss.item());
  const optimized = optimize(pipe.unet);
  const kept = optimize(settled);
  type _ = [
    Expect<Equal<typeof result, PyRef>>,
    Expect<Equal<typeof called, PyExpr>>,
    Expect<Equal<typeof settled, PyRef>>,
    Expect<Equal<typeof again, PyRef>>,
    Expect<Equal<typeof image, PyRef>>,
    Expect<Equal<typeof steps, number>>,
    Expect<Equal<typeof data, { steps: number }>>,
    Expect<Equal<typeof item, number>>,
    Expect<Equal<typeof optimized, PyExpr>>,
    Expect<Equal<typeof kept, PyRef>>,
  ];
  pipe.unet = optimized;
  pipe.unet = py.of(settled);
  pipe.steps = py.of(30);
  await pipe.$set("safety_checker", null);
  void [pipe[0], pipe[-1], pipe.layers[3].weight, await pipe.name().$string()];
  pipe.apply(optimized);
  pipe({ ...{ a: 1, b: undefined }, callback: (step: number) => void step });
  pipe(new Map([[1, "a"]]), [1, [2]], new Float32Array(3), { nested: { deep: [pipe.unet, 1n] } });
}

export async function wrong() {
  const settled = await pipe.unet;
  // @ts-expect-error -- a settled handle is not an expression: py.of(settled) or $set
  pipe.unet = settled;
  // @ts-expect-error -- forgot await and $number
  const steps: number = pipe.config.steps;
  // @ts-expect-error -- forgot await
  const [bad] = pipe.images();
  // @ts-expect-error -- null is not an expression: py.none
  pipe.safety_checker = null;
  // @ts-expect-error -- nor is a number
  pipe.steps = 30;
  // @ts-expect-error -- forgot await on a field
  const field: Py = pipe.to("cuda");
  // @ts-expect-error -- a misspelt name of ours, after a member
  pipe.unet.$vlaue();
  return [steps, bad, field];
}
