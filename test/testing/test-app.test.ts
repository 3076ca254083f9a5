// testApp: an app over fake modules goes through the same proxies as over Python, and over the real worker it is the real one.
import { App, endpoint, FlambeauError, type Py, PyError, PyOutOfMemoryError } from "flambeau";
import { fakeError, fakeImage, testApp } from "flambeau/testing";
import { Image, optimize } from "flambeau/toolkit";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Smooth } from "../../examples/own-module.ts";
import { TextToImage } from "../../examples/text-to-image.ts";
import { limits, readSettings } from "../../src/config.ts";
import { FakeImage } from "../../src/testing/fake-modules.ts";
import { Plain } from "../host/plain-app.ts";
import { failureOf } from "../support/errors.ts";
import { testPython } from "../support/python.ts";

type Kwargs = Readonly<Record<string, unknown>>;

/** What SDXL is to the document's app. */
function fakePipeline(paint: (kwargs: Kwargs) => unknown = () => ({ images: [fakeImage(64, 48)] })) {
  const pipeline = Object.assign((kwargs: Kwargs) => paint(kwargs), {
    unet: { config: { sample_size: 16 } },
    vae: {},
    to: (_device: string) => pipeline,
  });
  return pipeline;
}

const diffusers = (pipeline: object) => ({ AutoPipelineForText2Image: { from_pretrained: () => pipeline } });

class Bare extends App {
  nothing = endpoint("/", { input: z.object({}), output: z.null() }, async () => null);
}

describe("a fake", () => {
  test("that throws what is no error, or an error that is its own cause, fails its call, and the next one runs", async () => {
    const endless = new Error("again");
    endless.cause = endless;
    const odd = {
      text: () => {
        throw "a text";
      },
      none: () => Promise.reject(undefined),
      endless: () => Promise.reject(endless),
      fine: () => 1,
    };
    await using app = await testApp(Bare, { modules: { odd } });
    const fake = app.py.import("odd");
    expect((await failureOf(fake.text())).message).toBe("Error: a text");
    expect((await failureOf(fake.none())).message).toBe("Error: undefined");
    let depth = 0;
    for (let error: unknown = await failureOf(fake.endless()); error instanceof PyError; error = error.cause) depth++;
    expect(depth).toBe(limits.fakeCauses + 1);
    expect(await fake.fine()).toBe(1);
  });

  test("module is the very object that was given: asked for nothing else, and keeping what is assigned", async () => {
    class Model {
      size = 2;
      get broken(): never {
        throw new Error("asked for");
      }
      double(n: number) {
        return n * this.size;
      }
    }
    const modules = { model: new Model() as unknown as Record<string, unknown>, torch: { cat: () => "joined" } };
    await using app = await testApp(Bare, { modules });
    const [model, torch] = [app.py.import("model"), app.py.import("torch")];
    expect(await model.double(3)).toBe(6);
    model.size = 5;
    expect(await model.double(3)).toBe(15);
    expect((await failureOf(model.broken)).message).toContain("asked for");
    torch.threads = 1;
    expect([await torch.threads, await torch.cat(), await torch.float32]).toEqual([1, "joined", "torch.float32"]);
    expect(modules.torch).not.toHaveProperty("threads");
  });
});

describe("the document's app over fakes", () => {
  test("refuses a picture of more pixels than are encoded", async () => {
    /** Sized by its word: so many pixels would fill the memory. */
    class Wide extends FakeImage {
      override get pixels(): Uint8Array {
        return new Uint8Array(3);
      }
    }
    const painted = async (width: number) => {
      const pipeline = fakePipeline(() => ({ images: [new Wide(width, 1)] }));
      await using app = await testApp(TextToImage, { modules: { diffusers: diffusers(pipeline) } });
      return failureOf(app.textToImage.run({ prompt: "a red star" }));
    };
    expect(await painted(limits.imagePixels + 1)).toMatchObject({ code: "TOO_LARGE" });
    // At the limit it is sharp that misses the pixels.
    expect((await painted(limits.imagePixels)).message).not.toContain("at most");
  });

  test("has a report of each module that it gave to optimize()", async () => {
    await using app = await testApp(TextToImage, { modules: { diffusers: diffusers(fakePipeline()) } });
    expect(await optimize.report(app.pipeline.unet)).toMatchObject({ state: "waiting", applied: [], speedUp: null });
  });

  test("thirty steps, and the picture comes back with its size", async () => {
    await using app = await testApp(TextToImage, { modules: { diffusers: diffusers(fakePipeline()) } });
    const { image } = await app.textToImage.run({ prompt: "a red star" });
    expect(image).toMatchObject({ width: 64, height: 48, content_type: "image/png" });
    expect(image.url).toMatch(/^data:image\/png;base64,iVBOR/);
    expect(app.$calls.at(-1)).toEqual({
      path: "diffusers.AutoPipelineForText2Image.from_pretrained()",
      args: [],
      kwargs: { prompt: "a red star", num_inference_steps: 30 },
    });
    expect(app.$calls[0]).toMatchObject({
      path: "diffusers.AutoPipelineForText2Image.from_pretrained",
      kwargs: { torch_dtype: "torch.float32", variant: "fp16" },
    });
  });

  test("what it assigned is what the fake has, and the device is the one that was asked for", async () => {
    const pipeline = fakePipeline();
    const { unet } = pipeline;
    await using app = await testApp(TextToImage, { modules: { diffusers: diffusers(pipeline) }, device: "cuda" });
    expect(pipeline.unet).toBe(unet);
    expect(app.$calls.find(({ path }) => path.endsWith(".to"))?.args).toEqual(["cuda"]);
  });

  test("a module without a fake is an error that says where to give one", async () => {
    const error = await failureOf(testApp(TextToImage, { modules: {} }));
    expect(error).toMatchObject({ pythonType: "ModuleNotFoundError" });
    expect(error.message).toContain('modules: { "diffusers": { … } }');
  });
});

test("a file of the app's own is a fake under its name, and py.tensor is the numbers that it was given", async () => {
  const tensor = (numbers: Float32Array): object => ({
    flatten: () => tensor(numbers),
    abs: () => tensor(numbers.map(Math.abs)),
    max: () => ({ item: () => Math.max(...numbers) }),
    cpu: () => numbers,
  });
  const model: object = Object.assign((x: Float32Array) => tensor(x.map((number) => number / 2)), {
    to: () => model,
    eval: () => model,
  });
  await using app = await testApp(Smooth, {
    modules: { "smoother.py": { Smoother: () => model }, torch: { zeros: () => new Float32Array(4) } },
  });
  expect(await app.smooth.run({ samples: [1, -3] })).toEqual({ samples: Float32Array.of(0.5, -1.5), peak: 1.5 });
});

const Text = z.object({ text: z.string() });

/** One endpoint for each thing that a proxy can do. */
class Every extends App {
  lab = this.py.import("lab");
  model!: Py;
  closed = false;

  override async setup() {
    this.model = await this.lab.Model("small", { layers: 2 });
  }

  override async teardown() {
    this.closed = true;
  }

  chain = endpoint("/chain", { input: Text, output: Text }, async ({ text }) => {
    const written = this.model.tokenizer(text).join("-");
    return { text: await written.$string() };
  });
  batch = endpoint("/batch", { input: z.object({ sizes: z.array(z.int()) }), output: Text }, async ({ sizes }) => {
    const done: number[] = [];
    for (let left = sizes; left.length > 0; ) {
      try {
        await this.model.run(left.length);
        done.push(left.length);
        left = [];
      } catch (error) {
        if (!(error instanceof PyOutOfMemoryError)) throw error;
        left = left.slice(1);
      }
    }
    return { text: done.join() };
  });
  stream = endpoint("/stream", { input: Text, yields: Text }, (input) => this.words(input));
  async *words({ text }: { text: string }) {
    for await (const word of this.lab.split(text)) yield { text: String(word) };
  }
}

class Model {
  readonly name: string;
  readonly layers: number;
  constructor(name: string, { layers }: { layers: number }) {
    this.name = name;
    this.layers = layers;
  }
  tokenizer(text: string) {
    return { ids: text.split(" "), join: (by: string) => text.split(" ").join(by) };
  }
  run(size: number) {
    if (size > this.layers) throw fakeError("torch.OutOfMemoryError", `no room for ${size}`);
    return size;
  }
}

const lab = {
  Model,
  *split(text: string) {
    yield* text.split(" ");
  },
  numbers: new Float32Array([1, 2, 3]),
  tree: { a: [1, { b: "two" }], when: new Date(0), map: new Map([[1, "x"]]) },
  locked: { a: [new (class Lock {})()] },
  later: async (value: number) => value * 2,
  never: () => new Promise(() => {}),
  steps: async (count: number, { on_step }: { on_step: (step: number, state: object) => Promise<unknown> }) => {
    const answers: unknown[] = [];
    for (let step = 0; step < count; step++) answers.push(await on_step(step, { step }));
    return answers.join();
  },
  fail: () => {
    throw fakeError("ValueError", "not like this");
  },
};

describe("fakes through the proxies", () => {
  const tested = () => testApp(Every, { modules: { lab, "lab.deep": { answer: 42 } } });

  test("classes are made, members followed, methods called on what they belong to, without waiting between", async () => {
    await using app = await tested();
    expect(app.model.$type).toBe("Model");
    expect(await app.model.$get("name")).toBe("small");
    expect(await app.model.layers).toBe(2);
    expect(await app.chain.run({ text: "a b c" })).toEqual({ text: "a-b-c" });
    expect(await app.py.import("lab.deep").answer).toBe(42);
  });

  test("exceptions of Python's types reach the app's own handling", async () => {
    await using app = await tested();
    expect(await app.batch.run({ sizes: [1, 2, 3, 4] })).toEqual({ text: "2" });
    const error = await failureOf(app.lab.fail().more().again());
    expect(error).toBeInstanceOf(PyError);
    expect(error).toMatchObject({ pythonType: "ValueError", callPath: "lab.fail()" });
    // The line of the app, and behind it that of the fake.
    expect(error.stack).toMatch(/test-app\.test\.ts[^—]+— Python —[^—]+test-app\.test\.ts/);
    expect((error as PyError).is("Exception")).toBe(true);
  });

  test("a stream yields what a generator yields, and a loop that is left closes it", async () => {
    await using app = await tested();
    const words: string[] = [];
    for await (const { text } of app.stream.run({ text: "one two three" })) words.push(text);
    expect(words).toEqual(["one", "two", "three"]);
    for await (const word of app.lab.split("left early")) {
      expect(word).toBe("left");
      break;
    }
  });

  test("copies, arrays and items are as from Python, and what cannot be copied names its path", async () => {
    await using app = await tested();
    expect(await app.lab.tree.$value()).toEqual(lab.tree);
    expect(await app.lab.numbers.$array(Float32Array)).toEqual(lab.numbers);
    expect(await failureOf(app.lab.numbers.$array(Float64Array))).toMatchObject({ code: "NOT_SENDABLE" });
    expect((await failureOf(app.lab.locked.$value())).message).toContain("$.a[0] is an instance of Lock");
    expect(await app.lab.tree.a[-1].b).toBe("two");
    expect(await app.lab.tree.map.$item(1)).toBe("x");
    expect(await failureOf(app.lab.tree.a[7])).toMatchObject({ pythonType: "IndexError" });
    expect((await app.lab.tree.a).$length).toBe(2);
    for (const wrong of ["nothing", "toString", "constructor"])
      expect(await failureOf(app.lab.tree.$get(wrong)), wrong).toMatchObject({ pythonType: "AttributeError" });
  });

  test("the same object is the same proxy, and goes back as itself", async () => {
    const seen: unknown[] = [];
    const thing = {};
    await using app = await testApp(Every, {
      modules: { lab: { ...lab, thing, keep: (one: object) => seen.push(one) } },
    });
    const one = await app.lab.thing;
    expect(await app.lab.thing).toBe(one);
    await app.lab.keep(one);
    expect(seen[0]).toBe(thing);
    one.name = app.py.of("given");
    await app.py.flush();
    expect(thing).toEqual({ name: "given" });
  });

  test("functions of the app are called, may answer later, may call Python, and their errors come out as they were", async () => {
    await using app = await tested();
    const answered = app.lab.steps(3, {
      on_step: async (step: number, state: Py) => (await app.lab.later(step).$number()) + (await state.step.$number()),
    });
    expect(await answered.$string()).toBe("0,3,6");
    const mine = new RangeError("mine");
    const failing = app.lab.steps(1, {
      on_step: () => {
        throw mine;
      },
    });
    expect(await failureOf(failing)).toBe(mine);
  });

  test("a block enters and leaves what has __enter__ and __exit__, which hears of the error and may swallow it", async () => {
    const heard: unknown[] = [];
    const mode = {
      __enter__: () => heard.push("enter"),
      __exit__: (name: string | null, message: string | null) => heard.push([name, message]),
    };
    await using app = await testApp(Every, { modules: { lab: { ...lab, mode } } });
    const { py } = app;
    expect(await py.with(app.lab.mode, async () => app.lab.later(2).$number())).toBe(4);
    const swallowed = py.with(app.lab.mode, async () => {
      throw new RangeError("too far");
    });
    expect(await swallowed).toBeUndefined();
    expect(heard).toEqual(["enter", [null, null], "enter", ["RangeError", "too far"]]);
  });

  test("a call that is cancelled ends, and the next one runs", async () => {
    await using app = await tested();
    const signal = AbortSignal.timeout(20);
    expect(await failureOf(app.lab.never.$opts({ signal })())).toMatchObject({ code: "CANCELLED" });
    expect(await app.lab.later(4)).toBe(8);
  });

  test("bytes of any length pass in both directions", async () => {
    await using app = await testApp(Every, { modules: { lab: { ...lab, back: (bytes: Uint8Array) => bytes } } });
    const bytes = new Uint8Array(1_000_000).map((_, at) => at);
    const back = (await app.lab.back.$call([bytes])) as unknown as Uint8Array;
    expect(Buffer.from(back).equals(bytes)).toBe(true);
    const seen: unknown[] = [];
    await using ordered = await testApp(Every, { modules: { lab: { ...lab, see: (one: unknown) => seen.push(one) } } });
    const first = ordered.lab.see.$call([bytes]);
    await ordered.lab.see("behind it");
    expect(seen).toEqual([expect.any(Uint8Array), "behind it"]);
    await first;
  });

  test("disposing runs teardown, and tells of a call that failed while nobody waited", async () => {
    const app = await tested();
    await app[Symbol.asyncDispose]();
    expect(app.closed).toBe(true);
    expect(await failureOf(app.lab.later(1))).toMatchObject({ code: "WORKER_EXITED" });
    const careless = await tested();
    careless.lab.fail();
    expect(await failureOf(careless[Symbol.asyncDispose]())).toMatchObject({ pythonType: "ValueError" });
  });

  test("py.expr says that there is no Python", async () => {
    await using app = await tested();
    expect(await failureOf(app.py.expr`1 + ${1}`)).toMatchObject({ pythonType: "NotImplementedError" });
  });
});

describe("the real worker", () => {
  test("is started, set up and ended like a host's", async () => {
    const settings = { ...readSettings(), python: await testPython() };
    let pid = 0;
    {
      await using app = await testApp(Plain, { python: "real", settings });
      expect(app.starts).toBe(1);
      expect(await app.echo.run({ text: "hello" })).toEqual({ text: "hello" });
      ({ pid } = await app.pid.run({}));
      expect(await failureOf(app.raise.run({}))).toBeInstanceOf(FlambeauError);
    }
    expect(() => process.kill(pid, 0)).toThrow();
  });

  test("reads Image from a picture that PIL has made", async () => {
    class Painter extends App {
      paint = endpoint("/", { input: z.object({}), output: z.object({ image: Image.schema }) }, async () => {
        const picture = this.py.import("PIL.Image").$get("new")("RGB", this.py.tuple(8, 4));
        return { image: await Image.fromPil(picture) };
      });
    }
    const settings = { ...readSettings(), python: await testPython() };
    await using app = await testApp(Painter, { python: "real", settings });
    expect((await app.paint.run({})).image).toMatchObject({ width: 8, height: 4 });
  });
});
