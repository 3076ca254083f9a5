// Python without an app: as a script has it, with a real worker.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startPython } from "flambeau";
import { expect, test } from "vitest";
import { readSettings } from "../../src/config.ts";
import { failureOf } from "../support/errors.ts";
import { untilGone } from "../support/processes.ts";
import { testPython } from "../support/python.ts";
import { recordingLogger, scratch } from "./fixture.ts";

const python = await testPython();

test("`py` works until the end of its block, and its process ends there", async () => {
  let pid = 0;
  {
    await using py = await startPython({ python });
    pid = await py.import("os").getpid().$number();
    expect(await py.expr`[n ** 2 for n in range(${4})]`.$value()).toEqual([0, 1, 4, 9]);
    expect(await py.import("math").sqrt(py.float(16))).toBe(4);
  }
  await untilGone([pid], 5_000);
});

test("requirements are made an environment, in which they can be imported", async () => {
  const cacheDir = await scratch();
  const settings = { ...readSettings({ ...process.env, FLAMBEAU_CACHE_DIR: cacheDir }), python };
  await using py = await startPython({ requirements: ["numpy"], settings });
  expect(await py.import("numpy").arange(3).sum().item()).toBe(3);
  expect(await failureOf(startPython({ requirements: ["no such package!"], settings }))).toMatchObject({
    code: "REQUIREMENT_INVALID",
  });
});

test("folders can be imported from, and what Python prints goes to the logger", async () => {
  const folder = await scratch({ "mine.py": "def double(x):\n    print('doubling', x)\n    return 2 * x\n" });
  const logger = recordingLogger();
  await using py = await startPython({ python, paths: [folder], logger });
  expect(await py.import("mine").double(21)).toBe(42);
  await expect.poll(() => logger.lines).toContainEqual({ level: "info", message: "doubling 21" });
});

test("a signal stops the start", async () => {
  const controller = new AbortController();
  controller.abort(new Error("changed my mind"));
  expect(await failureOf(startPython({ python, signal: controller.signal }))).toMatchObject({ code: "CANCELLED" });
  expect(await failureOf(startPython({ python, signal: AbortSignal.timeout(1) }))).toMatchObject({ code: "CANCELLED" });
});

test("a script that leaves it open ends all the same, and shows what Python prints", async () => {
  const script = fileURLToPath(new URL("./careless-script.ts", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", script, python], {
    timeout: 20_000,
  });
  expect(stdout).toBe("hello from Python\n");
});
