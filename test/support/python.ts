// The environment in which tests run Python: provisioned by Flambeau itself, once, and named to every test process.
import { readSettings } from "../../src/config.ts";
import type { Logger } from "../../src/log.ts";
import { provision } from "../../src/workers/environment.ts";

/** The document's requirements, and what checks and runs the Python half. */
const REQUIREMENTS = [
  "accelerate",
  "transformers>=4.30.2",
  "diffusers>=0.26",
  "torch>=2.2.0",
  "numpy",
  "pillow",
  "pytest",
  "hypothesis",
  "ruff",
  "mypy",
  "uv",
];

export const TEST_PYTHON = "FLAMBEAU_TEST_PYTHON";

/** Absolute path of an interpreter with everything that tests need. */
export async function testPython(logger?: Logger): Promise<string> {
  const given = process.env[TEST_PYTHON];
  if (given !== undefined) return given;
  const { silentLogger } = await import("../../src/log.ts");
  const environment = await provision(
    { requirements: REQUIREMENTS },
    { settings: readSettings(), logger: logger ?? silentLogger },
  );
  return environment.python;
}
