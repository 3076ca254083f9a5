// What each error code means for a shell: the exit code, and what a person can do next from here.
// Kept apart from errors.ts: a library has no exit codes.
import type { ErrorCode } from "../errors.ts";

/** 1: the input, the app or a flag is at fault. 2: Python, its packages, the network or the disk. 130: stopped by a signal. */
export type ExitCode = 0 | 1 | 2 | 130;

interface Outcome {
  readonly exit: ExitCode;
  /** Said below the message, where a command helps; the messages themselves already say what is wrong. */
  readonly next: string | null;
}

export const OUTCOMES: Readonly<Record<ErrorCode, Outcome>> = {
  INPUT_INVALID: { exit: 1, next: "`flambeau run <file> --help` lists the fields" },
  OUTPUT_INVALID: { exit: 1, next: "make the endpoint return what its output schema says" },
  BAD_REQUEST: { exit: 1, next: null },
  NOT_FOUND: { exit: 1, next: null },
  FORBIDDEN: { exit: 1, next: null },
  TOO_LARGE: { exit: 1, next: null },
  QUEUE_FULL: { exit: 1, next: "try again when fewer requests wait" },
  CANCELLED: { exit: 130, next: null },
  TIMEOUT: { exit: 1, next: null },
  WORKER_EXITED: { exit: 1, next: "--verbose shows what Python printed last" },
  CRASH_LOOP: { exit: 1, next: "--verbose shows what Python printed last" },
  SETUP_FAILED: { exit: 1, next: null },
  OUT_OF_MEMORY: { exit: 1, next: "ask for a smaller picture or batch, or close what else uses the memory" },
  PYTHON_RAISED: { exit: 1, next: null },
  DEADLOCK: { exit: 1, next: null },
  STALE_REF: { exit: 1, next: null },
  NOT_SENDABLE: { exit: 1, next: null },
  PROTOCOL_ERROR: { exit: 1, next: null },
  NO_PYTHON: { exit: 2, next: "install Python 3.10 or newer, or name one: FLAMBEAU_PYTHON=/path/to/python3" },
  BAD_PYTHON: { exit: 2, next: "name another Python: FLAMBEAU_PYTHON=/path/to/python3" },
  REQUIREMENT_INVALID: { exit: 1, next: "correct `static requirements` of the app" },
  ENV_CONFLICT: { exit: 2, next: "loosen `static requirements` of the app" },
  ENV_BROKEN: { exit: 2, next: "`flambeau env list` shows the environments, `flambeau env prune --all` removes them" },
  INDEX_UNREACHABLE: { exit: 2, next: "check the network and pip's index and proxy settings, then run this again" },
  MODEL_UNREACHABLE: { exit: 1, next: "name a local folder, or check the network and the model's name" },
  DISK_FULL: { exit: 2, next: "`flambeau env prune --older-than 30` removes environments not used lately" },
  APP_INVALID: { exit: 1, next: null },
  SETTINGS_INVALID: { exit: 1, next: null },
  UNSUPPORTED_PLATFORM: { exit: 2, next: null },
  INTERNAL: { exit: 1, next: null },
};
