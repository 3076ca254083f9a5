// App: what users extend. One instance per worker, so `this` keeps what setup loaded. Constructible without Python: paths are
// recorded, and a call before setup says so. Knows no server, queue or process.
import { PythonSession } from "../bridge/python.ts";
import type { PyLike, Python } from "../bridge/stub-types.ts";
import { FlambeauError } from "../errors.ts";
import type { AppDescription, EndpointDescription } from "./description.ts";
import { type AnyEndpoint, isEndpoint } from "./endpoint.ts";

/** What an app asks for. */
export type MachineType = "CPU" | "GPU";
/** What it gets, as torch names it. */
export type Device = "cuda" | "mps" | "cpu";

/** Marks App classes across two copies of the package. */
const APP = Symbol.for("flambeau.app");
const SESSION = Symbol.for("flambeau.app.session");
const DEVICE = Symbol.for("flambeau.app.device");

/**
 * What users extend: `export class Painter extends App { paint = endpoint("/", …, async (input) => …) }`. One instance serves one Python
 * process: what `setup()` keeps on `this` is there for every request, and a new process gets a new instance.
 */
export abstract class App {
  /** "GPU" runs on the CPU where there is none, and says so once. */
  static machineType: MachineType = "CPU";
  /** PEP 508, as in pip: `["torch>=2.2.0", "diffusers"]`. */
  static requirements: readonly string[] = [];
  /** A ready interpreter to use; nothing is installed then. */
  static python: string | undefined = undefined;
  /** Names of environment variables that Python gets beside the usual ones. */
  static environment: readonly string[] = [];
  /** Requests that may run at once on one instance, from 1; Python's own calls come one after the other all the same. */
  static maxConcurrency = 1;
  static readonly [APP] = true;

  readonly [SESSION]: PythonSession = new PythonSession();
  [DEVICE]: Device = "cpu";

  /** Python: `this.py.import("torch")`. Paths may be recorded in fields; a call before `setup()` throws WORKER_EXITED. */
  get py(): Python {
    return this[SESSION].py;
  }

  /** Where models go. Known from setup on. */
  get device(): Device {
    return this[DEVICE];
  }

  /** The torch dtype that this machine computes well: float16 on a GPU, float32 on a CPU (float16 is 40x slower there). */
  get dtype(): PyLike {
    const torch = this.py.import("torch");
    return this[DEVICE] === "cpu" ? torch.$get("float32") : torch.$get("float16");
  }

  /** Loads models; runs once per worker, before the first request. What it throws fails the start with SETUP_FAILED. */
  async setup(): Promise<void> {}

  /** Runs before the worker is stopped, not when it has died. What it throws is logged; it has as long as a cancelled request. */
  async teardown(): Promise<void> {}
}

/** A class that extends App and needs no arguments. */
export type AppClass<A extends App = App> = (new () => A) &
  Pick<typeof App, "machineType" | "requirements" | "python" | "environment" | "maxConcurrency">;

export function isAppClass(value: unknown): value is AppClass {
  return typeof value === "function" && (value as { [APP]?: true })[APP] === true && value !== App;
}

/** The session and device of an instance: for the host, which connects them. */
export function appInternals(app: App): { readonly session: PythonSession; setDevice(device: Device): void } {
  return {
    session: app[SESSION],
    setDevice: (device) => {
      app[DEVICE] = device;
    },
  };
}

/** Endpoints of an instance by field name. */
export function endpointsOf(app: App): ReadonlyMap<string, AnyEndpoint> {
  return new Map(Object.entries(app).filter((entry): entry is [string, AnyEndpoint] => isEndpoint(entry[1])));
}

/**
 * What the rest needs to know of an app, from an instance without Python.
 * @throws FlambeauError APP_INVALID: no endpoints, two under one path, or a static field that is not what it should be
 */
export function describeApp(app: AppClass): AppDescription {
  requireStatics(app);
  const endpoints: EndpointDescription[] = [];
  for (const [name, { path, mode, input, output }] of endpointsOf(new app())) {
    const taken = endpoints.find((other) => other.path === path);
    if (taken !== undefined) {
      throw new FlambeauError(
        "APP_INVALID",
        `${app.name}: the endpoints ${taken.name} and ${name} have the same path ${path}; give each its own.`,
      );
    }
    endpoints.push({ name, path: path as `/${string}`, mode, input, output });
  }
  if (endpoints.length === 0) {
    throw new FlambeauError(
      "APP_INVALID",
      `${app.name} has no endpoints; add a field such as: paint = endpoint("/", { input, output }, async (input) => …)`,
    );
  }
  return { name: app.name, endpoints };
}

const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every((item) => typeof item === "string");

/** What JavaScript, or an environment variable turned into a number, can put there whatever the types say. */
const STATICS: readonly (readonly [name: keyof AppClass, expected: string, fits: (value: unknown) => boolean])[] = [
  ["machineType", '"CPU" or "GPU"', (value) => value === "CPU" || value === "GPU"],
  ["requirements", 'a list of texts, such as ["torch>=2.2.0"]', isTexts],
  ["environment", "a list of names of variables", isTexts],
  ["python", "the path of an interpreter", (value) => value === undefined || typeof value === "string"],
  ["maxConcurrency", "a whole number from 1 on", (value) => Number.isInteger(value) && Number(value) >= 1],
];

function requireStatics(app: AppClass): void {
  for (const [name, expected, fits] of STATICS) {
    const came: unknown = app[name];
    if (fits(came)) continue;
    const shown = typeof came === "number" ? String(came) : JSON.stringify(came);
    throw new FlambeauError("APP_INVALID", `${app.name}: static ${name} is ${expected}, got ${shown}; correct it`);
  }
}
