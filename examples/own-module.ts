// A torch module of your own, in a .py file beside the app: numbers in, numbers out, optimised like any other.
import { App, endpoint, type Py } from "flambeau";
import { floats, optimize } from "flambeau/toolkit";
import { z } from "zod";

const SAMPLES_MAX = 480_000; // ten seconds at 48 kHz

export class Smooth extends App {
  static override readonly requirements = ["torch>=2.2.0", "numpy"];

  model!: Py;

  override async setup() {
    const { Smoother } = this.py.importFile(new URL("./smoother.py", import.meta.url));
    this.model = optimize(await Smoother(64, { depth: 3 }).to(this.device).eval());
    const torch = this.py.import("torch");
    for (let i = 0; i < 4; i++) await this.model(torch.zeros(1, 1, 16_000, { device: this.device }));
  }

  smooth = endpoint(
    "/",
    {
      input: z.object({ samples: floats({ maxLength: SAMPLES_MAX }).meta({ description: "Mono audio, -1 to 1." }) }),
      output: z.object({ samples: floats(), peak: z.number() }),
    },
    async ({ samples }) => {
      const x = this.py.tensor(samples, [1, 1, samples.length], { device: this.device });
      using y = await this.model(x).flatten();
      const peak = await y.abs().max().item().$number();
      return { samples: await y.cpu().$array(Float32Array), peak };
    },
  );
}
