// All settings and all limits. The only reader of process.env.
// `limits` is the one table of buffers, queues, waits and retries; a test reaches each of them.
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { FlambeauError } from "./errors.ts";

/** Every number that bounds something. Names end in their unit. */
export const limits = {
  // bridge: the wire
  maxFrameBytes: 64 * 1024 * 1024,
  chunkBytes: 512 * 1024,
  joinedBytes: 64 * 1024,
  inlineBytes: 16 * 1024,
  maxAttachmentBytes: 4 * 1024 ** 3,
  blockBytes: 1024 * 1024,
  keptBytes: 128 * 1024 * 1024,
  maxDepth: 128,
  maxItems: 4_000_000,
  helloTimeoutMs: 20_000,
  // bridge: calls and handles
  maxPendingCalls: 100_000,
  releaseBatchMs: 10,
  releaseBatchCount: 512,
  collectAboveHandles: 10_000,
  leftHandles: 1_000,
  leftBytes: 64 * 1024 * 1024,
  callbackErrorsKept: 64,
  callSiteFrames: 16,
  callSitesPerSecond: 250,
  // workers: processes
  stderrTailLines: 40,
  logLineBytes: 64 * 1024,
  outputTailMs: 40,
  idleHoldMs: 5,
  cancelGraceMs: 10_000,
  shutdownGraceMs: 2_000,
  restartBackoffMs: [100, 500, 2_000, 8_000, 30_000],
  restartWindowMs: 600_000,
  restartsPerWindow: 5,
  // workers: environments
  pythonProbeTimeoutMs: 15_000,
  environmentLockPollMs: 200,
  environmentLockTimeoutMs: 30 * 60_000,
  installRetries: 2,
  minFreeDiskBytes: 512 * 1024 * 1024,
  requirementsMax: 1_000,
  requirementCharacters: 1_000,
  installRetryDelayMs: 1_000,
  installIndexRetries: 2,
  installOutputBytes: 1024 * 1024,
  environmentVerifyTimeoutMs: 10 * 60_000,
  environmentUnusedDays: 30,
  waitUpdateMs: 500,
  // queue and server
  queueMax: 1_000,
  requestEventsKept: 2_000,
  requestsKept: 1_000,
  bodyBytes: 20 * 1024 * 1024,
  socketFrameBytes: 20 * 1024 * 1024,
  socketBufferedBytes: 8 * 1024 * 1024,
  socketsMax: 256,
  socketPingMs: 20_000,
  requestsPerSocketMax: 64,
  socketFragments: 1_024,
  socketCloseTimeoutMs: 2_000,
  jsonDepth: 64,
  inputItems: 1_000_000,
  issuesTold: 20,
  issueNameCharacters: 100,
  headerBytes: 16 * 1024,
  headersTimeoutMs: 10_000,
  bodyTimeoutMs: 60_000,
  keepAliveTimeoutMs: 5_000,
  preflightSeconds: 600,
  rateWindowSteps: 10,
  drainTimeoutMs: 10_000,
  // toolkit
  imagePixels: 256 * 1024 * 1024,
  promptCharacters: 100_000,
  floatsMax: 16_777_216,
  // testing
  fakeCauses: 16,
  // stubgen: sources that are scanned for names
  typesSourcesMax: 2_000,
  typesSourceCharacters: 2_000_000,
  // cli: what a terminal is sent
  redrawMs: 100,
  plainWaitMs: 1_000,
  barsMax: 4,
  rateWindowMs: 10_000,
  rateSamplesMax: 64,
  foldedFrames: 3,
  causesShown: 5,
  benchRounds: 7,
  benchWarmUps: 2,
} as const;

/** PyTorch's own index of builds without CUDA, used only where a machine has no GPU. https://pytorch.org/get-started/locally */
export const PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu";

const Settings = z.object({
  /** Environments and files; removed with `flambeau env prune` or by hand. */
  cacheDir: z.string().min(1),
  /** A ready interpreter to use instead of provisioning, for every app that names none itself. */
  python: z.string().min(1).optional(),
  host: z.string().min(1).default("127.0.0.1"),
  port: z.coerce.number().int().min(0).max(65535).default(3000),
  /** Needed to listen anywhere but on loopback; callers send it as `Authorization: Key …`. */
  key: z.string().min(16, "at least 16 characters").optional(),
  /** Origins of pages that may call the server, comma separated; none by default. */
  origins: z
    .string()
    .default("")
    .transform((text) =>
      text
        .split(",")
        .map((origin) => origin.trim())
        .filter(Boolean),
    )
    .pipe(z.array(z.string().refine(isOrigin, "each is scheme, host and port alone, as https://studio.example"))),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
  /** The process environment as it was read: what of it reaches Python is decided by workers/inherited.ts. */
  environment: z.record(z.string(), z.string()),
});
export type Settings = z.output<typeof Settings>;

/** As a browser sends it: compared letter by letter, so that a slash at its end or a pattern would never match. */
function isOrigin(text: string): boolean {
  if (!/^[a-z][a-z\d+.-]*:\/\/[^\s/?#*]+$/.test(text)) return false;
  return !/^https?:/.test(text) || (URL.canParse(text) && new URL(text).origin === text);
}

/** FLAMBEAU_* variables, checked. Throws SETTINGS_INVALID naming the variable, what came and what was expected. */
export function readSettings(environment: NodeJS.ProcessEnv = process.env): Settings {
  const given = (name: string): string | undefined => environment[`FLAMBEAU_${name}`] || undefined;
  const parsed = Settings.safeParse({
    cacheDir: given("CACHE_DIR") ?? defaultCacheDir(environment),
    python: given("PYTHON"),
    host: given("HOST"),
    port: given("PORT"),
    key: given("KEY"),
    origins: given("ORIGINS"),
    logLevel: given("LOG_LEVEL"),
    environment: Object.fromEntries(Object.entries(environment).filter((entry) => entry[1] !== undefined)),
  });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const name = String(issue?.path[0] ?? "")
    .replace(/[A-Z]/g, (letter) => `_${letter}`)
    .toUpperCase();
  // A key is a secret, also one that is too short.
  const came = name === "KEY" ? "" : `, got ${JSON.stringify(given(name))}`;
  const message = `FLAMBEAU_${name}: ${issue?.message}${came}; correct or unset this variable`;
  throw new FlambeauError("SETTINGS_INVALID", message);
}

function defaultCacheDir(environment: NodeJS.ProcessEnv): string {
  if (environment["XDG_CACHE_HOME"]) return join(environment["XDG_CACHE_HOME"], "flambeau");
  const home = environment["HOME"] || homedir();
  return process.platform === "darwin" ? join(home, "Library", "Caches", "flambeau") : join(home, ".cache", "flambeau");
}
