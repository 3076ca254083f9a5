// Real builds with pip and wheels made on the spot: what is installed, what is reused, what is used as it is.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { listEnvironments, pruneEnvironments } from "../../src/workers/environment.ts";
import { collectingLogger, makePlace, python } from "./environment-fixture.ts";
import { makeWheel } from "./package-index.ts";

const WITHOUT_REQUIREMENTS = { requirements: [] };
const LONG_MS = 120_000;

describe("what is installed", () => {
  it("has the worker's codec alone when nothing is required, at a final place that knows itself", {
    timeout: LONG_MS,
  }, async () => {
    const place = makePlace();
    const environment = await place.provision(WITHOUT_REQUIREMENTS);
    expect(environment.packages).toEqual({ msgpack: "1.2.4" });
    expect(environment.dir).toBe(join(place.cacheDir, "environments", environment.key));
    expect(python(environment.python, "import sys, msgpack; print(sys.prefix, msgpack.version)")).toBe(
      `${environment.dir} 1.2.4`,
    );
    expect(place.leftovers()).toEqual([]);
    expect(statSync(join(place.cacheDir, "environments")).mode & 0o077).toBe(0);
  });

  it("takes the tested version of a loose requirement, and console scripts run from the final place", {
    timeout: LONG_MS,
  }, async () => {
    const place = makePlace();
    makeWheel(place.wheels, { name: "tqdm", version: "4.70.1", script: "tqdm" });
    makeWheel(place.wheels, { name: "tqdm", version: "99.0" });
    const environment = await place.provision({ requirements: ["TQDM >= 4"] });
    expect(environment.packages["tqdm"]).toBe("4.70.1");
    expect(execFileSync(join(environment.dir ?? "", "bin", "tqdm"), { encoding: "utf8" })).toBe("4.70.1\n");
  });

  it("lets the app's own pin win over the tested version, and says so", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    makeWheel(place.wheels, { name: "tqdm", version: "4.60.0" });
    const said = collectingLogger();
    const environment = await place.provision({ requirements: ["tqdm<4.61"] }, { said });
    expect(environment.packages["tqdm"]).toBe("4.60.0");
    expect(said.infos.join("\n")).toContain("tqdm==4.70.1");
  });

  it("gives up tested versions that a required package rules out", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    makeWheel(place.wheels, { name: "oldtimer", version: "1.0", requires: ["tqdm<5,>=4.60", "idna<3"] });
    makeWheel(place.wheels, { name: "tqdm", version: "4.70.1" });
    makeWheel(place.wheels, { name: "tqdm", version: "4.71" });
    makeWheel(place.wheels, { name: "idna", version: "2.10" });
    makeWheel(place.wheels, { name: "idna", version: "3.20" });
    const said = collectingLogger();
    const environment = await place.provision({ requirements: ["oldtimer", "tqdm"] }, { said });
    expect(environment.packages).toMatchObject({ idna: "2.10", tqdm: "4.70.1", oldtimer: "1.0" });
    expect(said.infos.join("\n")).toContain("tested versions do not go together");
  });
});

describe("a second start", () => {
  it("costs under 300 ms and runs no process", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    const first = await place.provision(WITHOUT_REQUIREMENTS);
    const said = collectingLogger();
    const start = performance.now();
    const second = await place.provision(WITHOUT_REQUIREMENTS, { said });
    expect(performance.now() - start).toBeLessThan(300);
    expect(second).toEqual(first);
    expect(said.waits).toEqual([]);
  });

  it("builds an environment again that has lost a part, says so once, and leaves no rest", {
    timeout: LONG_MS,
  }, async () => {
    const place = makePlace();
    const { dir, key } = await place.provision(WITHOUT_REQUIREMENTS);
    const folder = dir ?? "";
    const manifest: { sitePackages: string } = JSON.parse(readFileSync(join(folder, "flambeau.json"), "utf8"));
    for (const lost of ["flambeau.json", "bin", join(manifest.sitePackages, "msgpack")]) {
      rmSync(join(folder, lost), { recursive: true });
      const said = collectingLogger();
      const rebuilt = await place.provision(WITHOUT_REQUIREMENTS, { said });
      expect(rebuilt.key).toBe(key);
      expect(said.warnings).toEqual([expect.stringContaining("damaged")]);
      expect(python(rebuilt.python, "import msgpack; print(msgpack.version)")).toBe("1.2.4");
      expect(place.leftovers()).toEqual([]);
    }
  });
});

describe("an interpreter that was named", () => {
  it("is used as it is when it has what is required", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    const { dir } = await place.provision(WITHOUT_REQUIREMENTS);
    const environment = await place.provision({ requirements: ["msgpack>=1"], python: dir ?? "" });
    expect(environment).toMatchObject({
      dir: null,
      python: join(dir ?? "", "bin", "python"),
      packages: { msgpack: "1.2.4" },
    });
    const withSetting = await place.provision(WITHOUT_REQUIREMENTS, { variables: { FLAMBEAU_PYTHON: dir ?? "" } });
    expect(withSetting.python).toBe(environment.python);
    await expect(place.provision({ requirements: ["six>=1", "msgpack>=2"], python: dir ?? "" })).rejects.toMatchObject({
      code: "ENV_CONFLICT",
      message: expect.stringMatching(
        /msgpack>=2 \(1\.2\.4\), six>=1 \(not installed\).*-m pip install 'msgpack>=2' 'six>=1'/,
      ),
    });
  });

  it.each([
    ["prints another language's version", "#!/bin/sh\necho node v20", /said "node v20"/],
    [
      "is too old",
      `#!/bin/sh\necho '${JSON.stringify(oldPython())}'`,
      /is Python 3\.8\.20; needed: CPython 3\.10 or newer/,
    ],
    [
      "prints without end",
      "#!/bin/sh\nwhile [ $((n += 1)) -lt 100000 ]; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
      /does not answer/,
    ],
    ["fails to start", "#!/no/such/interpreter\n", /does not answer|could not/],
  ])("is refused when it %s", async (_what, text, message) => {
    const place = makePlace();
    mkdirSync(place.cacheDir, { recursive: true });
    const stub = join(place.cacheDir, "python3");
    writeFileSync(stub, text, { mode: 0o755 });
    await expect(place.provision({ requirements: [], python: stub })).rejects.toMatchObject({
      code: "BAD_PYTHON",
      message: expect.stringMatching(message),
    });
  });

  it("is refused when it does not exist, and without any Python the places that were looked at are named", async () => {
    const place = makePlace();
    await expect(place.provision({ requirements: [], python: "/no/such/python" })).rejects.toMatchObject({
      code: "NO_PYTHON",
    });
    await expect(place.provision(WITHOUT_REQUIREMENTS, { variables: { PATH: place.wheels } })).rejects.toMatchObject({
      code: "NO_PYTHON",
      message: expect.stringContaining(`PATH (${place.wheels})`),
    });
  });
});

describe("the store", () => {
  it("lists environments with their size and use, and prunes those that nobody runs", {
    timeout: LONG_MS,
  }, async () => {
    const place = makePlace();
    const idle = await place.provision(WITHOUT_REQUIREMENTS);
    const used = await place.provision(WITHOUT_REQUIREMENTS, { variables: { PIP_PREFER_BINARY: "1" } });
    const worker = spawn(used.python, ["-c", "print(1, flush=True); input()"], { stdio: ["pipe", "pipe", "inherit"] });
    await once(worker.stdout, "data");
    const settings = place.settings();
    const listed = await listEnvironments(settings);
    expect(listed.map(({ key, inUse }) => [key, inUse])).toEqual([
      [used.key, true],
      [idle.key, false],
    ]);
    expect(listed.every(({ bytes, requirements }) => bytes > 10_000 && requirements[0] === "msgpack")).toBe(true);
    expect(await pruneEnvironments(settings)).toEqual([]);
    expect(await pruneEnvironments(settings, { all: true })).toMatchObject([{ key: idle.key }]);
    worker.stdin.end("\n");
    await once(worker, "exit");
    expect(await pruneEnvironments(settings, { olderThanDays: 0 })).toMatchObject([{ key: used.key }]);
    expect(await listEnvironments(settings)).toEqual([]);
  });

  it("finds Python through a virtual environment, even behind a link", { timeout: LONG_MS }, async () => {
    const place = makePlace();
    const first = await place.provision(WITHOUT_REQUIREMENTS);
    const link = join(place.wheels, "active");
    symlinkSync(first.dir ?? "", link);
    const onlyThere = { PATH: place.wheels, VIRTUAL_ENV: link };
    const again = await place.provision(WITHOUT_REQUIREMENTS, { variables: onlyThere });
    expect(again.key).toBe(first.key);
  });
});

function oldPython(): Record<string, unknown> {
  return {
    executable: "/opt/python3.8",
    base: "/opt/python3.8",
    prefix: "/opt",
    version: "3.8.20",
    implementation: "CPython",
    abi: "",
    bits: 64,
    platform: "linux",
    canInstall: true,
    markers: {},
  };
}
