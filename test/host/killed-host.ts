// A host in a process of its own, to be killed: starts an app that paints for minutes, in setup() or in a request, and prints the
// process ids of its worker and of what the worker has started (a sleep, as a compiler would stand in the same process group).
// Arguments: interpreter, cache folder, "setup" or "request".
import { App, createHost, endpoint, type Py, readSettings } from "flambeau";
import { tinySdxl } from "flambeau/toolkit";
import { z } from "zod";

const [python = "", cacheDir = "", phase = "setup"] = process.argv.slice(2);

class Painter extends App {
  pipeline!: Py;

  override async setup() {
    const { AutoPipelineForText2Image } = this.py.import("diffusers");
    const options = { torch_dtype: this.dtype, variant: "fp16" };
    this.pipeline = await AutoPipelineForText2Image.from_pretrained(tinySdxl(), options);
    const compiler = await this.py.import("subprocess").Popen(["sleep", "600"]);
    const worker = await this.py.import("os").getpid().$number();
    console.log(JSON.stringify({ worker, compiler: await compiler.pid.$number() }));
    if (phase === "setup") await this.paint();
  }

  async paint(): Promise<void> {
    await this.pipeline({ prompt: "a cat", num_inference_steps: 900 });
  }

  forEver = endpoint("/", { input: z.object({}), output: z.object({}) }, async () => {
    await this.paint();
    return {};
  });
}

const logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: (message: string) => console.error(message),
  // The warm-up is under way once its steps are counted.
  wait: ({ label, done }: { label: string; done: number }) =>
    label === "warm-up" && done > 0 && console.log("painting"),
};
const host = createHost(Painter, { settings: { ...readSettings(), python, cacheDir }, logger, threads: 1 });
await host.start();
for await (const event of host.submit("/", {})) if (event.type === "progress") console.log("painting");
