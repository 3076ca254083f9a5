// The smallest app: plain Python, no torch.
import { App, endpoint } from "flambeau";
import { z } from "zod";

export class Hello extends App {
  greet = endpoint(
    "/",
    {
      input: z.object({ name: z.string().default("world").describe("Whom to greet.") }),
      output: z.object({ greeting: z.string(), python: z.string() }),
    },
    async ({ name }) => ({
      greeting: await this.py.import("string").Template("Hello, $name!").substitute({ name }).$string(),
      python: await this.py.import("platform").python_version().$string(),
    }),
  );
}
