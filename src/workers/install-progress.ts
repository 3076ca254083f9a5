// Lines of pip and uv → what they mean. Pure: text in, events out. Formats: pip 22.3 to 26, uv 0.5 to 0.13.

export type InstallEvent =
  /** A package was chosen, or its metadata is being read. */
  | { readonly kind: "resolve"; readonly name: string; readonly version: string | null }
  /** A file is about to be fetched, or is taken from a cache or folder; `bytes` null where not said. */
  | {
      readonly kind: "fetch";
      readonly name: string;
      /** As in the file's name; null for uv, which does not say. */
      readonly version: string | null;
      readonly bytes: number | null;
      readonly file: string | null;
      readonly isCached: boolean;
    }
  | { readonly kind: "fetched"; readonly name: string }
  | { readonly kind: "bytes"; readonly done: number; readonly total: number }
  | { readonly kind: "build"; readonly name: string }
  /** All files are there. */
  | { readonly kind: "install"; readonly names: readonly string[] }
  /** A line of uv's plan. */
  | { readonly kind: "planned"; readonly name: string; readonly version: string };

const UNITS: Readonly<Record<string, number>> = {
  bytes: 1,
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};
const SIZE = String.raw`\((\d+(?:\.\d+)?) ?(bytes|B|[kMG]B|[KMG]iB)\)`;
const PIP_FILE = new RegExp(
  String.raw`^\s*(Downloading|Using cached|Processing) (?:.*\/)?([^\s/]+?\.(?:whl|tar\.gz|zip))(\.metadata)?(?: ${SIZE})?\s*$`,
);
const UV_FILE = new RegExp(String.raw`^\s*Downloading ([A-Za-z0-9._-]+) ${SIZE}\s*$`);

/** Null for lines that say nothing about progress. */
export function parseInstallLine(line: string): InstallEvent | null {
  const [, done, total] = /^Progress (\d+) of (\d+)/.exec(line) ?? [];
  if (done !== undefined) return { kind: "bytes", done: Number(done), total: Number(total) };
  const collected = /^\s*Collecting ([A-Za-z0-9._-]+)/.exec(line)?.[1];
  if (collected !== undefined) return { kind: "resolve", name: collected, version: null };
  const installed = /^\s*Installing collected packages: (.+)$/.exec(line)?.[1];
  if (installed !== undefined) return { kind: "install", names: installed.split(",").map((name) => name.trim()) };
  const [, planned, version = ""] = /^ \+ ([A-Za-z0-9._-]+)==(\S+)$/.exec(line) ?? [];
  if (planned !== undefined) return { kind: "planned", name: planned, version };
  const built = /^\s*(?:Building wheels? for(?: collected packages:)?|Building) ([A-Za-z0-9._-]+)/.exec(line)?.[1];
  if (built !== undefined) return { kind: "build", name: built };
  const uvDone = /^\s*Downloaded ([A-Za-z0-9._-]+)\s*$/.exec(line)?.[1];
  if (uvDone !== undefined) return { kind: "fetched", name: uvDone };
  if (/^\s*Prepared \d+ packages?/.test(line)) return { kind: "install", names: [] };
  return pipFile(line) ?? uvFile(line);
}

function pipFile(line: string): InstallEvent | null {
  const [, verb, encoded, metadata, amount, unit] = PIP_FILE.exec(line) ?? [];
  if (encoded === undefined) return null;
  const file = decode(encoded);
  const [name = file, version = null] = file.split("-");
  if (metadata !== undefined) return { kind: "resolve", name, version };
  return { kind: "fetch", name, version, bytes: bytesOf(amount, unit), file, isCached: verb !== "Downloading" };
}

function uvFile(line: string): InstallEvent | null {
  const [, name, amount, unit] = UV_FILE.exec(line) ?? [];
  if (name === undefined) return null;
  return { kind: "fetch", name, version: null, bytes: bytesOf(amount, unit), file: null, isCached: false };
}

function bytesOf(amount: string | undefined, unit: string | undefined): number | null {
  return amount === undefined || unit === undefined ? null : Math.round(Number(amount) * (UNITS[unit] ?? 1));
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Packages that exist only for NVIDIA's devices and weigh gigabytes; `nvidia-ml-py` and the like are small and plain. */
export function isCudaPackage(name: string): boolean {
  return /^(?:nvidia[-_.](?:cublas|cuda|cudnn|cufft|cufile|curand|cusolver|cusparse|nccl|nvjitlink|nvshmem|nvtx)|cuda[-_.](?:toolkit|bindings|pathfinder)$)/i.test(
    name,
  );
}

/** Whether this line shows that a build of torch with CUDA is on its way: a plain version, too large for a CPU's. */
export function announcesCuda(event: InstallEvent): boolean {
  if (event.kind === "resolve") return isCudaPackage(event.name);
  if (event.kind !== "fetch") return false;
  const isTorch = event.name === "torch" && event.version !== null && !event.version.includes("+");
  return isCudaPackage(event.name) || (isTorch && (event.bytes ?? 0) > LARGEST_CPU_TORCH_BYTES);
}

/** CPU wheels of torch 2.2 to 2.13 are 140 to 200 MB, those with CUDA 500 to 900 MB (their file names do not differ). */
const LARGEST_CPU_TORCH_BYTES = 300e6;
