// What goes wrong while an environment is built: conflicts, networks, cancel, death, and two builders at once.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, it } from "vitest";
import { limits } from "../../src/config.ts";
import type { Wait } from "../../src/log.ts";
import { listEnvironments } from "../../src/workers/environment.ts";
import { collectingLogger, fromIndex, makePlace, python } from "./environment-fixture.ts";
import { makeWheel, servePackages } from "./package-index.ts";

const WITHOUT_REQUIREMENTS = { requirements: [] };
const LONG_MS = 120_000;

describe("a build that fails", () => {
  it("names requirements that exclude each other, in a few lines, and leaves nothing", {
    timeout: LONG_MS,
  }, async () => {
    const place = makePlace();
    for (const version of ["1.15.0", "1.16.0"]) makeWheel(place.wheels, { name: "six", version });
    const failing = place.provision({ requirements: ["six==1.16.0", "six==1.15.0"] });
    await expect(failing).rejects.toMatchObject({ code: "ENV_CONFLICT", retryable: false });
    const { message }: Error = await failing.catch((error) => error);
    expect(message).toContain("six==1.16.0");
    expect(message).toContain("six==1.15.0");
    expect(message.split("\n").length).toBeLessThan(15);
    expect(place.leftovers()).toEqual([]);
  });

  it("names the index that cannot be reached and the variable that named it, without its password", {
    timeout: LONG_MS,
  }, async () => {
    const place = makePlace();
    const said = collectingLogger();
    const variables = fromIndex("http://someone:secret@127.0.0.1:9/simple");
    const failing = place.provision({ requirements: ["six"] }, { variables, said });
    await expect(failing).rejects.toMatchObject({ code: "INDEX_UNREACHABLE", retryable: true });
    const { message }: Error = await failing.catch((error) => error);
    expect(message).toContain("127.0.0.1:9/simple (PIP_INDEX_URL)");
    expect(message).not.toContain("secret");
    expect(said.waits.at(-1)?.finished).toBe(true);
    expect(place.leftovers()).toEqual([]);
  });

  it("keeps no environment whose packages do not import, and says why", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    makeWheel(place.wheels, { name: "six", version: "1.0", module: "raise OSError('libmissing.so.1: not found')" });
    await expect(place.provision({ requirements: ["six"] })).rejects.toMatchObject({
      code: "ENV_BROKEN",
      message: expect.stringContaining("libmissing.so.1: not found"),
    });
    expect(await listEnvironments(place.settings())).toEqual([]);
    expect(place.leftovers()).toEqual([]);
  });

  it("repeats a download that broke off", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    await using index = await servePackages(place.wheels);
    index.fault("/files/msgpack", "truncate-once");
    const environment = await place.provision(WITHOUT_REQUIREMENTS, { variables: fromIndex(index.url) });
    expect(environment.packages["msgpack"]).toBe("1.2.4");
  });

  it("says which folder cannot be used when the cache is no folder", async () => {
    const place = makePlace();
    writeFileSync(place.cacheDir, "");
    await expect(place.provision(WITHOUT_REQUIREMENTS)).rejects.toMatchObject({
      code: "SETTINGS_INVALID",
      message: expect.stringContaining(place.cacheDir),
    });
  });

  it("runs no installer for a requirement that is not one", async () => {
    const place = makePlace();
    await expect(place.provision({ requirements: ["--index-url=http://evil"] })).rejects.toMatchObject({
      code: "REQUIREMENT_INVALID",
    });
  });
});

describe("several processes, cancel and death", () => {
  it("stops the installer when cancelled and leaves nothing", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    await using index = await servePackages(place.wheels);
    index.fault("/files/msgpack", "hold");
    const stop = new AbortController();
    const variables = fromIndex(index.url);
    const building = place.provision(WITHOUT_REQUIREMENTS, { variables, signal: stop.signal });
    building.catch(() => {});
    await index.asked("/files/msgpack");
    const start = performance.now();
    stop.abort(new Error("no longer needed"));
    await expect(building).rejects.toMatchObject({ code: "CANCELLED", name: "AbortError" });
    expect(performance.now() - start).toBeLessThan(2_000);
    expect(place.leftovers()).toEqual([]);
    expect(processesNaming(place.cacheDir)).toEqual([]);
  });

  it("builds once for two processes that need the same environment; the other waits and says so", {
    timeout: LONG_MS,
  }, async () => {
    const place = makePlace();
    await using index = await servePackages(place.wheels);
    index.fault("/files/msgpack", "hold");
    const variables = { ...place.variables, ...fromIndex(index.url) };
    const first = startChild(variables);
    await index.asked("/files/msgpack");
    const second = startChild(variables);
    await second.label("waiting for another process");
    index.fault("/files/msgpack", "serve");
    const dirs = await Promise.all([first.done, second.done]);
    expect(dirs[0]).toBe(dirs[1]);
    expect(index.requests.filter((path) => path.includes("/files/"))).toHaveLength(1);
  });

  it("builds anew after the builder was killed half-way; its installer does not outlive it", {
    timeout: LONG_MS,
  }, async () => {
    const place = makePlace();
    await using index = await servePackages(place.wheels);
    index.fault("/files/msgpack", "hold");
    const variables = fromIndex(index.url);
    const child = startChild({ ...place.variables, ...variables });
    await index.asked("/files/msgpack");
    child.process.kill("SIGKILL");
    await once(child.process, "exit");
    expect(place.leftovers()).toHaveLength(1);
    index.fault("/files/msgpack", "serve");
    const environment = await place.provision(WITHOUT_REQUIREMENTS, { variables });
    expect(python(environment.python, "import msgpack; print(msgpack.version)")).toBe("1.2.4");
    expect(place.leftovers()).toEqual([]);
    expect(processesNaming(place.cacheDir)).toEqual([]);
  });

  it("tells of a long wait at least once a second", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    await using index = await servePackages(place.wheels);
    index.fault("/simple/msgpack", "hold");
    const said = collectingLogger();
    const times: number[] = [];
    const wait = (state: Wait): void => {
      times.push(performance.now());
      said.logger.wait(state);
    };
    const logger = { ...said.logger, wait };
    const building = place.provision(WITHOUT_REQUIREMENTS, {
      variables: fromIndex(index.url),
      said: { ...said, logger },
    });
    await index.asked("/simple/msgpack");
    const asked = times.length;
    await expect.poll(() => times.length, { timeout: 10 * limits.waitUpdateMs }).toBeGreaterThan(asked + 3);
    index.fault("/simple/msgpack", "serve");
    await building;
    expect(Math.max(...times.slice(1).map((time, index) => time - (times[index] ?? time)))).toBeLessThan(1_500);
  });
});

interface Child {
  readonly process: ReturnType<typeof spawn>;
  readonly done: Promise<string>;
  /** Resolves when a wait's label begins so. */
  label(beginning: string): Promise<void>;
}

function startChild(variables: Readonly<Record<string, string>>): Child {
  const file = join(import.meta.dirname, "provision-child.ts");
  const child = spawn(process.execPath, ["--import", "tsx", file], {
    env: { ...variables },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const labels: string[] = [];
  const waiting: { beginning: string; resolve: () => void }[] = [];
  const done = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said: { label?: string; done?: string; failed?: string } = JSON.parse(line);
      if (said.done !== undefined) resolve(said.done);
      if (said.failed !== undefined) reject(new Error(said.failed));
      labels.push(said.label ?? "");
      for (const one of waiting) if (said.label?.startsWith(one.beginning)) one.resolve();
    });
  });
  done.catch(() => {});
  return {
    process: child,
    done,
    label: (beginning) =>
      labels.some((label) => label.startsWith(beginning))
        ? Promise.resolve()
        : new Promise((resolve) => void waiting.push({ beginning, resolve })),
  };
}

/** Command lines of living processes that hold this text. */
function processesNaming(text: string): readonly string[] {
  const lines = execFileSync("ps", ["-axo", "stat=,args="], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => line.includes(text) && !line.startsWith("Z"));
}
