// Right: a base class, two doors, a stream that calls another endpoint, endpoints that call each other, and a host around it.
import { App, type Context, createHost, endpoint, type Host, type Py, type RequestEvent, readSettings } from "flambeau";
import { Image } from "flambeau/toolkit";
import { z } from "zod";

const Prompt = z.object({ prompt: z.string(), steps: z.int().default(20) });
const Count = z.object({ n: z.number() });

export abstract class Base extends App {
  static override readonly machineType = "GPU";
  base!: Py;
  protected readonly embeddings = new Map<string, Py>();

  override async setup() {
    this.base = await this.py.import("diffusers").DiffusionPipeline.from_pretrained("x", { torch_dtype: this.dtype });
  }

  single = endpoint("/", { input: Prompt, output: z.object({ image: Image.schema }) }, async ({ prompt, steps }) => {
    const embedded: Py = this.embeddings.get(prompt) ?? (await this.base.encode_prompt(prompt));
    this.embeddings.set(prompt, embedded);
    const [embeds, negative] = embedded;
    const { images } = await this.base({
      prompt_embeds: embeds,
      negative_prompt_embeds: negative,
      num_inference_steps: steps,
    });
    const [image] = await images;
    return { image: await Image.fromPil(image) };
  });
}

export class TwoDoors extends Base {
  refiner!: Py;

  override async setup() {
    await super.setup();
    this.refiner = await this.py.import("diffusers").AutoPipelineForImage2Image.from_pipe(this.base);
  }

  steps = endpoint(
    "/steps",
    { input: Prompt, yields: z.object({ stage: z.string(), image: Image.schema }) },
    (input, context) => this.refine(input, context),
  );

  async *refine({ prompt, steps }: z.output<typeof Prompt>, { log }: Context) {
    const { image } = await this.single.run({ prompt, steps });
    yield { stage: "base", image };
    log("refining");
    const latent = this.base({ prompt, output_type: "latent" }).images;
    const { images } = await this.refiner({ prompt, image: latent });
    for (const refined of await images) yield { stage: "refined", image: await Image.fromPil(refined) };
  }

  one = endpoint(
    "/one",
    { input: Count, output: Count },
    async ({ n }): Promise<{ n: number }> => (n > 0 ? await this.two.run({ n: n - 1 }) : { n: 0 }),
  );
  two = endpoint("/two", { input: Count, output: Count }, async ({ n }) => await this.one.run({ n }));

  chunks = endpoint("/chunks", { input: Count, output: z.object({ seen: z.int() }) }, async () => {
    let seen = 0;
    for await (const { stage } of this.steps.run({ prompt: "x" })) seen += stage.length;
    return { seen };
  });
}

export async function served(): Promise<string> {
  const host: Host = createHost(TwoDoors, { settings: readSettings() });
  await host.start({ signal: AbortSignal.timeout(60_000) });
  const last: RequestEvent[] = [];
  for await (const event of host.submit("/", { prompt: "x" })) if (event.type === "progress") last.push(event);
  return host.listen({ port: 0 });
}
