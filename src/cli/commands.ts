// The commands with everything real in their hands: settings, terminal, signals, host.
// main.ts imports this only when a command runs.
import { dirname } from "node:path";
import { readSettings, type Settings } from "../config.ts";
import { FlambeauError } from "../errors.ts";
import { interruptOf } from "./interrupt.ts";
import type { ExitCode } from "./outcomes.ts";
import type { OwnFlags } from "./own-flags.ts";
import type { CreateHost, RunRequest } from "./run.ts";
import { Terminal } from "./terminal.ts";
import type { TypesApp, TypesFlags } from "./types.ts";

interface Session {
  readonly settings: Settings;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  readonly print: (text: string) => void;
}

export function runCommand(spec: string, argv: readonly string[], own: Partial<OwnFlags>): Promise<ExitCode> {
  return fieldCommand({ command: "run", spec, argv, own }, async () => (await import("./run.ts")).run);
}

export function benchCommand(spec: string, argv: readonly string[], own: Partial<OwnFlags>): Promise<ExitCode> {
  return fieldCommand({ command: "bench", spec, argv, own }, async () => (await import("./bench.ts")).bench);
}

function fieldCommand(
  typed: Pick<RunRequest, "command" | "spec" | "argv" | "own">,
  load: () => Promise<typeof import("./run.ts").run>,
): Promise<ExitCode> {
  const verbose = typed.own.verbose === true || typed.argv.includes("--verbose");
  return inSession({ verbose, whenStopped: 130 }, async ({ settings, terminal, signal, print }) => {
    const cwd = process.cwd();
    const app = await loaded(typed.spec, cwd);
    const carryOut = await load();
    const createHost = await hostFactory();
    const columns = process.stdout.columns ?? 100;
    const nowMs = () => performance.now();
    const parts = { createHost, settings, logger: terminal, print, nowMs, columns, cwd, stdin: process.stdin };
    await carryOut({ ...typed, ...app }, parts, { signal });
  });
}

export interface ServeFlags {
  readonly port?: string;
  readonly host?: string;
  readonly verbose?: boolean;
}

export function serveCommand(spec: string, flags: ServeFlags): Promise<ExitCode> {
  // To be stopped is how serving ends.
  return inSession(
    { verbose: flags.verbose === true, whenStopped: 0 },
    async ({ settings, terminal, signal, print }) => {
      const app = await loaded(spec, process.cwd());
      const { serve } = await import("./serve.ts");
      const createHost = await hostFactory();
      const address = {
        ...(flags.host !== undefined && { host: flags.host }),
        ...(flags.port !== undefined && { port: portOf(flags.port) }),
      };
      await serve(app, { createHost, settings: { ...settings, ...address }, logger: terminal, print }, { signal });
    },
  );
}

export function envListCommand(): Promise<ExitCode> {
  return inSession({ verbose: false, whenStopped: 130 }, async (session) => {
    const { envList } = await import("./env.ts");
    await envList(await envParts(session));
  });
}

export function envPruneCommand(options: { olderThan?: string; all?: boolean }): Promise<ExitCode> {
  return inSession({ verbose: false, whenStopped: 130 }, async (session) => {
    const { envPrune } = await import("./env.ts");
    await envPrune(await envParts(session), options);
  });
}

export function typesCommand(names: readonly string[], flags: TypesFlags & { verbose?: boolean }): Promise<ExitCode> {
  return inSession({ verbose: flags.verbose === true, whenStopped: 130 }, async (session) => {
    const { types } = await import("./types.ts");
    const { settings, terminal, signal, print } = session;
    const cwd = process.cwd();
    const parts = {
      logger: terminal,
      print,
      cwd,
      hasPython: settings.python !== undefined,
      nowMs: () => performance.now(),
    };
    const loadApp = (spec: string) => loaded(spec, cwd);
    await types(
      names,
      flags,
      { ...parts, loadApp, openPython: (app, abort) => openPython(app, session, abort) },
      { signal },
    );
  });
}

async function inSession(
  { verbose, whenStopped }: { verbose: boolean; whenStopped: 0 | 130 },
  command: (session: Session) => Promise<void>,
): Promise<ExitCode> {
  const read = readSettings();
  const settings = verbose ? { ...read, logLevel: "debug" as const } : read;
  const { stdout, stderr } = process;
  using terminal = new Terminal({
    stream: stderr,
    level: settings.logLevel,
    color: stderr.isTTY && stderr.hasColors(),
  });
  using interrupt = interruptOf(process, (message) => terminal.info(message));
  const print = (text: string): void => terminal.aside(() => stdout.write(`${text}\n`));
  try {
    await command({ settings, terminal, signal: interrupt.signal, print });
  } catch (thrown) {
    // Whatever fails because it is being stopped is not news to the one who stopped it.
    if (!interrupt.signal.aborted) throw thrown;
    terminal.debug(String(thrown));
  }
  return interrupt.signal.aborted ? whenStopped : 0;
}

async function loaded(spec: string, cwd: string) {
  const [{ loadApp }, { describeApp }] = await Promise.all([import("../host/load-app.ts"), import("../app/app.ts")]);
  const { app, file } = await loadApp(spec, { cwd });
  return { app, file, description: describeApp(app) };
}

async function hostFactory(): Promise<CreateHost> {
  const { createHost } = await import("../host/host.ts");
  return createHost;
}

/** A worker that has no app in it, in the environment that the app would get. */
async function openPython(app: TypesApp, { settings, terminal }: Session, { signal }: { signal: AbortSignal }) {
  const [{ provision }, { inheritedEnvironment }, { Worker }] = await Promise.all([
    import("../workers/environment.ts"),
    import("../workers/inherited.ts"),
    import("../workers/worker.ts"),
  ]);
  const wanted = { requirements: app?.app.requirements ?? [], python: app?.app.python ?? settings.python };
  const environment = await provision(wanted, { settings, logger: terminal, signal });
  const options = {
    python: environment.python,
    environment: inheritedEnvironment(settings.environment, app?.app.environment ?? []),
    paths: app === null ? [] : [dirname(app.file)],
    onLine: (_source: string, line: string) => terminal.debug(line),
  };
  const worker = await Worker.start(options, { signal });
  return { py: worker.session.py, [Symbol.asyncDispose]: () => worker.stop() };
}

async function envParts({ settings, print }: Session) {
  const { listEnvironments, pruneEnvironments } = await import("../workers/environment.ts");
  return { settings, print, listEnvironments, pruneEnvironments, now: () => new Date() };
}

function portOf(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new FlambeauError("SETTINGS_INVALID", `--port expects a number from 0 to 65535, got ${JSON.stringify(text)}`);
}
