// What an environment is made of, as one short name: equal inputs, equal folder. Nothing here runs a process.
import { createHash } from "node:crypto";
import type { Accelerator } from "./accelerator.ts";
import type { Interpreter } from "./interpreter.ts";
import { type PackageSources, sourcesKey } from "./package-sources.ts";
import type { Requirement } from "./requirement.ts";

/** Raised when what is inside an environment's folder changes its form; older folders are then left to `prune`. */
export const LAYOUT_VERSION = 1;

export interface KeyParts {
  readonly requirements: readonly Requirement[];
  readonly constraintsText: string;
  readonly interpreter: Interpreter;
  readonly accelerator: Accelerator;
  readonly sources: PackageSources;
}

/** 32 hexadecimal digits. */
export function environmentKey({ requirements, constraintsText, interpreter, accelerator, sources }: KeyParts): string {
  const { version, implementation, abi, platform } = interpreter;
  return digest([
    LAYOUT_VERSION,
    requirements.map(({ text }) => text),
    constraintsText,
    [version, implementation, abi, platform],
    accelerator,
    sourcesKey(sources),
  ]);
}

/** The key of a named interpreter: it changes with what is installed. */
export function readyKey(interpreter: Interpreter, packages: Readonly<Record<string, string>>): string {
  return `ready-${digest([interpreter.executable, interpreter.version, Object.entries(packages).sort()])}`;
}

function digest(parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}
