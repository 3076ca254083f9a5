// How Node loads an app's files: TypeScript by tsx, `flambeau` as this very copy of the package.
// Process-wide by nature: hooks cannot be taken back without breaking imports that the app makes later.
import { existsSync } from "node:fs";
import { register } from "node:module";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The hook as source text: hooks run on a thread of their own, which a TypeScript file cannot reach when we ourselves run from source.
 * 1. `flambeau` and its doors resolve to the copy that loads the app. A second one would have its own requests, handles and errors.
 * 2. A .ts file is an ES module also where package.json says nothing or "commonjs": as CommonJS it cannot import Flambeau.
 */
const HOOK = `
let doors = {};
export function initialize(data) { doors = data.doors; }
export async function resolve(specifier, context, next) {
  const door = Object.hasOwn(doors, specifier) ? doors[specifier] : undefined;
  if (door !== undefined) return { url: door, format: "module", shortCircuit: true };
  const resolved = await next(specifier, context);
  const typescript = /^file:.*\\.tsx?(\\?.*)?$/.test(resolved.url) && !resolved.url.includes("/node_modules/");
  return typescript ? { ...resolved, format: "module" } : resolved;
}
`;

const INSTALLED = Symbol.for("flambeau.load-hooks");

/** Installs the hooks, once in a process. */
export async function installLoadHooks(): Promise<void> {
  // On globalThis, because a second copy of this module would install them a second time.
  if (INSTALLED in globalThis) return;
  Object.defineProperty(globalThis, INSTALLED, { value: true });
  const tsx = await import("tsx/esm/api");
  tsx.register();
  // Registered after tsx, so it is asked first.
  register(`data:text/javascript,${encodeURIComponent(HOOK)}`, { data: { doors: doors() } });
}

/** The public entries of this copy: `src/*.ts` in a checkout that runs from source, `dist/*.js` otherwise. */
function doors(): Record<string, string> {
  const extension = extname(fileURLToPath(import.meta.url));
  const entries = ["index", "toolkit", "testing"].map((name) => {
    return [
      name === "index" ? "flambeau" : `flambeau/${name}`,
      new URL(`../${name}${extension}`, import.meta.url),
    ] as const;
  });
  return Object.fromEntries(entries.filter(([, url]) => existsSync(url)).map(([name, url]) => [name, url.href]));
}
