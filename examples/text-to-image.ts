// Runtime model optimizations, the document's example: load SDXL, optimise, warm up, paint.
import { App, endpoint, type Py } from "flambeau";
import { Image, optimize, tinySdxl } from "flambeau/toolkit";
import { z } from "zod";

// The bundled SDXL (eleven megabytes) unless another is named: MODEL=stabilityai/stable-diffusion-xl-base-1.0
const model = process.env["MODEL"] ?? tinySdxl();

const Input = z.object({
  prompt: z.string().meta({
    description: "The prompt to generate an image from.",
    examples: ["A cinematic shot of a baby racoon wearing an intricate italian priest robe."],
  }),
});
const Output = z.object({ image: Image.schema.meta({ description: "The generated image." }) });

export class TextToImage extends App {
  static override readonly machineType = "GPU";
  static override readonly requirements = ["accelerate", "transformers>=4.30.2", "diffusers>=0.26", "torch>=2.2.0"];

  pipeline!: Py;

  override async setup() {
    const { AutoPipelineForText2Image } = this.py.import("diffusers");

    // Load SDXL
    this.pipeline = await AutoPipelineForText2Image.from_pretrained(model, { torch_dtype: this.dtype, variant: "fp16" });
    await this.pipeline.to(this.device);

    // Apply the optimizer to the pipeline.
    this.pipeline.unet = optimize(this.pipeline.unet);
    this.pipeline.vae = optimize(this.pipeline.vae);

    // Warm up the model.
    await this.pipeline({ prompt: "a cat", num_inference_steps: 30 });
  }

  textToImage = endpoint("/", { input: Input, output: Output }, async ({ prompt }) => {
    const result = await this.pipeline({ prompt, num_inference_steps: 30 });
    const [image] = await result.images;
    return { image: await Image.fromPil(image) };
  });
}
