// Chooses the interpreter that environments are built with, and says what was wrong with the others.

import { FlambeauError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { inheritedEnvironment } from "./inherited.ts";
import {
  type Candidate,
  candidates,
  type Interpreter,
  NEEDED_PYTHON,
  probe,
  problemOf,
  resolvePython,
  type Search,
} from "./interpreter.ts";
import { findOnPath, runTool } from "./tool.ts";

const HOW_TO_INSTALL =
  "Debian and Ubuntu: apt install python3 python3-venv python3-pip; Fedora: dnf install python3 python3-pip; " +
  "macOS: brew install python@3.12; or put uv on PATH";

/**
 * The best interpreter to build with.
 * @throws FlambeauError NO_PYTHON, BAD_PYTHON; CANCELLED when the signal fires
 */
export async function findBuilder(search: Search, logger: Logger): Promise<Interpreter> {
  const uv = findOnPath("uv", search.environment["PATH"]);
  const refused: string[] = [];
  const consider = async ({ path, from }: Candidate): Promise<Interpreter | null> => {
    const { interpreter, why } = await probe(path, search);
    const problem = interpreter === undefined ? why : (problemOf(interpreter) ?? missingTools(interpreter, uv));
    if (interpreter !== undefined && problem === null) return interpreter;
    refused.push(`${path} ${problem}`);
    if (from !== "PATH") logger.warn(`${path} (${from}) is not used: it ${problem}; needed: ${NEEDED_PYTHON}`);
    return null;
  };
  for (const candidate of candidates(search)) {
    const interpreter = await consider(candidate);
    if (interpreter !== null) return interpreter;
  }
  const managed = uv === null ? null : await findWithUv(uv, search);
  const interpreter = managed === null ? null : await consider({ path: managed, from: "PATH" });
  if (interpreter !== null) return interpreter;
  throw refused.length === 0 ? noPython(search) : badPython(refused);
}

/**
 * The interpreter that was named, to be used as it is.
 * @throws FlambeauError NO_PYTHON, BAD_PYTHON; CANCELLED when the signal fires
 */
export async function namedPython(python: string, search: Search): Promise<Interpreter> {
  const path = resolvePython(python, search);
  if (path === null) {
    throw new FlambeauError(
      "NO_PYTHON",
      `the Python that was named, ${python}, does not exist or is not executable (looked for it as a file, as a virtual ` +
        "environment and on PATH); correct `static python` or FLAMBEAU_PYTHON, or leave both out",
    );
  }
  const { interpreter, why } = await probe(path, search);
  const problem = interpreter === undefined ? why : problemOf(interpreter);
  if (interpreter !== undefined && problem === null) return interpreter;
  throw new FlambeauError("BAD_PYTHON", `${path} ${problem}; needed: ${NEEDED_PYTHON}`);
}

function missingTools({ canInstall }: Interpreter, uv: string | null): string | null {
  return canInstall || uv !== null ? null : "has no venv and pip (Debian and Ubuntu: apt install python3-venv)";
}

async function findWithUv(uv: string, { environment, signal }: Search): Promise<string | null> {
  const run = await runTool({
    file: uv,
    args: ["python", "find", "--no-config", "--no-project", ">=3.10"],
    env: inheritedEnvironment(environment, ["UV_PYTHON_INSTALL_DIR", "UV_CACHE_DIR"]),
    cwd: "/",
    signal,
  });
  const path = run.stdout.trim().split("\n").at(-1) ?? "";
  return run.exitCode === 0 && path.startsWith("/") ? path : null;
}

function noPython({ environment, cwd }: Search): FlambeauError {
  const asked = ["VIRTUAL_ENV", "CONDA_PREFIX"].map((name) => `${name} (${environment[name] ?? "not set"})`);
  const looked = [...asked, `.venv in ${cwd} and above`, `python3.12 to python on PATH (${environment["PATH"] ?? ""})`];
  return new FlambeauError(
    "NO_PYTHON",
    `no Python was found; looked at ${looked.join("; ")}. Needed: ${NEEDED_PYTHON}. ${HOW_TO_INSTALL}`,
  );
}

function badPython(refused: readonly string[]): FlambeauError {
  const shown = [...new Set(refused)].slice(0, 8);
  return new FlambeauError(
    "BAD_PYTHON",
    `no Python that was found can be used: ${shown.join("; ")}. Needed: ${NEEDED_PYTHON}, with venv and pip. ${HOW_TO_INSTALL}`,
  );
}
