// Which build of torch comes to a machine without a GPU, with real pip and an index of our own; and the same with uv.
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { findBuilder } from "../../src/workers/find-python.ts";
import { type Build, installAll } from "../../src/workers/installer.ts";
import { readPackageSources } from "../../src/workers/package-sources.ts";
import { pipInstaller } from "../../src/workers/pip.ts";
import { parseRequirements } from "../../src/workers/requirement.ts";
import { findOnPath } from "../../src/workers/tool.ts";
import { Waiting } from "../../src/workers/waiting.ts";
import { testPython } from "../support/python.ts";
import { collectingLogger, fromIndex, makePlace, type Place, pathWithoutUv, type Said } from "./environment-fixture.ts";
import { makeWheel, servePackages } from "./package-index.ts";

const LONG_MS = 120_000;
const TORCH = ["torch>=2"];

/** As `buildEnvironment` would, up to the installation. */
async function install(
  place: Place,
  said: Said,
  given: Pick<Build, "accelerator" | "cpuIndex"> & { index: string },
): Promise<readonly string[]> {
  const settings = place.settings(fromIndex(given.index));
  const search = { cacheDir: place.cacheDir, environment: settings.environment, cwd: "/", signal: undefined };
  const interpreter = await findBuilder(search, said.logger);
  const temporary = join(place.cacheDir, "tmp");
  mkdirSync(temporary, { recursive: true });
  using waiting = new Waiting(said.logger, "environment", { label: "test", done: 0, total: null, unit: "steps" });
  const build: Build = {
    settings,
    interpreter,
    temporary,
    waiting,
    logger: said.logger,
    signal: undefined,
    guard: { started: () => {}, ended: () => {} },
    sources: await readPackageSources(settings.environment, "/nowhere"),
    accelerator: given.accelerator,
    cpuIndex: given.cpuIndex,
    environment: join(place.cacheDir, "env"),
  };
  await installAll(await pipInstaller(build), build, { requirements: parseRequirements(TORCH), constraints: [] });
  const [major, minor] = interpreter.version.split(".");
  const packages = join(build.environment, "lib", `python${major}.${minor}`, "site-packages");
  return ["torch-2.13.0.dist-info", "torch-2.13.0+cpu.dist-info", "nvidia_cublas-13.0.dist-info"].filter((name) =>
    existsSync(join(packages, name)),
  );
}

function makeTorch(place: Place): string {
  makeWheel(place.wheels, { name: "torch", version: "2.13.0", requires: ["nvidia-cublas"] });
  makeWheel(place.wheels, { name: "nvidia-cublas", version: "13.0" });
  const cpu = join(place.cacheDir, "cpu-wheels");
  makeWheel(cpu, { name: "torch", version: "2.13.0+cpu" });
  return cpu;
}

describe.runIf(process.platform === "linux")("a machine without a GPU", () => {
  it("takes the CPU build of the version that would have come, and fetches nothing of CUDA", {
    timeout: LONG_MS,
  }, async () => {
    const place = makePlace();
    const cpuWheels = makeTorch(place);
    await using index = await servePackages(place.wheels);
    await using cpu = await servePackages(cpuWheels);
    const said = collectingLogger();
    // Never answered: an installation that waited for one of CUDA's packages would not end.
    index.fault("/files/nvidia", "hold");
    const installed = await install(place, said, { accelerator: "cpu", cpuIndex: cpu.url, index: index.url });
    expect(installed).toEqual(["torch-2.13.0+cpu.dist-info"]);
    expect(said.warnings).toEqual([]);
  });

  it("says what is coming when that index is out of reach, and goes on", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    makeTorch(place);
    await using index = await servePackages(place.wheels);
    const said = collectingLogger();
    const given = { accelerator: "cpu", cpuIndex: "http://127.0.0.1:9/whl/cpu", index: index.url } as const;
    expect(await install(place, said, given)).toEqual(["torch-2.13.0.dist-info", "nvidia_cublas-13.0.dist-info"]);
    expect(said.warnings).toEqual([expect.stringMatching(/no NVIDIA GPU.*127\.0\.0\.1:9\/whl\/cpu, is out of reach/)]);
  });
});

it("a machine with a GPU takes the build with CUDA and asks no other index", { timeout: LONG_MS }, async () => {
  const place = makePlace();
  const cpuWheels = makeTorch(place);
  await using index = await servePackages(place.wheels);
  await using cpu = await servePackages(cpuWheels);
  const given = { accelerator: "cuda", cpuIndex: cpu.url, index: index.url } as const;
  expect(await install(place, collectingLogger(), given)).toContain("torch-2.13.0.dist-info");
  expect(cpu.requests).toEqual([]);
});

// The environment of the tests brings its own uv, so that this half is never skipped.
const uv = findOnPath("uv", dirname(await testPython()));
describe("uv", () => {
  const withUv = { PATH: `${uv?.replace(/\/uv$/, "")}:${pathWithoutUv()}` };

  it("builds from pip's find-links and verifies as pip does", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    makeWheel(place.wheels, { name: "tqdm", version: "4.70.1", script: "tqdm" });
    makeWheel(place.wheels, { name: "tqdm", version: "99.0" });
    const environment = await place.provision({ requirements: ["tqdm"] }, { variables: withUv });
    expect(environment.packages).toMatchObject({ msgpack: "1.2.4", tqdm: "4.70.1" });
    expect(place.leftovers()).toEqual([]);
  });

  it("has its conflicts and unreachable indexes told in the same words", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    for (const version of ["1.15.0", "1.16.0"]) makeWheel(place.wheels, { name: "six", version });
    const conflict = place.provision({ requirements: ["six==1.16.0", "six==1.15.0"] }, { variables: withUv });
    await expect(conflict).rejects.toMatchObject({
      code: "ENV_CONFLICT",
      message: expect.stringContaining("six==1.15.0"),
    });
    const variables = { ...withUv, ...fromIndex("http://127.0.0.1:9/simple") };
    await expect(place.provision({ requirements: [] }, { variables })).rejects.toMatchObject({
      code: "INDEX_UNREACHABLE",
      message: expect.stringContaining("127.0.0.1:9/simple (PIP_INDEX_URL)"),
    });
  });
});
