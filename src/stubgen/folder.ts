// The folder of generated declarations: what its headers say, and files replaced whole or left alone. Knows no Python.
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Beside the app's file, where a tsconfig.json that includes the app finds it. */
export const TYPES_FOLDER = "flambeau-types";

/** What the header of one file says. */
export interface TypesHeader {
  readonly file: string;
  /** As pip names it: PIL comes with pillow. */
  readonly distribution: string;
  readonly version: string;
  /** Modules that were asked for by name; empty in files that others refer to. */
  readonly asked: readonly string[];
}

const HEADER =
  /^\/\/ \w+, as TypeScript sees it: written by `flambeau types`.*\n\/\/ from (\S+) (.+)\n(?:\/\/ asked for: (.+)\n)?/;
const HEADER_BYTES = 2_000;

/** Headers of the generated files in a folder; other files are not looked at. Empty where there is no such folder. */
export async function readHeaders(folder: string): Promise<readonly TypesHeader[]> {
  const names = await readdir(folder).catch(() => []);
  const headers: TypesHeader[] = [];
  for (const file of names.filter((name) => name.endsWith(".d.ts")).sort()) {
    const [match, distribution = "", version = "", asked = ""] =
      HEADER.exec(await firstBytes(join(folder, file))) ?? [];
    if (match !== undefined) headers.push({ file, distribution, version, asked: asked.split(" ").filter(Boolean) });
  }
  return headers;
}

/** Writes what has changed and removes generated files that are no longer among them. */
export async function writeFolder(
  folder: string,
  files: Readonly<Record<string, string>>,
): Promise<{ readonly written: readonly string[]; readonly removed: readonly string[] }> {
  await mkdir(folder, { recursive: true });
  const before = await readHeaders(folder);
  const written: string[] = [];
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    if ((await readFile(path, "utf8").catch(() => null)) === text) continue;
    // Under a name that no editor takes for a declaration until it is whole.
    const aside = `${path}.${process.pid}.tmp`;
    try {
      await writeFile(aside, text);
      await rename(aside, path);
    } finally {
      await rm(aside, { force: true });
    }
    written.push(name);
  }
  const removed = before.map(({ file }) => file).filter((file) => !(file in files));
  for (const file of removed) await rm(join(folder, file), { force: true });
  return { written, removed };
}

/**
 * What to tell someone whose types were made from other versions than those that are installed; usually nothing.
 * @param installed versions by distribution; one that is not there is not compared
 */
export async function outdatedTypes(
  folder: string,
  installed: Readonly<Record<string, string>>,
): Promise<readonly string[]> {
  const versions = new Map(
    Object.entries(installed).map(([name, version]) => [canonical(name), publicVersion(version)]),
  );
  return (await readHeaders(folder)).flatMap(({ file, distribution, version }) => {
    const now = versions.get(canonical(distribution)) ?? version;
    if (now === version) return [];
    return `${TYPES_FOLDER}/${file} is of ${distribution} ${version}, and ${now} is installed; \`flambeau types\` writes it anew`;
  });
}

/** The build for one kind of machine, as in 2.13.0+cpu, looks the same from TypeScript. */
function publicVersion(version: string): string {
  return version.split("+")[0] ?? version;
}

/** PEP 503. */
function canonical(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, "-");
}

async function firstBytes(path: string): Promise<string> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await file.close();
  }
}
