// What `run` takes besides the fields of the endpoint. Apart from flags.ts, so that `--help` without a file loads no schema code.
import { Option } from "commander";

export interface OwnFlags {
  readonly endpoint?: string;
  readonly input?: string;
  readonly out: string;
  readonly json: boolean;
  readonly verbose: boolean;
}

export const RUN_DEFAULTS: OwnFlags = { out: "outputs", json: false, verbose: false };

/** Flags that a field cannot have; `-h` has no long name but this one. */
export const RESERVED_FLAGS: ReadonlySet<string> = new Set(["endpoint", "input", "out", "json", "verbose", "help"]);

/** The command's own options, also for the command without a file. */
export function ownOptions(): Option[] {
  return [
    new Option("--endpoint <path|name>", "which endpoint, where the app has several"),
    new Option("--input <json>", "the whole input: JSON, @file, or - for stdin; flags change single fields of it"),
    new Option("--out <folder>", `where files are written (default "${RUN_DEFAULTS.out}")`),
    new Option("--json", "print only the endpoint's output, as JSON; progress and logs stay on stderr"),
    new Option("--verbose", "say more, and show whole tracebacks"),
  ];
}
