// Installs with uv: resolves first (a second, and it names every package), then fetches and installs.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { limits } from "../config.ts";
import { type InstallEvent, isCudaPackage, parseInstallLine } from "./install-progress.ts";
import { type Build, type Installer, type InstallJob, runInstaller, warnOfCuda } from "./installer.ts";
import { noIndex, uvArguments, uvVariables } from "./package-sources.ts";
import { countInstalled } from "./pip.ts";

const CPU_BACKEND = ["--torch-backend", "cpu"] as const;

/** The installer of machines where uv is on PATH; `uv` is its absolute path. */
export async function uvInstaller(build: Build, uv: string): Promise<Installer> {
  const { output } = await runInstaller(build, { file: uv, args: ["--version"], env: {} });
  return {
    name: /uv \d\S*/.exec(output)?.[0] ?? "uv",
    create: async () => {
      const from = ["--python", build.interpreter.executable, "--no-python-downloads"];
      await runInstaller(build, {
        file: uv,
        args: ["venv", "--no-config", "--no-project", ...from, build.environment],
        env: variablesOf(build),
      });
    },
    install: (job) => install(build, uv, job),
  };
}

async function install(build: Build, uv: string, job: InstallJob): Promise<void> {
  const names = [...new Set(job.requirements.map(({ name }) => name))];
  build.waiting.set({ label: `resolving ${names.join(", ")}`, done: 0, total: null, unit: "packages" });
  const constraints = join(build.temporary, "constraints.txt");
  await writeFile(constraints, `${job.constraints.map(({ text }) => text).join("\n")}\n`);
  const run = async (options: readonly string[]): Promise<readonly string[]> => {
    const progress = new UvProgress(build);
    await runInstaller(build, {
      file: uv,
      args: [
        ...["pip", "install", "--python", join(build.environment, "bin", "python"), "--color", "never"],
        ...uvArguments(build.sources),
        ...options,
        ...["--constraint", constraints, "--", ...job.requirements.map(({ text }) => text)],
      ],
      env: variablesOf(build),
      onLine: (line) => progress.add(parseInstallLine(line)),
    });
    return progress.planned;
  };
  const plan = await run(["--dry-run"]);
  const backend = plan.some(isCudaPackage) && mayChangeBackend(build) ? await findCpuBackend(build, run, plan) : [];
  build.waiting.set({ label: `fetching ${plan.length} packages`, done: 0, total: plan.length, unit: "packages" });
  await run(backend);
}

/** The option that gives CPU builds, or none where PyTorch's index is out of reach. */
async function findCpuBackend(
  build: Build,
  run: (options: readonly string[]) => Promise<readonly string[]>,
  plan: readonly string[],
): Promise<readonly string[]> {
  build.waiting.set({ label: "looking for a build of torch without CUDA", done: 0, total: null, unit: "packages" });
  try {
    await run([...CPU_BACKEND, "--dry-run"]);
    return CPU_BACKEND;
  } catch (error) {
    warnOfCuda(build, `${plan.filter(isCudaPackage).length} packages of CUDA, about 2 GB or more`, error);
    return [];
  }
}

function mayChangeBackend({ accelerator, sources }: Build): boolean {
  return accelerator === "cpu" && !noIndex(sources) && !sources.uv["UV_TORCH_BACKEND"];
}

function variablesOf({ sources, settings }: Build): Readonly<Record<string, string>> {
  return uvVariables(sources, { retries: limits.installIndexRetries }, settings.environment);
}

/** Draws uv's phases. It fetches many files at once and names only those over a mebibyte. */
class UvProgress {
  readonly planned: string[] = [];
  readonly #build: Build;
  readonly #bytes = new Map<string, number>();
  readonly #fetched = new Set<string>();

  constructor(build: Build) {
    this.#build = build;
  }

  add(event: InstallEvent | null): void {
    const { waiting } = this.#build;
    if (event?.kind === "planned") this.planned.push(event.name);
    else if (event?.kind === "build") waiting.set({ label: `building ${event.name}` });
    else if (event?.kind === "fetch") {
      this.#bytes.set(event.name, event.bytes ?? 0);
      this.#drawFetch(event.name);
    } else if (event?.kind === "fetched") {
      this.#fetched.add(event.name);
      this.#drawFetch([...this.#bytes.keys()].findLast((name) => !this.#fetched.has(name)) ?? event.name);
    } else if (event?.kind === "install") {
      waiting.set({ label: "installing", done: 0, total: null, unit: "packages" });
      waiting.measureWith(async () => ({ done: await countInstalled(this.#build) }));
    }
  }

  #drawFetch(name: string): void {
    const sizes = [...this.#bytes];
    const sum = (entries: readonly (readonly [string, number])[]): number =>
      entries.reduce((total, [, bytes]) => total + bytes, 0);
    const done = sum(sizes.filter(([fetched]) => this.#fetched.has(fetched)));
    this.#build.waiting.set({ label: `downloading ${name}`, done, total: sum(sizes), unit: "bytes" });
  }
}
