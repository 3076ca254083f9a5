// What an app imports from Python and which words its sources hold: a scan of text. Loads and compiles nothing.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { limits } from "../config.ts";

export interface SourceNames {
  /** Literal names in `py.import("…")`, sorted. */
  readonly modules: readonly string[];
  /** Every identifier, sorted. */
  readonly words: readonly string[];
}

const SOURCE = /(?<!\.d)\.(?:[cm]?[jt]s|[jt]sx)$/;
const SKIPPED = /^(?:\.|node_modules$|dist$|flambeau-types$)/;
const IMPORT = /\bpy\s*\.\s*import\s*\(\s*(["'`])([\w.]+)\1/g;

/** Reads the sources in a folder and below, without `node_modules`, `dist` and hidden ones. */
export async function scanSources(folder: string): Promise<SourceNames> {
  const modules = new Set<string>();
  const words = new Set<string>();
  for (const file of await sourcesIn(folder)) {
    const text = await readFile(file, "utf8");
    if (text.length > limits.typesSourceCharacters) continue;
    for (const [, , name = ""] of text.matchAll(IMPORT)) modules.add(name);
    for (const [word] of text.matchAll(/[\p{L}_][\p{L}\p{N}_]*/gu)) words.add(word);
  }
  return { modules: [...modules].sort(), words: [...words].sort() };
}

/** Source files in a folder and below, sorted. */
export async function sourcesIn(folder: string): Promise<readonly string[]> {
  const found: string[] = [];
  const waiting = [folder];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const entry of await readdir(at, { withFileTypes: true })) {
      if (SKIPPED.test(entry.name)) continue;
      if (entry.isDirectory()) waiting.push(join(at, entry.name));
      else if (entry.isFile() && SOURCE.test(entry.name)) found.push(join(at, entry.name));
      if (found.length >= limits.typesSourcesMax) return found.sort();
    }
  }
  return found.sort();
}
