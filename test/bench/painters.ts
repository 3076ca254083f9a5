// Prompt to PNG on disk, by our host and by plain Python: the same model, steps, seeds, threads and environment.
import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { inheritedEnvironment } from "../../src/workers/inherited.ts";
import { compiled, inRoot } from "./options.ts";
import { paintApp } from "./paint-app.ts";

export interface Order {
  readonly prompt: string;
  readonly seed: number;
  readonly steps: number;
}

export interface Painter {
  readonly name: string;
  /** Resolves with the picture's path. */
  paint(order: Order): Promise<string>;
  /** What the optimizer said of each part; nothing without it. */
  report(): Promise<Reports>;
  close(): Promise<void>;
}

export type Reports = Readonly<Record<string, { readonly state: string }>>;

export interface PainterOptions {
  readonly python: string;
  readonly isOptimized: boolean;
  /** For pictures and caches; removed by the caller. */
  readonly scratch: string;
}

const MODEL = inRoot("python/models/tiny-sdxl");
const SAID_CHARACTERS = 4000;
/** What our worker sets for itself: what differs must be the way there, and not how threads wait. */
const THREADS = { GOMP_SPINCOUNT: "10000" };

/** Through `createHost` and `submit`, as `serve` does: queue, request, pixels over the bridge, sharp, file store. */
export async function ourPainter({ python, isOptimized, scratch }: PainterOptions): Promise<Painter> {
  const { createHost }: typeof import("../../src/host/host.ts") = await import(compiled("host/host.js"));
  const { readSettings }: typeof import("../../src/config.ts") = await import(compiled("config.js"));
  const name = painterName("flambeau", isOptimized);
  const cacheDir = join(scratch, name);
  const settings = readSettings({ ...process.env, FLAMBEAU_CACHE_DIR: cacheDir, FLAMBEAU_PYTHON: python });
  const host = createHost(await paintApp({ model: MODEL, isOptimized }), { settings });
  await host.start();
  const asked = async (endpoint: string, input: unknown): Promise<unknown> => {
    for await (const event of host.submit(endpoint, input)) {
      if (event.type === "completed") return event.output;
      if (event.type === "failed") throw new Error(`${event.error.message}\n${event.error.traceback ?? ""}`);
    }
    throw new Error(`${endpoint} ended without an answer`);
  };
  return {
    name,
    paint: async (order) => {
      const { image } = (await asked("paint", order)) as { image: { file_name: string } };
      return join(cacheDir, "files", image.file_name);
    },
    report: async () => (isOptimized ? ((await asked("report", {})) as Reports) : {}),
    close: () => host.close(),
  };
}

/** `plain_pipeline.py`, one order a line. */
export async function plainPainter({ python, isOptimized, scratch }: PainterOptions): Promise<Painter> {
  const name = painterName("plain", isOptimized);
  const pictures = join(scratch, name);
  await mkdir(pictures, { recursive: true });
  const child = spawn(
    python,
    [inRoot("test/bench/plain_pipeline.py"), MODEL, pictures, ...(isOptimized ? [inRoot("python")] : [])],
    {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...THREADS, ...inheritedEnvironment(process.env as Record<string, string>), PYTHONDONTWRITEBYTECODE: "1" },
    },
  );
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let said = "";
  child.stderr.on("data", (data) => {
    said = (said + data).slice(-SAID_CHARACTERS);
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`plain_pipeline.py ended: ${said}`);
    return JSON.parse(value);
  };
  await answer();
  return {
    name,
    paint: async (order) => {
      child.stdin.write(`${JSON.stringify(order)}\n`);
      return String(await answer());
    },
    report: async () => {
      child.stdin.write("null\n");
      return (await answer()) as Reports;
    },
    close: () => {
      child.stdin.end();
      return exited;
    },
  };
}

function painterName(who: string, isOptimized: boolean): string {
  return `${who} ${isOptimized ? "optimized" : "eager"}`;
}
