// An app in a test: constructed, set up, its endpoints called with `run`. Python is fake modules of the test's own, or the real worker.
import { type App, type AppClass, appInternals, type Device } from "../app/app.ts";
import { runRequest } from "../app/context.ts";
import type { FileStore } from "../app/files.ts";
import { Channel } from "../bridge/channel.ts";
import { limits, readSettings, type Settings } from "../config.ts";
import { FlambeauError } from "../errors.ts";
import { Instance } from "../host/instance.ts";
import { type Logger, silentLogger } from "../log.ts";
import type { FakeModules, Recorded } from "./fake-modules.ts";
import { FakeWorker } from "./fake-worker.ts";

export interface FakeOptions {
  readonly python?: "fake";
  /** Modules that stand in for Python's; what is not in them cannot be imported. */
  readonly modules?: FakeModules;
  /** What `this.device` says; "cpu" by default. */
  readonly device?: Device;
  /** Stops setup(). */
  readonly signal?: AbortSignal;
}

export interface RealOptions {
  readonly python: "real";
  /** FLAMBEAU_* variables by default; `settings.python` names a ready interpreter. */
  readonly settings?: Settings;
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
}

/** The app itself, set up; disposing of it runs `teardown()` and ends its Python. */
export type TestedApp<A extends App> = A &
  AsyncDisposable & {
    /** Calls that were made to fakes, in order, those of setup() as well; with the real worker there are none. */
    readonly $calls: readonly Recorded[];
  };

/**
 * An app with its `setup()` done: `await using app = await testApp(TextToImage, { modules: { diffusers: { … } } })`, and then
 * `await app.textToImage.run({ prompt: "a cat" })`. Fake modules are plain objects, seen through the same proxies as Python: a call
 * gets its arguments, keyword arguments as one object behind them; what it returns stays on its side unless it is a scalar.
 * @throws what setup() throws; with `python: "real"` also FlambeauError of any environment code, and SETUP_FAILED around it.
 *   Disposing throws the failure of a call that nobody awaited
 */
export async function testApp<A extends App>(
  app: AppClass<A>,
  options: FakeOptions | RealOptions = {},
): Promise<TestedApp<A>> {
  return options.python === "real" ? withPython(app, options) : withFakes(app, options);
}

async function withPython<A extends App>(appClass: AppClass<A>, options: RealOptions): Promise<TestedApp<A>> {
  const { settings = readSettings(), logger = silentLogger, signal } = options;
  const instance = await Instance.start(
    appClass,
    {
      settings,
      logger,
      files: inlineFiles,
      abandonAfterMs: limits.cancelGraceMs + limits.shutdownGraceMs,
      isFirst: true,
    },
    signal === undefined ? {} : { signal },
  );
  return tested(instance.app as A, [], () => instance.stop());
}

async function withFakes<A extends App>(appClass: AppClass<A>, options: FakeOptions): Promise<TestedApp<A>> {
  const app = new appClass();
  const { session, setDevice } = appInternals(app);
  setDevice(options.device ?? "cpu");
  const worker = new FakeWorker(options.modules ?? {});
  const unseen: Error[] = [];
  const channel = new Channel(worker.stream, {
    limits,
    owner: session,
    wrap: (live) => session.stubs.ref(live),
    onUnseen: (error) => void unseen.push(error),
  });
  session.connect(channel);
  const close = (): void => {
    channel.fail(new FlambeauError("WORKER_EXITED", "The tested app has been disposed of."));
    worker.close();
  };
  const inRequest = (requestId: string, body: () => Promise<void>): Promise<void> =>
    runRequest(
      {
        requestId,
        signal: options.signal ?? new AbortController().signal,
        sink: { progress: () => {}, log: () => {} },
        files: inlineFiles,
        scopes: channel.scopes,
      },
      body,
    );
  try {
    await channel.hello({ paths: [] });
    await inRequest("setup", () => app.setup());
  } catch (thrown) {
    close();
    throw thrown;
  }
  return tested(app, worker.calls, async () => {
    await inRequest("teardown", () => app.teardown()).finally(close);
    if (unseen.length > 0) throw unseen[0];
  });
}

function tested<A extends App>(app: A, calls: readonly Recorded[], dispose: () => Promise<void>): TestedApp<A> {
  return Object.defineProperties(app, {
    $calls: { value: calls },
    [Symbol.asyncDispose]: { value: dispose },
  }) as TestedApp<A>;
}

/** Nobody serves files in a test: their URL holds them. */
const inlineFiles: FileStore = {
  put: async (bytes, { contentType, extension }) => ({
    url: `data:${contentType};base64,${Buffer.from(bytes).toString("base64")}`,
    fileName: `file.${extension}`,
    contentType,
    size: bytes.length,
  }),
};
