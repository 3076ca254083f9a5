// What stands in for Python's modules in a test, and what stands in for a picture and for an exception.

/**
 * Modules by name, each an object of plain functions, classes and values: `{ diffusers: { DiffusionPipeline: { … } } }`; a .py file of the
 * app's own by its file name: `{ "smoother.py": { … } }`.
 */
export type FakeModules = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** One call that was made to a fake. */
export interface Recorded {
  /** As written: `diffusers.DiffusionPipeline.from_pretrained`; of a result, `….from_pretrained()`. */
  readonly path: string;
  readonly args: readonly unknown[];
  /** Keyword arguments. The fake itself gets them as one object behind the others, if there are any. */
  readonly kwargs: Readonly<Record<string, unknown>>;
}

/** Stands in for a PIL image: `Image.fromPil` takes it. */
export class FakeImage {
  readonly mode = "RGB";
  readonly width: number;
  readonly height: number;
  /** As PIL has it. */
  readonly size: readonly [width: number, height: number];

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.size = [width, height];
  }

  /** Rows of 8-bit RGB, from dark to light. */
  get pixels(): Uint8Array {
    return new Uint8Array(this.width * this.height * 3).map((_, at) => at % 256);
  }
}

/** A picture of this size, in pixels, for fakes that return pictures. */
export function fakeImage(width: number, height: number): FakeImage {
  return new FakeImage(width, height);
}

const OUT_OF_MEMORY = new Set(["MemoryError", "torch.OutOfMemoryError"]);

/** Stands in for a Python exception: what a fake throws, and what the app gets as a PyError. */
export class FakePythonError extends Error {
  override readonly name = "FakePythonError";
  readonly pythonType: string;
  /** As the wire has it, where there is one. */
  readonly code: string | undefined;

  constructor(pythonType: string, message: string, code?: string) {
    super(message);
    this.pythonType = pythonType;
    this.code = code ?? (OUT_OF_MEMORY.has(pythonType) ? "OUT_OF_MEMORY" : undefined);
  }
}

/**
 * An exception for a fake to throw; the app catches it as a PyError of that type, out of memory as a PyOutOfMemoryError.
 * @param pythonType qualified unless built in: `ValueError`, `torch.OutOfMemoryError`
 */
export function fakeError(pythonType: string, message: string): FakePythonError {
  return new FakePythonError(pythonType, message);
}

/** The modules of one test: each the very object that was given, so that what the app assigns to one stays there. */
export function allModules(given: FakeModules): FakeModules {
  const builtIn = Object.entries(BUILT_IN).map(([name, members]) => {
    const own = Object.getOwnPropertyDescriptors(given[name] ?? {});
    return [name, Object.create(members, own) as FakeModules[string]] as const;
  });
  return { ...given, ...Object.fromEntries(builtIn) };
}

/** The module of that name: given as a whole, or as a member of the one above it. */
export function findModule(modules: FakeModules, name: string): unknown {
  if (Object.hasOwn(modules, name)) return modules[name];
  const [parent = "", last = ""] = [name.slice(0, name.lastIndexOf(".")), name.slice(name.lastIndexOf(".") + 1)];
  if (name.includes(".")) {
    const above = findModule(modules, parent) as Readonly<Record<string, unknown>>;
    if (Object.hasOwn(above, last)) return above[last];
  }
  throw new FakePythonError(
    "ModuleNotFoundError",
    `No module named '${name}': there is no Python in this test; give testApp a fake of it, modules: { "${name}": { … } }`,
  );
}

/** What Flambeau's own functions and `this.dtype` reach for. */
const BUILT_IN: FakeModules = {
  torch: { float16: "torch.float16", bfloat16: "torch.bfloat16", float32: "torch.float32" },
  "flambeau.toolkit": {
    optimize: (module: unknown) => module,
    report: () => ({
      state: "waiting",
      applied: [],
      skipped: [],
      seconds: 0,
      speedUp: null,
      relativeError: null,
      cosine: null,
      bytes: 0,
      moduleBytes: 0,
      eagerCalls: [],
      repacked: 0,
      extents: [],
      breakdown: [],
    }),
  },
  "flambeau.values": {
    tensor: (data: unknown) => data,
    make_object: (methods: unknown) => methods,
    evaluate: (source: string) => {
      throw new FakePythonError(
        "NotImplementedError",
        `py.expr needs Python, and there is none in this test: ${source}`,
      );
    },
  },
};
