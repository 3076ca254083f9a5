// What differs between operating systems, for this room and the host. Tested on Linux. On macOS the same code runs, with the differences
// that are named here and in README.md, and is not tested. Windows is refused.
import { existsSync } from "node:fs";
import { FlambeauError } from "../errors.ts";

export const isLinux = (platform: NodeJS.Platform = process.platform): boolean => platform === "linux";
export const isMac = (platform: NodeJS.Platform = process.platform): boolean => platform === "darwin";

/** @throws FlambeauError UNSUPPORTED_PLATFORM on Windows */
export function requirePlatform(platform: NodeJS.Platform = process.platform): void {
  if (platform !== "win32") return;
  throw new FlambeauError(
    "UNSUPPORTED_PLATFORM",
    "Flambeau does not run on Windows yet; use WSL 2 there, or Linux or macOS.",
  );
}

/**
 * Threads of libgomp (torch's) spin some 10 µs between two operations and then sleep; by default they spin for milliseconds. Measured
 * with the bundled model, ten steps, two threads on two cores, torch 2.13: quiet 0.32 s (default 0.31 s, OMP_WAIT_POLICY=PASSIVE
 * 0.72 s); beside two busy processes 0.65 s (default more than 10 s, PASSIVE 0.9 s). macOS has another OpenMP, which reads none of this.
 */
const PATIENT_THREADS = { GOMP_SPINCOUNT: "10000" } as const;

/** Large blocks come in pages of 2 MiB where the kernel leaves that to programs (glibc 2.35): fresh memory is most of what bytes cost. */
const LARGE_PAGES = { GLIBC_TUNABLES: "glibc.malloc.hugetlb=1" } as const;

/** Of the worker's process, before what the app says. */
export function processVariables(platform: NodeJS.Platform = process.platform): Readonly<Record<string, string>> {
  return isLinux(platform) ? { ...PATIENT_THREADS, ...LARGE_PAGES } : {};
}

/** A sign of a GPU that torch may be able to use. */
export function mayHaveGpu(): boolean {
  if (isMac()) return process.arch === "arm64";
  return ["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd"].some((path) => existsSync(path));
}
