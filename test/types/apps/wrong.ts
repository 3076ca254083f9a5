// Wrong, under any flags: each line that is expected to fail must fail.
import { App, createHost, endpoint, type Py, type PyExpr, readSettings } from "flambeau";
import { Image, optimize } from "flambeau/toolkit";
import { z } from "zod";

declare const pipe: Py;
declare const call: PyExpr;
const Nothing = z.object({});
const Text = z.object({ text: z.string() });
const Answer = z.object({ v: z.number(), seed: z.number().optional() });

export class Wrong extends App {
  right = endpoint("/", { input: Text, output: Answer }, async ({ text }) => ({ v: text.length }));
  // @ts-expect-error -- a misspelt optional field of the output
  misspelt = endpoint("/a", { input: Nothing, output: Answer }, async () => ({ v: 1, seeed: 2 }));
  // @ts-expect-error -- a wrong type in the output
  wrongType = endpoint("/b", { input: Nothing, output: Answer }, async () => ({ v: "1" }));
  // @ts-expect-error -- a missing field of the output
  incomplete = endpoint("/c", { input: Nothing, output: Answer }, async () => ({ seed: 1 }));
  // @ts-expect-error -- a field that the input does not have
  unknownInput = endpoint("/d", { input: Text, output: Answer }, async ({ txt }) => ({ v: txt.length }));
  // @ts-expect-error -- an input of another type
  wrongInput = endpoint("/e", { input: Text, output: Answer }, async ({ text }) => ({ v: text * 2 }));
  // @ts-expect-error -- a path without its slash
  noSlash = endpoint("f", { input: Nothing, output: Answer }, async () => ({ v: 1 }));
  // @ts-expect-error -- an endpoint is async
  notAsync = endpoint("/g", { input: Nothing, output: Answer }, () => ({ v: 1 }));
  // @ts-expect-error -- a chunk of another type
  wrongChunk = endpoint("/h", { input: Nothing, yields: Answer }, async function* () {
    yield { v: "1" };
  });
  // @ts-expect-error -- Image.fromPil is not awaited
  notAwaited = endpoint("/i", { input: Nothing, output: z.object({ image: Image.schema }) }, async () => ({
    image: Image.fromPil(pipe),
  }));

  callsWrongly = endpoint("/j", { input: Nothing, output: Answer }, async () => {
    // @ts-expect-error -- a wrong field for another endpoint
    await this.right.run({ txt: "x" });
    // @ts-expect-error -- a unary endpoint is not a stream
    for await (const chunk of this.right.run({ text: "x" })) void chunk;
    const answer = await this.right.run({ text: "x" });
    // @ts-expect-error -- a field that the answer does not have
    void answer.w;
    // @ts-expect-error -- forgot await
    const { v } = this.right.run({ text: "x" });
    return { v };
  });
  // @ts-expect-error -- what may be missing cannot be a field that is needed
  maybe = endpoint("/k", { input: Nothing, output: Answer }, async () => ({
    v: (await this.right.run({ text: "x" })).seed,
  }));
}

// @ts-expect-error -- no such machine
export class NoSuchMachine extends App {
  static override readonly machineType = "GPUU";
}
// @ts-expect-error -- requirements are a list
export class OneRequirement extends App {
  static override readonly requirements = "torch";
}
export class NoPromise extends App {
  // @ts-expect-error -- setup is async
  override setup(): number {
    return 1;
  }
}

export async function values() {
  // @ts-expect-error -- a misspelt name of ours
  pipe.$vlaue();
  // @ts-expect-error -- neither exists on an expression
  call.$nubmer();
  // @ts-expect-error -- await has already made a plain value of a number
  pipe.$number();
  const settled = await call;
  // @ts-expect-error -- the same
  settled.$string();
  // @ts-expect-error -- forgot await: a call under way has no length to take apart
  const [first] = call;
  // @ts-expect-error -- a call under way is not a settled handle: forgot await on a field
  const field: Py = call;
  // @ts-expect-error -- a symbol cannot be sent
  pipe(Symbol("x"));
  // @ts-expect-error -- only what comes from Python can be optimised
  optimize("unet");
  // @ts-expect-error -- no such quality
  optimize(pipe, { quality: "best" });
  // @ts-expect-error -- no such format
  await Image.fromPil(pipe, { format: "gif" });
  // @ts-expect-error -- not a typed array
  await pipe.$array(Array);
  return [first, field];
}

// @ts-expect-error -- settings are needed
createHost(Wrong, {});
// @ts-expect-error -- an instance is not a class
createHost(new Wrong(), { settings: readSettings() });
