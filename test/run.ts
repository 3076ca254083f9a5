// `npm test`: types, lint, TypeScript tests, Python tests, in this order. Ends with `N passed, N failed`.
// Python runs in an environment that Flambeau provisions for it.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Terminal } from "../src/cli/terminal.ts";
import { TEST_PYTHON, testPython } from "./support/python.ts";

interface Count {
  readonly passed: number;
  readonly failed: number;
}

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string): string => join(root, "node_modules", ".bin", name);

async function main(): Promise<number> {
  const started = performance.now();
  const scratch = await mkdtemp(join(tmpdir(), "flambeau-test-"));
  try {
    const counts = [
      await check("types", bin("tsc"), ["-p", "tsconfig.json"]),
      await check("build", bin("tsc"), ["-p", "tsconfig.build.json"]),
      await check("lint", bin("biome"), ["check", ".", "--error-on-warnings"]),
    ];
    title("python environment");
    const python = await testPython(new Terminal({ stream: process.stderr, level: "info", color: false }));
    const environment = { ...process.env, [TEST_PYTHON]: python, FLAMBEAU_PYTHON: python };
    counts.push(
      await check("python lint", python, ["-m", "ruff", "check", "."]),
      await check("python types", python, ["-m", "mypy"]),
      await vitest(scratch, environment),
      await pytest(python, scratch, environment),
    );
    const passed = counts.reduce((sum, count) => sum + count.passed, 0);
    const failed = counts.reduce((sum, count) => sum + count.failed, 0);
    console.log(`\ntook ${Math.round((performance.now() - started) / 1000)} s`);
    console.log(`${passed} passed, ${failed} failed`);
    return failed === 0 ? 0 : 1;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

function title(text: string): void {
  console.log(`\n── ${text}`);
}

async function check(name: string, command: string, args: readonly string[]): Promise<Count> {
  title(name);
  return (await run(command, args, process.env)) === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

async function vitest(scratch: string, environment: NodeJS.ProcessEnv): Promise<Count> {
  title("typescript tests");
  const report = join(scratch, "vitest.json");
  const code = await run(
    bin("vitest"),
    ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`],
    environment,
  );
  const text = await readFile(report, "utf8").catch(() => "{}");
  const { numPassedTests = 0, numFailedTests = 0 }: { numPassedTests?: number; numFailedTests?: number } =
    JSON.parse(text);
  // A file that does not load fails without a failed test.
  return { passed: numPassedTests, failed: code === 0 ? numFailedTests : Math.max(1, numFailedTests) };
}

async function pytest(python: string, scratch: string, environment: NodeJS.ProcessEnv): Promise<Count> {
  title("python tests");
  const report = join(scratch, "pytest.xml");
  const args = ["-m", "pytest", `--junitxml=${report}`, "--durations=5", "-p", "no:cacheprovider"];
  const code = await run(python, args, { ...environment, OMP_NUM_THREADS: "1" });
  const xml = await readFile(report, "utf8").catch(() => "");
  const number = (name: string): number =>
    Number(new RegExp(`<testsuite [^>]*\\b${name}="(\\d+)"`).exec(xml)?.[1] ?? 0);
  const failed = number("failures") + number("errors");
  return { passed: number("tests") - failed - number("skipped"), failed: code === 0 ? failed : Math.max(1, failed) };
}

function run(command: string, args: readonly string[], environment: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env: environment, stdio: ["ignore", "inherit", "inherit"] });
    child.once("error", (error) => {
      console.error(error.message);
      resolve(127);
    });
    child.once("exit", (code) => resolve(code ?? 1));
  });
}

process.exitCode = await main();
