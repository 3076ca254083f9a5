// Why an app's file could not be imported, in one sentence with file and line.
// Knows how Node, tsx and esbuild word their errors; each wording is pinned by a test.
import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, extname, isAbsolute, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { nearest } from "./nearest.ts";

interface Importing {
  readonly file: string;
  readonly cwd: string;
}

export async function importFailure(error: Error, { file, cwd }: Importing): Promise<string> {
  return (
    syntaxFailure(error, cwd) ??
    (await missingPackage(error, cwd)) ??
    (await missingFile(error, cwd)) ??
    missingExport(error, cwd) ??
    `${placeInStack(error, cwd) ?? shown(file, cwd)}: ${firstLine(error)}`
  );
}

/** The first line of the stack that is neither Node's, nor a package's, nor ours, as `app.ts:12:3`. */
export function placeInStack(error: Error, cwd: string): string | null {
  const ours = new URL("..", import.meta.url).href;
  for (const line of (error.stack ?? "").split("\n")) {
    const [, path, position] = /^\s*at .*?((?:file:\/\/)?\/[^()]*?)(?:\?[^:]*)?:(\d+:\d+)\)?$/.exec(line) ?? [];
    if (path === undefined || path.includes("/node_modules/") || line.includes("node:")) continue;
    const plain = path.startsWith("file://") ? fileURLToPath(path) : path;
    if (!plain.startsWith(fileURLToPath(ours))) return `${shown(plain, cwd)}:${position}`;
  }
  return null;
}

/** esbuild: `Transform failed with 1 error:\n/app.ts:2:6: ERROR: Unexpected ";"`. Its columns count from 0, ours from 1. */
function syntaxFailure(error: Error, cwd: string): string | null {
  const [, path, line, column, what] = /^(.+?):(\d+):(\d+): ERROR: (.+)$/m.exec(error.message) ?? [];
  return path === undefined ? null : `${shown(path, cwd)}:${line}:${Number(column) + 1}: syntax error: ${what}`;
}

/** Node: `Cannot find package 'zodd' imported from /app.ts`. */
async function missingPackage(error: Error, cwd: string): Promise<string | null> {
  const [, name, importer] = /^Cannot find package '([^']+)' imported from (.+)$/m.exec(error.message) ?? [];
  if (name === undefined || importer === undefined) return null;
  // Where package.json points at a file that is not there, Node names the folder instead of the package.
  const packageName = isAbsolute(name)
    ? (/.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(name)?.[1] ?? basename(name))
    : name;
  const at = await importPlace(importer, packageName, cwd);
  return `${at}: the package ${JSON.stringify(packageName)} is not installed; run \`npm install ${packageName}\``;
}

/** Node: `Cannot find module '/folder/part.ts' imported from /app.ts`. */
async function missingFile(error: Error, cwd: string): Promise<string | null> {
  const [, missing, importer] = /^Cannot find module '([^']+)' imported from (.+)$/m.exec(error.message) ?? [];
  if (missing === undefined || importer === undefined) return null;
  const stem = basename(missing, extname(missing));
  const present = await readdir(dirname(missing)).catch(() => []);
  const near = nearest(basename(missing), present) ?? present.find((name) => basename(name, extname(name)) === stem);
  const advice = near ? `did you mean ${shown(join(dirname(missing), near), cwd)}?` : "correct the import";
  return `${await importPlace(importer, stem, cwd)}: there is no file ${shown(missing, cwd)}; ${advice}`;
}

/** Node: `The requested module 'zod' does not provide an export named 'zz'`; the stack begins with the place. */
function missingExport(error: Error, cwd: string): string | null {
  const [, module, name] =
    /requested module '([^']+)' does not provide an export named '([^']+)'/.exec(error.message) ?? [];
  if (module === undefined) return null;
  const [, path, line] = /^((?:file:\/\/)?\/.+):(\d+)$/m.exec(error.stack ?? "") ?? [];
  const plain = path?.startsWith("file://") ? fileURLToPath(path) : path;
  const place = plain === undefined ? "an import" : `${shown(plain, cwd)}:${line}`;
  return `${place}: ${JSON.stringify(module)} has no export named ${name}; if it is a type, write \`import { type ${name} }\``;
}

/** `app.ts:3`, the line that names what is imported; without a line if it is not found literally. */
async function importPlace(importer: string, what: string, cwd: string): Promise<string> {
  const path = (importer.startsWith("file://") ? fileURLToPath(importer) : importer).replace(/\?.*$/, "");
  const lines = (await readFile(path, "utf8").catch(() => "")).split("\n");
  const names = lines.map((text) =>
    [...text.matchAll(/["']([^"']+)["']/g)].some(([, literal]) => literal?.includes(what)),
  );
  const imports = names.map((names, index) => names && /\b(?:from|import|require)\b/.test(lines[index] ?? ""));
  const line = imports.indexOf(true) >= 0 ? imports.indexOf(true) : names.indexOf(true);
  return line < 0 ? shown(path, cwd) : `${shown(path, cwd)}:${line + 1}`;
}

function firstLine(error: Error): string {
  const [line = ""] = error.message.split("\n");
  return `${error.name}: ${line}`;
}

function shown(file: string, cwd: string): string {
  const short = relative(cwd, file);
  return short === "" || short.startsWith("..") ? file : short;
}
