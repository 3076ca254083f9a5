// Whether packages for NVIDIA's devices are worth downloading here. Knows no torch and no worker devices.
import { existsSync } from "node:fs";

export type Accelerator = "cuda" | "cpu";

/** What a loaded NVIDIA driver leaves on Linux, in containers, and under WSL. A tool on PATH alone proves no device. */
const TRACES = ["/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg"];

/** `cuda` where a driver is loaded. Costs three looks at the file system. */
export function accelerator(exists: (path: string) => boolean = existsSync): Accelerator {
  return TRACES.some(exists) ? "cuda" : "cpu";
}
