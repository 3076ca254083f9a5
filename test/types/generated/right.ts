// Right: the document's app with its pipeline typed, and what people write around torch and diffusers. Nothing is cast.
import { App, endpoint, type Py, type PyExpr } from "flambeau";
import { Image, optimize, tinySdxl } from "flambeau/toolkit";
import { z } from "zod";

type IsAny<T> = 0 extends 1 & T ? true : false;
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Expect<T extends true> = T;

export class Typed extends App {
  static override readonly requirements = ["torch", "diffusers", "transformers"];
  auto!: Py<"diffusers.AutoPipelineForText2Image">;
  sdxl!: Py<"diffusers.StableDiffusionXLPipeline">;
  whatever!: Py;
  scheduler!: Py;

  override async setup() {
    const torch = this.py.import("torch");
    const { AutoPipelineForText2Image, StableDiffusionXLPipeline, EulerDiscreteScheduler } =
      this.py.import("diffusers");
    this.auto = await AutoPipelineForText2Image.from_pretrained(tinySdxl(), {
      torch_dtype: this.dtype,
      variant: "fp16",
    });
    this.sdxl = await StableDiffusionXLPipeline.from_pretrained("x", {
      torch_dtype: torch.float16,
      feature_extractor: null,
    });
    this.whatever = await AutoPipelineForText2Image.from_pretrained("x");
    this.whatever = await AutoPipelineForText2Image.from_pipe(this.auto);
    this.scheduler = await EulerDiscreteScheduler.from_config(this.sdxl.scheduler.config, { use_karras_sigmas: true });
    await this.auto.to(this.device);
    await this.sdxl.to("cuda", torch.float16);
    this.auto.unet = optimize(this.auto.unet);
    this.sdxl.vae = optimize(this.sdxl.vae);
    this.sdxl.unet = await this.sdxl.unet;
    this.sdxl.scheduler = EulerDiscreteScheduler.from_config(this.sdxl.scheduler.config);
    this.whatever.scheduler = EulerDiscreteScheduler.from_config(this.whatever.scheduler.config);
    const generator = torch.Generator("cpu").manual_seed(1);
    await this.sdxl({ prompt: ["a cat", "a dog"], num_inference_steps: 30, generator, guidance_scale: 5 });
    await this.sdxl("a cat", { num_inference_steps: 30 });
    await this.whatever({ prompt: "a cat", anything: [1, 2] });
  }

  paint = endpoint(
    "/",
    { input: z.object({ prompt: z.string() }), output: z.object({ image: Image.schema, width: z.int() }) },
    async ({ prompt }) => {
      const { images } = await this.auto({ prompt, num_inference_steps: 30 });
      const [image] = await images;
      const width = (await image?.width) ?? 0;
      type _ = [Expect<Equal<typeof width, number>>];
      return { image: await Image.fromPil(image), width };
    },
  );

  async tensors() {
    const torch = this.py.import("torch");
    const x = torch.zeros(1, 3, { device: this.device, dtype: torch.float32 });
    const y = torch.arange(0, 10, 2).reshape(1, 5).to("cpu").abs();
    const dimensions = await x.dim();
    const isThere = await torch.cuda.is_available();
    const layer = torch.nn.Linear(3, 4, { bias: false });
    const out = await layer(x).sum();
    const numbers = await y.cpu().$array(Float32Array);
    const model = this.auto.unet;
    const module = this.py.import("nowhere");
    type _ = [
      Expect<Equal<typeof dimensions, number>>,
      Expect<Equal<typeof isThere, boolean>>,
      Expect<Equal<typeof numbers, Float32Array<ArrayBuffer>>>,
      Expect<Equal<typeof module, PyExpr>>,
      Expect<Equal<IsAny<typeof x>, false>>,
      Expect<Equal<IsAny<typeof out>, false>>,
      Expect<Equal<IsAny<typeof model>, false>>,
      Expect<Equal<IsAny<typeof this.sdxl.text_encoder>, false>>,
    ];
  }
}
