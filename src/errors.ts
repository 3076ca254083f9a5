// The error tree. One base, one code per cause; callers branch on `code` or class, never on text.
// Knows nothing of HTTP (server/status.ts maps codes) and nothing of Python (bridge fills PyError).
//
//   FlambeauError            code, retryable, cause
//   ├─ InputError            INPUT_INVALID, OUTPUT_INVALID: issues with their field paths
//   └─ PyError               PYTHON_RAISED: pythonType, traceback, callPath
//      └─ PyOutOfMemoryError OUT_OF_MEMORY

/** Every code, whether trying the same thing again can succeed, and what it means. */
export const ERROR_CODES = {
  INPUT_INVALID: { retryable: false, meaning: "The caller's input does not fit the endpoint's schema." },
  OUTPUT_INVALID: { retryable: false, meaning: "The endpoint returned something that does not fit its own schema." },
  BAD_REQUEST: { retryable: false, meaning: "The request itself is malformed (JSON, method, content type)." },
  NOT_FOUND: { retryable: false, meaning: "No such endpoint, request or file." },
  FORBIDDEN: { retryable: false, meaning: "Host, origin or key refused." },
  TOO_LARGE: { retryable: false, meaning: "A body, frame, value or file is over its limit." },
  QUEUE_FULL: { retryable: true, meaning: "The queue holds as many requests as it may." },
  CANCELLED: { retryable: false, meaning: "The caller's signal fired or the request was cancelled." },
  TIMEOUT: { retryable: true, meaning: "A stated time limit passed." },
  WORKER_EXITED: { retryable: true, meaning: "The Python process ended while work was open." },
  CRASH_LOOP: { retryable: false, meaning: "The worker died too often in a short time." },
  SETUP_FAILED: { retryable: false, meaning: "The app's setup() failed; the cause says why." },
  OUT_OF_MEMORY: { retryable: true, meaning: "Python or the device ran out of memory." },
  PYTHON_RAISED: { retryable: false, meaning: "Python raised; type and traceback travel along." },
  DEADLOCK: { retryable: false, meaning: "Python and TypeScript would wait for each other for ever; both are named." },
  STALE_REF: { retryable: false, meaning: "A handle of a worker that is gone, or one that was released." },
  NOT_SENDABLE: { retryable: false, meaning: "A value that cannot travel; the message names its path." },
  PROTOCOL_ERROR: {
    retryable: false,
    meaning: "The channel carried something that is not our protocol, or another version of it.",
  },
  NO_PYTHON: { retryable: false, meaning: "No Python interpreter was found; the message says where it looked." },
  BAD_PYTHON: { retryable: false, meaning: "A Python was found that cannot be used: found and needed are named." },
  REQUIREMENT_INVALID: { retryable: false, meaning: "A requirement is not valid PEP 508 text." },
  ENV_CONFLICT: { retryable: false, meaning: "The requirements cannot be satisfied together." },
  ENV_BROKEN: { retryable: false, meaning: "The environment was installed but does not import, or was damaged." },
  INDEX_UNREACHABLE: { retryable: true, meaning: "The package index could not be reached." },
  MODEL_UNREACHABLE: { retryable: true, meaning: "A model could not be fetched; what was tried is named." },
  DISK_FULL: { retryable: false, meaning: "The disk is full or over quota." },
  APP_INVALID: { retryable: false, meaning: "The app file or class is not a usable app; file and line are named." },
  SETTINGS_INVALID: { retryable: false, meaning: "A setting or flag is not valid." },
  UNSUPPORTED_PLATFORM: { retryable: false, meaning: "Flambeau does not run on this platform yet." },
  INTERNAL: { retryable: false, meaning: "A defect of Flambeau itself." },
} as const satisfies Record<string, { retryable: boolean; meaning: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Base of everything that Flambeau throws on purpose. The message says what was expected, what came, and what to do. */
export class FlambeauError extends Error {
  override readonly name: string = "FlambeauError";
  readonly code: ErrorCode;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
    this.retryable = ERROR_CODES[code].retryable;
  }
}

/** One field that does not fit; `path` is as in `["image", "url"]`. */
export interface InputIssue {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** INPUT_INVALID or OUTPUT_INVALID, with every field at fault. */
export class InputError extends FlambeauError {
  override readonly name = "InputError";
  readonly issues: readonly InputIssue[];

  constructor(code: "INPUT_INVALID" | "OUTPUT_INVALID", issues: readonly InputIssue[]) {
    super(code, issues.map((issue) => `${issue.path.join(".") || "(root)"}: ${issue.message}`).join("; "));
    this.issues = issues;
  }
}

/** What of a Python exception travels to TypeScript. */
export interface PyErrorFields {
  /** Qualified type, e.g. `ValueError` or `torch.OutOfMemoryError`. */
  readonly pythonType: string;
  /** Names of the type and its bases, most derived first. */
  readonly mro: readonly string[];
  readonly message: string;
  /** Formatted as Python prints it, frames of the bridge cut. */
  readonly traceback: string;
  /** The expression that failed as written in TypeScript, e.g. `diffusers.AutoPipeline.from_pretrained()`. */
  readonly callPath: string;
  /** Members of an exception group. */
  readonly errors?: readonly Error[];
}

/** Python raised. `stack` holds the TypeScript call site, then Python's traceback. */
export class PyError extends FlambeauError {
  override readonly name: string = "PyError";
  readonly pythonType: string;
  readonly traceback: string;
  readonly callPath: string;
  /** Members of an exception group, the first sixteen; empty for any other exception. */
  readonly errors: readonly Error[];
  readonly #mro: readonly string[];

  constructor(fields: PyErrorFields, options: { cause?: unknown; code?: "PYTHON_RAISED" | "OUT_OF_MEMORY" } = {}) {
    super(options.code ?? "PYTHON_RAISED", `${fields.pythonType}: ${fields.message}`, options);
    this.pythonType = fields.pythonType;
    this.traceback = fields.traceback;
    this.callPath = fields.callPath;
    this.errors = fields.errors ?? [];
    this.#mro = fields.mro;
  }

  /** True if the Python exception is of this type or derives from it; short or qualified name. */
  is(pythonType: string): boolean {
    return this.#mro.some((name) => name === pythonType || name.endsWith(`.${pythonType}`));
  }
}

/** Python's MemoryError or torch's OutOfMemoryError, with what was alive on the worker. */
export class PyOutOfMemoryError extends PyError {
  override readonly name = "PyOutOfMemoryError";
  readonly liveBytes: number;
  readonly liveHandles: number;

  constructor(fields: PyErrorFields, live: { bytes: number; handles: number }, options: { cause?: unknown } = {}) {
    super(fields, { ...options, code: "OUT_OF_MEMORY" });
    this.liveBytes = live.bytes;
    this.liveHandles = live.handles;
  }
}

/** The same error for a caller that gave up: name `AbortError`, as the platform's own APIs throw it. */
export function cancelled(reason: unknown, what: string): FlambeauError {
  const error = new FlambeauError("CANCELLED", `${what} was cancelled`, { cause: reason });
  Object.defineProperty(error, "name", { value: "AbortError", configurable: true });
  return error;
}

/** Narrows an unknown to an error without losing what it was. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown), { cause: thrown });
}
