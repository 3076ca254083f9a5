// Right: a batch with stages, shields, errors by class, and what TypeScript functions Python may call.
import { App, endpoint, FlambeauError, type Py, PyError, PyOutOfMemoryError } from "flambeau";
import { Image } from "flambeau/toolkit";
import { z } from "zod";

const Variation = z.object({ seed: z.int(), image: Image.schema });
const Input = z.object({ prompt: z.string(), seeds: z.array(z.int()).min(1).max(64) });

export class Variations extends App {
  pipe!: Py;
  fused: string | null = null;

  override async setup() {
    this.pipe = await this.py.import("diffusers").DiffusionPipeline.from_pretrained("x", { torch_dtype: this.dtype });
  }

  variations = endpoint(
    "/variations",
    { input: Input, output: z.object({ variations: z.array(Variation) }) },
    async ({ prompt, seeds }, { stage, shield, signal, log }) => {
      const variations: z.input<typeof Variation>[] = [];
      try {
        for (const [index, seed] of seeds.entries()) {
          signal.throwIfAborted();
          await stage(`variation ${index + 1}/${seeds.length}`, async () => {
            const onStep = (_pipe: Py, step: number) => log(`step ${step}`);
            const { images } = await this.pipe({ prompt, callback_on_step_end: onStep });
            for (const image of await images) variations.push({ seed, image: await Image.fromPil(image) });
          });
        }
      } catch (error) {
        if (error instanceof PyOutOfMemoryError) log(`out of memory; ${error.liveHandles} handles alive`);
        else if (error instanceof PyError && error.is("OSError")) throw new Error(error.traceback, { cause: error });
        else if (error instanceof FlambeauError && error.code === "CANCELLED") log("cancelled");
        throw error;
      } finally {
        await shield(async () => {
          await this.pipe.unload_lora_weights();
          this.fused = null;
        });
      }
      return { variations };
    },
  );
}
