// Right: a pipeline that is loaded, patched, optimised and called; options that may be missing; a picture out.
import { App, endpoint, type Py } from "flambeau";
import { Image, optimize, tinySdxl } from "flambeau/toolkit";
import { z } from "zod";

const Input = z.object({
  prompt: z.string().min(1),
  seed: z.int().min(0).optional(),
  steps: z.int().min(1).max(50).default(20),
});
const Output = z.object({ image: Image.schema, seed: z.int().optional() });

export class Portrait extends App {
  static override readonly machineType = "GPU";
  static override readonly requirements = ["torch>=2.2.0", "diffusers"];
  static override readonly maxConcurrency = 1;

  pipeline!: Py;
  torch = this.py.import("torch");

  override async setup() {
    const { DiffusionPipeline } = this.py.import("diffusers");
    this.pipeline = await DiffusionPipeline.from_pretrained(tinySdxl(), { torch_dtype: this.dtype, variant: "fp16" });
    await this.pipeline.to(this.device);
    this.pipeline.safety_checker = this.py.none;
    this.pipeline.unet = optimize(this.pipeline.unet, { quality: "fast" });
    await this.pipeline.$set("requires_aesthetics_score", false);
  }

  override async teardown() {
    await this.py.import("gc").collect();
  }

  paint = endpoint(
    "/",
    { input: Input, output: Output, timeoutMs: 60_000 },
    async ({ prompt, seed, steps }, { progress }) => {
      const generator = seed === undefined ? undefined : this.torch.Generator(this.device).manual_seed(seed);
      const { images } = await this.pipeline({ prompt, num_inference_steps: steps, generator });
      const [image] = await images;
      progress(1, 1, "write");
      const painted = await Image.fromPil(image, { format: "webp", quality: 80 });
      return seed === undefined ? { image: painted } : { image: painted, seed };
    },
  );
}
