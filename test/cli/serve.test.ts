import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { describeApp } from "../../src/app/app.ts";
import { banner, serve } from "../../src/cli/serve.ts";
import type { Settings } from "../../src/config.ts";
import { FlambeauError } from "../../src/errors.ts";
import { App, endpoint } from "../../src/index.ts";
import { type FakeScript, fakeHost, recordingLogger, testSettings } from "./fake-host.ts";

class Painter extends App {
  paint = endpoint(
    "/",
    { input: z.object({ prompt: z.string().meta({ examples: ["it's red"] }) }), output: z.null() },
    async () => null,
  );
  watch = endpoint("/watch", { input: z.object({}), yields: z.null() }, () => this.none());
  async *none() {}
}

function served(script: FakeScript, settings: Partial<Settings> = {}) {
  const { createHost, calls } = fakeHost(script);
  const logger = recordingLogger();
  const printed: string[] = [];
  const controller = new AbortController();
  const parts = {
    createHost,
    settings: testSettings(settings),
    logger,
    print: (text: string) => void printed.push(text),
  };
  const request = { app: Painter, description: describeApp(Painter), file: "/app.ts" };
  return {
    done: serve(request, parts, { signal: controller.signal }),
    stop: () => controller.abort(),
    calls,
    logger,
    printed,
  };
}

describe("flambeau serve", () => {
  it("listens before it starts Python, says where, and closes when it is stopped", async () => {
    let begin = (): void => {};
    const began = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const { done, stop, calls, printed, logger } = served({ start: async () => begin() }, { port: 4444 });
    await began;
    expect(calls.said).toEqual(["created for /app.ts", "listening on 127.0.0.1:4444", "started"]);
    expect(printed[0]).toMatch(/^Painter at http:\/\/127\.0\.0\.1:4444\n/);
    stop();
    await done;
    expect(calls.said.at(-1)).toBe("closed");
    expect(logger.lines).toEqual(["info: ready · environment 0.1 s · setup 9.8 s"]);
  });

  it("ends without an error when it is stopped while Python starts", async () => {
    const { done, stop, calls } = served({
      start: async (signal) => {
        if (!signal?.aborted) await once(signal ?? new AbortController().signal, "abort");
        throw new FlambeauError("CANCELLED", "start was cancelled");
      },
    });
    stop();
    await expect(done).resolves.toBeUndefined();
    expect(calls.said.at(-1)).toBe("closed");
  });

  it("fails and closes when the start fails", async () => {
    const { done, calls } = served({ start: () => Promise.reject(new FlambeauError("SETUP_FAILED", "no")) });
    await expect(done).rejects.toMatchObject({ code: "SETUP_FAILED" });
    expect(calls.said.at(-1)).toBe("closed");
  });

  it("fails, closes and starts nothing when it cannot listen", async () => {
    const { done, calls } = served({ listen: () => Promise.reject(new FlambeauError("SETTINGS_INVALID", "in use")) });
    await expect(done).rejects.toMatchObject({ code: "SETTINGS_INVALID" });
    expect(calls.said.slice(-1)).toEqual(["closed"]);
    expect(calls.said).not.toContain("started");
  });
});

describe("the banner", () => {
  it("has a request to copy for every endpoint, safe for a shell", () => {
    const text = banner(describeApp(Painter), "http://127.0.0.1:3000", false);
    expect(text).toContain(
      `curl http://127.0.0.1:3000/ -H 'content-type: application/json' -d '{"prompt":"it'\\''s red"}'`,
    );
    expect(text).toContain("watch (stream)   POST http://127.0.0.1:3000/watch");
    expect(text).toContain("ws://127.0.0.1:3000/ws");
    expect(text).toContain("http://127.0.0.1:3000/openapi.json");
    expect(text).not.toContain("authorization");
  });

  it("names the key where one is needed, without showing it", () => {
    expect(banner(describeApp(Painter), "http://0.0.0.0:3000", true)).toContain(
      '-H "authorization: Key $FLAMBEAU_KEY"',
    );
  });
});
