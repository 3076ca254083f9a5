// Right: a module of one's own, numbers in bulk, context managers, deep copies that a schema checks.
import { App, endpoint, type Py } from "flambeau";
import { floats, type OptimizeReport, optimize } from "flambeau/toolkit";
import { z } from "zod";

const Stats = z.object({ mean: z.number(), shape: z.array(z.int()) });

export class Denoise extends App {
  static override readonly requirements = ["torch", "numpy"];
  model!: Py;
  report: OptimizeReport | undefined;

  override async setup() {
    const { Denoiser } = this.py.importFile(new URL("./denoiser.py", import.meta.url));
    this.model = optimize(await Denoiser(64, { depth: 3, bias: false }).to(this.device).eval());
    this.report = await optimize.report(this.model);
  }

  denoise = endpoint(
    "/",
    {
      input: z.object({ samples: floats({ maxLength: 480_000 }) }),
      output: z.object({ samples: floats(), peak: z.number(), stats: Stats }),
    },
    async ({ samples }) => {
      const torch = this.py.import("torch");
      return await this.py.with(torch.inference_mode(), async () => {
        const x = this.py.tensor(samples, [1, 1, samples.length], { device: this.device, dtype: this.dtype });
        using y = await this.model(x).squeeze();
        const peak = await y.abs().max().item().$number();
        const stats = await this.py.expr`{"mean": ${y}.mean().item(), "shape": list(${y}.shape)}`.$value(Stats);
        return { samples: await y.cpu().$array(Float32Array), peak, stats };
      });
    },
  );
}
