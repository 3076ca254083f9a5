// The app of the whole-path benchmark: prompt, steps and seed to a picture. Made from the compiled package, as the host is.
import { z } from "zod";
import type { AppClass } from "../../src/app/app.ts";
import type { Py } from "../../src/index.ts";
import { compiled } from "./options.ts";

export interface PaintOptions {
  /** Folder of the model. */
  readonly model: string;
  readonly isOptimized: boolean;
}

const Order = z.object({ prompt: z.string(), seed: z.int(), steps: z.int() });

export async function paintApp({ model, isOptimized }: PaintOptions): Promise<AppClass> {
  const { App, endpoint }: typeof import("../../src/index.ts") = await import(compiled("index.js"));
  const { Image, optimize }: typeof import("../../src/toolkit.ts") = await import(compiled("toolkit.js"));
  return class Paint extends App {
    pipeline!: Py;

    override async setup() {
      const { AutoPipelineForText2Image } = this.py.import("diffusers");
      this.pipeline = await AutoPipelineForText2Image.from_pretrained(model, {
        torch_dtype: this.dtype,
        variant: "fp16",
      });
      if (!isOptimized) return;
      this.pipeline.unet = optimize(this.pipeline.unet);
      this.pipeline.vae = optimize(this.pipeline.vae);
    }

    paint = endpoint(
      "/",
      { input: Order, output: z.object({ image: Image.schema }) },
      async ({ prompt, seed, steps }) => {
        const generator = this.py.import("torch").Generator("cpu").manual_seed(seed);
        const result = await this.pipeline({ prompt, num_inference_steps: steps, generator });
        const [image] = await result.images;
        return { image: await Image.fromPil(image) };
      },
    );

    report = endpoint(
      "/report",
      { input: z.object({}), output: z.object({ unet: z.unknown(), vae: z.unknown() }) },
      async () => ({
        unet: await optimize.report(this.pipeline.unet),
        vae: await optimize.report(this.pipeline.vae),
      }),
    );
  };
}
