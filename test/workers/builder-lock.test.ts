// The lock that one builder holds: between real processes, and freed by every death.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { type LockRequest, takeLock } from "../../src/workers/builder-lock.ts";

const PYTHON = execFileSync("python3", ["-c", "import sys; print(sys.executable)"], { encoding: "utf8" }).trim();

function request(more: Partial<LockRequest> = {}): LockRequest {
  const folder = mkdtempSync(join(tmpdir(), "flambeau-lock-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return { path: join(folder, "locks", "one"), python: PYTHON, env: {}, timeoutMs: 20_000, ...more };
}

describe("the lock of a builder", () => {
  it("is held by one at a time; the next gets it when it is given back", async () => {
    const asked = request();
    const first = await takeLock(asked);
    const waits: string[] = [];
    const second = takeLock({ ...asked, onWaiting: () => void waits.push("waiting") });
    expect(await takeLock({ ...asked, timeoutMs: 0 })).toBeNull();
    await expect.poll(() => waits).toEqual(["waiting"]);
    await first?.[Symbol.asyncDispose]();
    const lock = await second;
    expect(lock).not.toBeNull();
    await lock?.[Symbol.asyncDispose]();
  });

  it("is not waited for beyond a signal", async () => {
    const asked = request();
    await using _lock = await takeLock(asked);
    const stop = new AbortController();
    const waiting = takeLock({ ...asked, signal: stop.signal, onWaiting: () => stop.abort() });
    await expect(waiting).rejects.toMatchObject({ code: "CANCELLED" });
  });

  it("is freed when its owner is killed, after the process groups that it named are gone", async () => {
    const asked = request();
    const child = spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
    const file = join(import.meta.dirname, "../../src/workers/builder-lock.ts");
    const code = `
      const { takeLock } = await import(${JSON.stringify(file)});
      const lock = await takeLock(${JSON.stringify(asked)});
      lock.guard.started(${child.pid});
      process.stdout.write("held");
      await new Promise((resolve) => setTimeout(resolve, 600_000));`;
    const owner = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", code], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(owner.stdout, "data");
    const gone = once(child, "exit");
    owner.kill("SIGKILL");
    const lock = await takeLock(asked);
    expect(lock).not.toBeNull();
    expect(await gone).toEqual([null, "SIGKILL"]);
    await lock?.[Symbol.asyncDispose]();
  });

  it("says what it needs when the helper cannot run", async () => {
    await expect(takeLock(request({ python: "/bin/false" }))).rejects.toMatchObject({ code: "BAD_PYTHON" });
    await expect(takeLock(request({ python: "/no/such" }))).rejects.toMatchObject({ code: "BAD_PYTHON" });
  });
});
