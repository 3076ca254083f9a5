#!/usr/bin/env node
// The command line's entry: which commands there are, and how each failure ends the process.
// A command's own code is imported when it is asked for: `--version` must not wait for it.
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import type { ServeFlags } from "./commands.ts";
import type { ExitCode } from "./outcomes.ts";
import { type OwnFlags, ownOptions } from "./own-flags.ts";

// Here and not in `limits`, because config.ts loads zod, which takes longer than all of `--version`.
const EXIT_GRACE_MS = 1_000;

/** Parses, runs, reports. Never throws. */
async function main(argv: readonly string[]): Promise<ExitCode> {
  let exitCode: ExitCode = 0;
  const program = programWith((code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (thrown) {
    // commander has already written its own message, or the help that was asked for.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 1;
    const { exitCodeOf, report } = await import("./report.ts");
    const color = process.stderr.isTTY && process.stderr.hasColors();
    const text = report(thrown, { verbose: argv.includes("--verbose"), color, cwd: process.cwd() });
    process.stderr.write(`${text}\n`);
    return exitCodeOf(thrown);
  }
}

function programWith(ended: (code: ExitCode) => void): Command {
  const program = new Command("flambeau")
    .description("Torch models in TypeScript: run, serve and look after them.")
    .version(version(), "--version", "print the version")
    .helpOption("-h, --help", "print this help")
    .enablePositionalOptions()
    .showHelpAfterError("`flambeau --help` lists the commands, and after a command what that takes")
    .exitOverride();
  const run = program
    .command("run")
    .description("run one request of an app, without a server")
    .argument("<app>", "app.ts, or app.ts#Name where it exports several")
    .argument("[flags...]", "one flag for each field of the endpoint's input: `flambeau run app.ts --help` lists them")
    .passThroughOptions()
    .action(async (app: string, flags: string[], own: Partial<OwnFlags>) => {
      const { runCommand } = await import("./commands.ts");
      ended(await runCommand(app, flags, own));
    });
  for (const option of ownOptions("run")) run.addOption(option);
  const bench = program
    .command("bench")
    .description("time requests of an app with and without optimize(), in turns")
    .argument("<app>", "app.ts, or app.ts#Name where it exports several")
    .argument("[flags...]", "one flag for each field of the endpoint's input, as for run")
    .passThroughOptions()
    .action(async (app: string, flags: string[], own: Partial<OwnFlags>) => {
      const { benchCommand } = await import("./commands.ts");
      ended(await benchCommand(app, flags, own));
    });
  for (const option of ownOptions("bench")) bench.addOption(option);
  program
    .command("serve")
    .description("serve an app over HTTP and WebSocket")
    .argument("<app>", "app.ts, or app.ts#Name where it exports several")
    .option("--port <number>", "0 for any (default 3000, or FLAMBEAU_PORT)")
    .option("--host <address>", "beyond loopback FLAMBEAU_KEY is needed (default 127.0.0.1, or FLAMBEAU_HOST)")
    .option("--verbose", "say more, and show whole tracebacks")
    .action(async (app: string, flags: ServeFlags) => {
      const { serveCommand } = await import("./commands.ts");
      ended(await serveCommand(app, flags));
    });
  program
    .command("types")
    .description("write flambeau-types/: what the app imports from Python, for TypeScript and editors")
    .argument("[names...]", "modules, or module.Class; what the app's sources import where none is named")
    .option("--app <file>", "the app whose environment is read (found in this folder where it is left out)")
    .option("--all", "every public class, and not only those that the app names")
    .option("--verbose", "say more, and show what the modules print")
    .action(async (names: string[], flags: { app?: string; all?: boolean; verbose?: boolean }) => {
      const { typesCommand } = await import("./commands.ts");
      ended(await typesCommand(names, flags));
    });
  const env = program.command("env").description("the Python environments that Flambeau keeps");
  env
    .command("list")
    .description("show each with its size and when it was last used")
    .action(async () => {
      const { envListCommand } = await import("./commands.ts");
      ended(await envListCommand());
    });
  env
    .command("prune")
    .description("remove environments that are not in use")
    .option("--older-than <days>", "only those not used for so long")
    .option("--all", "every one")
    .action(async (options: { olderThan?: string; all?: boolean }) => {
      const { envPruneCommand } = await import("./commands.ts");
      ended(await envPruneCommand(options));
    });
  return program;
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  return typeof manifest === "object" && manifest !== null && "version" in manifest
    ? String(manifest.version)
    : "unknown";
}

// A reader that closes its end, as `| head` does, is no error of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
// A log that nobody reads any more, or a terminal that was closed, does not end a server.
process.stderr.on("error", () => {});
// Without this, a wait that nothing can end would end the process in silence.
const stalled = (): void => {
  process.stderr.write(
    "error[INTERNAL]: nothing is left to wait for, yet the command has not ended; this is a defect of Flambeau\n",
  );
  process.exit(1);
};
process.once("beforeExit", stalled);
process.exitCode = await main(process.argv.slice(2));
process.off("beforeExit", stalled);
// Output still on its way is written first; an app's forgotten timer or socket does not keep the command from ending.
setTimeout(() => process.exit(), EXIT_GRACE_MS).unref();
