// The versions that Flambeau is tested with (python/constraints.txt), and which of them a request leaves in force.
import { readFile } from "node:fs/promises";
import { parseRequirement, type Requirement } from "./requirement.ts";
import { satisfies } from "./version.ts";

export interface Constraints {
  /** The whole file, for the key of an environment. */
  readonly text: string;
  readonly lines: readonly Requirement[];
}

/** Reads the file that ships with Flambeau. */
export async function readConstraints(): Promise<Constraints> {
  const text = await readFile(new URL("../../python/constraints.txt", import.meta.url), "utf8");
  const lines = text.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
  return { text, lines: lines.map((line) => parseRequirement(line)) };
}

/** Splits the lines into those that stay and those that a requirement rules out: the app's own word wins. */
export function reconcile(
  lines: readonly Requirement[],
  requirements: readonly Requirement[],
): { readonly kept: readonly Requirement[]; readonly dropped: readonly Requirement[] } {
  const isRuledOut = (line: Requirement): boolean =>
    requirements.some(
      ({ name, specifiers }) =>
        name === line.name && line.specifiers.some(({ version }) => !satisfies(version, specifiers)),
    );
  return { kept: lines.filter((line) => !isRuledOut(line)), dropped: lines.filter(isRuledOut) };
}
