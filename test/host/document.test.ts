// The document that Flambeau mirrors: each of its Python lines beside its line of examples/text-to-image.ts, and that example
// run whole: the real torch and diffusers, the bundled model, thirty steps.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { TextToImage } from "../../examples/text-to-image.ts";
import { describeApp } from "../../src/app/app.ts";
import { openapi } from "../../src/app/openapi.ts";
import { OutputFolder } from "../../src/cli/output-folder.ts";
import type { RequestEvent } from "../../src/queue/request.ts";
import { Image } from "../../src/toolkit/image.ts";
import { follow, hostOf, scratch } from "./fixture.ts";

/** Python, as the document has it, and TypeScript. */
const LINES: readonly (readonly [string, string])[] = [
  ["import fal", 'import { App, endpoint, type Py } from "flambeau";'],
  ["import fal.toolkit", 'import { Image, optimize, tinySdxl } from "flambeau/toolkit";'],
  ["from fal.toolkit import Image", 'import { Image, optimize, tinySdxl } from "flambeau/toolkit";'],
  ["from pydantic import BaseModel, Field", 'import { z } from "zod";'],
  ["class Input(BaseModel):", "const Input = z.object({"],
  ["prompt: str = Field(", "prompt: z.string().meta({"],
  ['description="The prompt to generate an image from.",', 'description: "The prompt to generate an image from.",'],
  [
    'examples=["A cinematic shot of a baby racoon wearing an intricate italian priest robe."],',
    'examples: ["A cinematic shot of a baby racoon wearing an intricate italian priest robe."],',
  ],
  ["class Output(BaseModel):", "const Output = z.object({"],
  [
    'image: Image = Field(description="The generated image.")',
    'image: Image.schema.meta({ description: "The generated image." })',
  ],
  ["class FalModel(fal.App):", "export class TextToImage extends App {"],
  ['machine_type = "GPU"', 'static override readonly machineType = "GPU";'],
  [
    'requirements = ["accelerate", "transformers>=4.30.2", "diffusers>=0.26", "torch>=2.2.0"]',
    'static override readonly requirements = ["accelerate", "transformers>=4.30.2", "diffusers>=0.26", "torch>=2.2.0"];',
  ],
  ["def setup(self) -> None:", "override async setup() {"],
  [
    "from diffusers import AutoPipelineForText2Image",
    'const { AutoPipelineForText2Image } = this.py.import("diffusers");',
  ],
  ["# Load SDXL", "// Load SDXL"],
  [
    "self.pipeline = AutoPipelineForText2Image.from_pretrained(",
    "this.pipeline = await AutoPipelineForText2Image.from_pretrained(",
  ],
  [
    '"stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16, variant="fp16",',
    '(model, { torch_dtype: this.dtype, variant: "fp16" });',
  ],
  ['self.pipeline.to("cuda")', "await this.pipeline.to(this.device);"],
  ["# Apply fal's spatial optimizer to the pipeline.", "// Apply the optimizer to the pipeline."],
  [
    "self.pipeline.unet = fal.toolkit.optimize(self.pipeline.unet)",
    "this.pipeline.unet = optimize(this.pipeline.unet);",
  ],
  ["self.pipeline.vae = fal.toolkit.optimize(self.pipeline.vae)", "this.pipeline.vae = optimize(this.pipeline.vae);"],
  ["# Warm up the model.", "// Warm up the model."],
  [
    'self.pipeline(prompt="a cat", num_inference_steps=30)',
    'await this.pipeline({ prompt: "a cat", num_inference_steps: 30 });',
  ],
  ['@fal.endpoint("/")', 'endpoint("/", { input: Input, output: Output }'],
  ["def text_to_image(self, input: Input) -> Output:", "textToImage = endpoint("],
  [
    "result = self.pipeline(prompt=input.prompt, num_inference_steps=30)",
    "const result = await this.pipeline({ prompt, num_inference_steps: 30 });",
  ],
  ["[image] = result.images", "const [image] = await result.images;"],
  ["return Output(image=Image.from_pil(image))", "return { image: await Image.fromPil(image) };"],
];

const example = fileURLToPath(new URL("../../examples/text-to-image.ts", import.meta.url));

/** Without line breaks and doubled spaces, so that formatting may break a line where it likes. */
const flat = (text: string): string => text.replace(/\s+/g, " ");

describe("the document's example", () => {
  it.each(LINES)("%s", async (_python, typescript) => {
    expect(flat(await readFile(example, "utf8"))).toContain(typescript);
  });

  it("has its lines in the document's order", async () => {
    const source = flat(await readFile(example, "utf8"));
    const body = LINES.slice(LINES.findIndex(([python]) => python.startsWith("class FalModel")));
    const places = body.map(([, typescript]) => source.indexOf(typescript));
    expect(
      places.filter(
        (place, index) => place < (places[index - 1] ?? 0) && !body[index]?.[0].startsWith("def text_to_image"),
      ),
    ).toEqual([]);
  });

  it("says of itself what the document says: name, path, field, description, example", () => {
    const { components, paths } = openapi(describeApp(TextToImage));
    expect(Object.keys(paths)).toEqual(["/"]);
    expect(components.schemas["TextToImageInput"]).toMatchObject({
      required: ["prompt"],
      properties: {
        prompt: {
          type: "string",
          description: "The prompt to generate an image from.",
          examples: ["A cinematic shot of a baby racoon wearing an intricate italian priest robe."],
        },
      },
    });
    expect(components.schemas["TextToImageOutput"]).toMatchObject({
      properties: { image: { description: "The generated image." } },
    });
  });
});

/** The example, with a known noise after its own setup. */
class Seeded extends TextToImage {
  override async setup() {
    await super.setup();
    await this.py.import("torch").manual_seed(20);
  }
}

interface Colour {
  readonly red: number;
  readonly green: number;
  readonly blue: number;
}

/** Mean over a square of the picture. */
async function colourAt(picture: Buffer, left: number, top: number, size: number): Promise<Colour> {
  const { channels } = await sharp(picture)
    .extract({ left, top, width: size, height: size })
    .toBuffer()
    .then((part) => sharp(part).stats());
  const [red = 0, green = 0, blue = 0] = channels.map(({ mean }) => Math.round(mean));
  return { red, green, blue };
}

const steps = (events: readonly RequestEvent[]): number[] =>
  events.flatMap((event) => (event.type === "progress" ? [event.step] : []));

describe("the example, run", { timeout: 600_000 }, () => {
  it("paints a red star on blue, tells each of its steps, stops within a step when cancelled, and paints on", async () => {
    const out = await scratch();
    const { host, logger } = await hostOf(Seeded, { threads: null, files: new OutputFolder(out, "star") });
    await host.start();
    expect(host.timings.map(({ phase }) => phase)).toEqual(["environment", "python", "setup"]);
    // The warm-up is a wait that people see, from its first step to its last.
    const warmUp = logger.waits.filter(({ label }) => label === "warm-up");
    expect(warmUp.length).toBeGreaterThanOrEqual(2);
    expect(warmUp.at(-1)).toMatchObject({ done: 30, total: 30, finished: true });

    const prompt = "a red star on a blue background";
    const first = follow(host.submit("/", { prompt }));
    const end = await first.end;
    if (end.type !== "completed") throw new Error(`expected a picture, got ${JSON.stringify(end)}`);
    expect(new Set(steps(first.all)).size).toBeGreaterThanOrEqual(25);
    expect(steps(first.all)).toEqual(steps(first.all).toSorted((a, b) => a - b));
    expect(steps(first.all).at(-1)).toBe(30);
    const { image } = end.output as { image: unknown };
    const { url, ...about } = Image.schema.parse(image);
    const picture = await readFile(fileURLToPath(url));
    expect(about).toMatchObject({ width: 128, height: 128, content_type: "image/png", file_size: picture.length });
    expect(await sharp(picture).metadata()).toMatchObject({ format: "png", width: 128, height: 128, channels: 3 });
    const centre = await colourAt(picture, 52, 52, 24);
    expect(centre.red - Math.max(centre.green, centre.blue)).toBeGreaterThan(60);
    for (const [left, top] of [
      [0, 0],
      [112, 0],
      [0, 112],
      [112, 112],
    ] as const) {
      const corner = await colourAt(picture, left, top, 16);
      expect(corner.blue - corner.red).toBeGreaterThan(40);
    }

    const stop = new AbortController();
    const second = follow(host.submit("/", { prompt }, { signal: stop.signal }));
    const seen = await second.seen((event) => event.type === "progress" && event.step >= 5);
    stop.abort();
    expect(await second.end).toEqual({ type: "cancelled" });
    const reached = seen.type === "progress" ? seen.step : 0;
    expect((steps(second.all).at(-1) ?? 0) - reached).toBeLessThanOrEqual(2);

    const third = follow(host.submit("/", { prompt: "a yellow moon" }));
    expect(await third.end).toMatchObject({ type: "completed", output: { image: { width: 128, height: 128 } } });
    expect(new Set(steps(third.all)).size).toBeGreaterThanOrEqual(25);
    // The same Python all along: nothing was started again.
    expect(host.timings).toHaveLength(3);
    expect(logger.lines.filter(({ level }) => level === "error")).toEqual([]);
  });
});
