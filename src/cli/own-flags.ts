// What `run` and `bench` take besides the fields of the endpoint. Apart from flags.ts, so that `--help` without a file loads no schema code.
import { Option } from "commander";

/** The commands that take a flag for each field of an endpoint. */
export type FieldCommand = "run" | "bench";

export interface OwnFlags {
  readonly endpoint?: string;
  readonly input?: string;
  readonly out: string;
  readonly json: boolean;
  /** As typed. */
  readonly rounds?: string;
  readonly verbose: boolean;
}

export const OWN_DEFAULTS: OwnFlags = { out: "outputs", json: false, verbose: false };

/** The command's own options, also for the command without a file. */
export function ownOptions(command: FieldCommand): Option[] {
  const only = {
    run: [
      new Option("--out <folder>", `where files are written (default "${OWN_DEFAULTS.out}")`),
      new Option("--json", "print only the endpoint's output, as JSON; progress and logs stay on stderr"),
    ],
    bench: [new Option("--rounds <number>", "pairs of requests that are timed (default 7)")],
  };
  return [
    new Option("--endpoint <path|name>", "which endpoint, where the app has several"),
    new Option("--input <json>", "the whole input: JSON, @file, or - for stdin; flags change single fields of it"),
    ...only[command],
    new Option("--verbose", "say more, and show whole tracebacks"),
  ];
}

/** Flags that a field cannot have; `-h` has no long name but this one. */
export function reservedFlags(command: FieldCommand): ReadonlySet<string> {
  return new Set(["help", ...ownOptions(command).map((option) => option.long?.slice(2) ?? "")]);
}
