// Right and wrong: classes as `flambeau types` writes them, by hand here, beside handles of which nothing is known.
import type { Py, PyArgOf, PyExpr, PyInput, PyLike, PyList, PyRef, PySelf, Python } from "flambeau";
import { Image, optimize } from "flambeau/toolkit";

interface Dtype {
  readonly $kind?: { readonly dtype: true };
  readonly itemsize: PyExpr<number>;
}
interface Model {
  readonly $kind?: { readonly Model: true };
  readonly training: PyExpr<boolean>;
}
interface UNet {
  readonly $kind?: { readonly Model: true; readonly UNet: true };
  (sample: number): PyExpr<UNet>;
  readonly dtype: PyExpr<Dtype>;
}
interface Scheduler {
  readonly $kind?: { readonly Scheduler: true };
  readonly order: PyExpr<number>;
}
interface Picture {
  readonly $kind?: { readonly Image: true };
  readonly width: PyExpr<number>;
}
interface Output {
  readonly $kind?: { readonly Output: true };
  readonly images: PyExpr<PyList<Picture>>;
}
interface Pipeline {
  readonly $kind?: { readonly Pipeline: true };
  (keywords: {
    prompt?: string | undefined;
    num_inference_steps?: number | PyArgOf<number> | undefined;
  }): PyExpr<Output>;
  get unet(): PyExpr<UNet>;
  set unet(value: PyInput<UNet>);
  readonly scheduler: PyExpr<Scheduler | null>;
  use(model: PyArgOf<Model>): PyExpr<null>;
  to(dtype: string | PyArgOf<Dtype>): PyExpr<PySelf<this>>;
}
declare module "flambeau" {
  interface PyModules {
    painting: { load(name: string): PyExpr<Pipeline> };
  }
  interface PyTypes {
    "painting.Pipeline": Pipeline;
  }
}
declare const py: Python;
declare const untyped: Py;
declare const call: PyExpr;
declare const like: PyLike;

export async function right(): Promise<[number, string]> {
  const { load } = py.import("painting");
  // Whatever has a type may stand where none is asked for.
  const field: Py = await load("x");
  const scheduler: Py = (await (await load("x")).scheduler) ?? untyped;
  const expression: PyExpr = load("x").unet;
  untyped.unet = load("x").unet;
  // And whatever has none, where one is.
  const pipe: Py<"painting.Pipeline"> = await load("x");
  pipe.unet = optimize(pipe.unet);
  pipe.unet = await pipe.unet;
  pipe.unet = call;
  await pipe.to(like).use(untyped);
  pipe.use(pipe.unet);
  await pipe({ prompt: "a cat", num_inference_steps: untyped.steps });
  await pipe({ prompt: undefined, num_inference_steps: py.int(3) });
  const [image] = await pipe({ prompt: "a cat" }).images;
  const width: number = (await image?.width) ?? 0;
  void [field.anything.at.all, scheduler, expression, py.import("unknown").anything({ keyword: 1 })];
  return [width, (await Image.fromPil(image)).url];
}

export async function wrong(pipe: Py<"painting.Pipeline">, model: PyRef<Model>) {
  // @ts-expect-error -- a misspelt keyword
  pipe({ promt: "a cat" });
  // @ts-expect-error -- a misspelt keyword beside a right one
  pipe({ prompt: "a cat", num_inference_step: 30 });
  // @ts-expect-error -- a keyword of another type
  pipe({ prompt: 5 });
  // @ts-expect-error -- a misspelt member
  void pipe.unett;
  // @ts-expect-error -- a misspelt name of ours
  void pipe.$vlaue;
  // @ts-expect-error -- a misspelt member of a module
  py.import("painting").laod("x");
  // @ts-expect-error -- an object of another class
  pipe.unet = pipe.scheduler;
  // @ts-expect-error -- a base class where the class itself is asked for
  pipe.unet = model;
  // @ts-expect-error -- a base class of another tree
  pipe.use(pipe.scheduler);
  // @ts-expect-error -- not callable
  pipe.scheduler();
  // @ts-expect-error -- read only
  pipe.scheduler = untyped;
  // @ts-expect-error -- a call under way is not a settled handle: forgot await on a field
  const field: Py = pipe.unet;
  return field;
}
