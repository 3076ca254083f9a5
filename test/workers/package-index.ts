// Wheels made on the spot and a package index on loopback, with faults on demand: what environments are tested against.
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import { join } from "node:path";
import { crc32 } from "node:zlib";

export interface WheelText {
  readonly name: string;
  readonly version: string;
  /** `Requires-Dist` lines. */
  readonly requires?: readonly string[];
  /** Text of the module, which has the package's name with underscores. */
  readonly module?: string;
  /** Name of a console script that calls the module's `main`. */
  readonly script?: string;
  /** Bytes of ballast, for a file that takes a while. */
  readonly ballastBytes?: number;
}

/** Writes a pure Python wheel into a folder. */
export function makeWheel(folder: string, wheel: WheelText): string {
  const module = wheel.name.replaceAll("-", "_");
  const info = `${module}-${wheel.version}.dist-info`;
  const requires = (wheel.requires ?? []).map((line) => `Requires-Dist: ${line}\n`).join("");
  const files: Record<string, string> = {
    [`${module}/__init__.py`]: wheel.module ?? `version = "${wheel.version}"\ndef main():\n    print(version)\n`,
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${wheel.name}\nVersion: ${wheel.version}\n${requires}`,
    [`${info}/WHEEL`]: "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    ...(wheel.script ? { [`${info}/entry_points.txt`]: `[console_scripts]\n${wheel.script} = ${module}:main\n` } : {}),
    ...(wheel.ballastBytes ? { [`${module}/ballast.txt`]: "x".repeat(wheel.ballastBytes) } : {}),
  };
  files[`${info}/RECORD`] = [...Object.keys(files), `${info}/RECORD`].map((path) => `${path},,\n`).join("");
  mkdirSync(folder, { recursive: true });
  const file = `${module}-${wheel.version}-py3-none-any.whl`;
  writeFileSync(join(folder, file), zip(files));
  return file;
}

/** What every environment needs, as a wheel of the tested version. */
export function makeCodecWheel(folder: string): void {
  makeWheel(folder, { name: "msgpack", version: "1.2.4" });
}

export interface PackageIndex extends AsyncDisposable {
  readonly url: string;
  /** Paths that were asked for, in order. */
  readonly requests: string[];
  /** Resolves when a path containing this text is asked for. */
  asked(text: string): Promise<void>;
  /** Answers such paths in this way from now on; `serve` ends it, and answers those that were held. */
  fault(text: string, kind: "hold" | "truncate-once" | "error" | "serve"): void;
}

/** Serves the wheels of a folder as a simple index (PEP 503). */
export async function servePackages(folder: string): Promise<PackageIndex> {
  const requests: string[] = [];
  const faults = new Map<string, "hold" | "truncate-once" | "error">();
  const held: { path: string; answer: () => void }[] = [];
  const waiting: { text: string; resolve: () => void }[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    requests.push(path);
    for (const one of waiting) if (path.includes(one.text)) one.resolve();
    const [text, kind] = [...faults].find(([part]) => path.includes(part)) ?? [];
    if (kind === "hold") return void held.push({ path, answer: () => answer(folder, path, response) });
    if (kind === "error") return void response.writeHead(503).end("later");
    if (kind === "truncate-once" && text !== undefined) {
      faults.delete(text);
      const whole = readFileSync(join(folder, path.slice("/files/".length)));
      response.writeHead(200, { "content-length": whole.length });
      response.write(whole.subarray(0, whole.length / 2), () => response.destroy());
      return;
    }
    answer(folder, path, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}/simple`,
    requests,
    asked: (text) =>
      requests.some((path) => path.includes(text))
        ? Promise.resolve()
        : new Promise((resolve) => void waiting.push({ text, resolve })),
    fault(text, kind) {
      if (kind !== "serve") return void faults.set(text, kind);
      faults.delete(text);
      for (const one of held.splice(0)) one.answer();
    },
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

function answer(folder: string, path: string, response: ServerResponse): void {
  const wheels = readdirSync(folder).filter((file) => file.endsWith(".whl"));
  const [, kind, name = ""] = path.split("/");
  if (kind === "files" && wheels.includes(decodeURIComponent(name))) {
    const bytes = readFileSync(join(folder, decodeURIComponent(name)));
    response.writeHead(200, { "content-length": bytes.length, "content-type": "application/octet-stream" }).end(bytes);
    return;
  }
  const own = wheels.filter((file) => file.startsWith(`${name.replaceAll("-", "_")}-`));
  if (kind !== "simple" || own.length === 0) return void response.writeHead(404).end();
  const links = own.map((file) => `<a href="/files/${encodeURIComponent(file)}">${file}</a>`).join("\n");
  response.writeHead(200, { "content-type": "text/html" }).end(`<!DOCTYPE html><html><body>${links}</body></html>`);
}

/** An archive without compression. */
function zip(files: Readonly<Record<string, string>>): Buffer {
  const bodies: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [path, text] of Object.entries(files)) {
    const [name, data] = [Buffer.from(path), Buffer.from(text)];
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x21, 8); // 1980-01-01
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04"), common, name, data]);
    const place = Buffer.alloc(14);
    place.writeUInt32LE((0o100644 << 16) >>> 0, 6);
    place.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from("PK\x01\x02\x14\x03"), common, place, name]));
    bodies.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...bodies, central, end]);
}
