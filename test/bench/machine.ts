// What a figure depends on: processor, versions, load. Knows no measurement.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { availableParallelism, cpus, loadavg } from "node:os";
import { promisify } from "node:util";

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /** Of those that decide which kernels torch takes. */
  readonly cpuFlags: readonly string[];
  readonly node: string;
  readonly python: string;
  /** By package; null where it is not installed. */
  readonly packages: Readonly<Record<string, string | null>>;
}

const FLAGS = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "bf16", "sve"];
const PACKAGES = ["msgpack", "numpy", "torch", "diffusers", "transformers"];
const VERSIONS = `
import importlib.metadata, json, platform
def version(name):
    try: return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: return None
print(json.dumps([platform.python_version(), {name: version(name) for name in ${JSON.stringify(PACKAGES)}}]))
`;

export async function machine(python: string): Promise<Machine> {
  const { stdout } = await promisify(execFile)(python, ["-I", "-c", VERSIONS]);
  const [version, packages]: [string, Record<string, string | null>] = JSON.parse(stdout);
  const info = await readFile("/proc/cpuinfo", "utf8").catch(() => "");
  const flags = new Set(/^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1]?.split(" "));
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    cpuFlags: FLAGS.filter((flag) => flags.has(flag)),
    node: process.versions.node,
    python: version,
    packages,
  };
}

/** Processes that want a core, averaged over 1, 5 and 15 minutes. More than there are cores means that figures are too high. */
export function load(): readonly number[] {
  return loadavg().map((value) => Math.round(value * 100) / 100);
}
