import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { interruptOf, type SignalSource, type StopSignal } from "../../src/cli/interrupt.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const painter = "test/fixtures/apps/painter.ts";

let cacheDir: string;
beforeAll(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), "flambeau-cli-"));
});
afterAll(() => rm(cacheDir, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line as a process of its own, from source, where no Python can be found. */
function started(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): { child: ChildProcess; ended: Promise<Ended> } {
  const env = { HOME: cacheDir, FLAMBEAU_CACHE_DIR: cacheDir, PATH: "/nonexistent", ...environment };
  const child = spawn(process.execPath, ["--import", "tsx", "src/cli/main.ts", ...argv], { cwd: repository, env });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  child.stdin.end();
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
  return { child, ended };
}

const flambeau = (...argv: string[]) => started(argv).ended;

describe("the command line", () => {
  it("prints its version", async () => {
    const { version } = JSON.parse(await readFile(join(repository, "package.json"), "utf8")) as { version: string };
    expect(await flambeau("--version")).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  it("lists its commands", async () => {
    const { code, stdout } = await flambeau("--help");
    expect(code).toBe(0);
    for (const command of ["run", "serve", "env"]) expect(stdout).toMatch(new RegExp(`^ {2}${command} `, "m"));
  });

  it("ends with 1 for a command that does not exist, and suggests one", async () => {
    expect(await flambeau("rnu")).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("Did you mean run?"),
    });
  });

  it("says what a command takes where that is left out", async () => {
    const { code, stderr } = await flambeau("run");
    expect(code).toBe(1);
    expect(stderr).toMatch(/missing required argument 'app'\n[\s\S]*`flambeau --help` lists the commands/);
  });

  it("ends with 1 for an app that does not exist, and suggests one", async () => {
    const { code, stdout, stderr } = await flambeau("run", "test/fixtures/apps/paniter.ts");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^error\[APP_INVALID\]: .*did you mean test\/fixtures\/apps\/painter\.ts\?\n$/);
  });

  it("prints the app's own fields for --help, without Python", async () => {
    const { code, stdout, stderr } = await flambeau("run", painter, "--help");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("--num-inference-steps <integer>  Steps of the sampler. (1 to 50; default 20)");
  });

  it("ends with 1 for bad input, before it looks for Python", async () => {
    const { code, stderr } = await flambeau("run", painter, "--num-inference-steps", "99");
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error\[INPUT_INVALID\]:\n {2}--prompt: /);
  });

  it("ends with 2 where there is no Python, its stdout clean for --json", async () => {
    const { code, stdout, stderr } = await flambeau("run", painter, "--prompt", "star", "--json");
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^error\[NO_PYTHON\]: /m);
    expect(stderr).toContain("FLAMBEAU_PYTHON=");
  });

  it("ends with 1 for a setting that is not valid, naming the variable", async () => {
    const { code, stderr } = await started(["env", "list"], { FLAMBEAU_PORT: "many" }).ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error\[SETTINGS_INVALID\]: FLAMBEAU_PORT: .*, got "many"; /);
  });

  it("goes on to its end when nobody reads what it says", async () => {
    const { child, ended } = started(["run", painter, "--prompt", "star"]);
    child.stderr?.destroy();
    expect((await ended).code).toBe(2);
  });

  it("does not print a key that is not valid", async () => {
    const { stderr } = await started(["env", "list"], { FLAMBEAU_KEY: "tooshort" }).ended;
    expect(stderr).toMatch(/^error\[SETTINGS_INVALID\]: FLAMBEAU_KEY: at least 16 characters; /);
  });

  it("lists no environments in an empty cache", async () => {
    expect(await flambeau("env", "list")).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("no environments"),
    });
  });
});

describe("an interrupt", () => {
  function source() {
    const listeners = new Map<string, () => void>();
    const exits: number[] = [];
    const fake: SignalSource = {
      on: (signal, listener) => listeners.set(signal, listener),
      off: (signal) => listeners.delete(signal),
      exit: (code) => exits.push(code),
    };
    return { fake, exits, listeners, send: (signal: StopSignal) => listeners.get(signal)?.() };
  }

  it("asks to stop at the first signal and ends the process at the second", () => {
    const { fake, exits, send } = source();
    const said: string[] = [];
    const { signal } = interruptOf(fake, (message) => said.push(message));
    send("SIGTERM");
    expect([signal.aborted, exits, said.length]).toEqual([true, [], 1]);
    send("SIGINT");
    expect([exits, said.length]).toEqual([[130], 1]);
  });

  it("is also that the terminal was closed", () => {
    const { fake, send } = source();
    const { signal } = interruptOf(fake, () => {});
    send("SIGHUP");
    expect(signal.aborted).toBe(true);
  });

  it("leaves the process as it was", () => {
    const { fake, listeners } = source();
    interruptOf(fake, () => {})[Symbol.dispose]();
    expect(listeners.size).toBe(0);
  });
});
