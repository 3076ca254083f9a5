// The same few calls by different ways to Python: ours, the floor that nothing with our threads can go below, and pythonia.
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import type { Duplex } from "node:stream";
import { promisify } from "node:util";
import { Packr } from "msgpackr";
import type { PyExpr, PyRef } from "../../src/bridge/stub-types.ts";
import type { Worker } from "../../src/workers/worker.ts";
import { compiled, inRoot } from "./options.ts";

/** Results are given back so that a caller can see that they are right. */
export interface Peer {
  readonly name: string;
  attribute(): Promise<unknown>;
  call(): Promise<unknown>;
  kwargs(): Promise<unknown>;
  /** A call whose result stays in Python. */
  object(): Promise<unknown>;
  close(): Promise<void>;
}

export interface OurPeer extends Peer {
  readonly worker: Worker;
  readonly thing: PyRef;
  up(bytes: Uint8Array): Promise<unknown>;
  /** The memory is given back. */
  down(size: number): Promise<void>;
  downKept(size: number): Promise<unknown>;
}

export const FOLDER = inRoot("test/bench");

export async function startWorker(python: string): Promise<Worker> {
  const module: typeof import("../../src/workers/worker.ts") = await import(compiled("workers/worker.js"));
  const { inheritedEnvironment }: typeof import("../../src/workers/inherited.ts") = await import(
    compiled("workers/inherited.js")
  );
  const { readSettings }: typeof import("../../src/config.ts") = await import(compiled("config.js"));
  return module.Worker.start({
    python,
    environment: inheritedEnvironment(readSettings().environment),
    paths: [FOLDER],
  });
}

export async function ourPeer(python: string): Promise<OurPeer> {
  const worker = await startWorker(python);
  const { py } = worker.session;
  const target: PyExpr = py.import("bench_target");
  const thing: PyRef = await target.Thing();
  return {
    name: "flambeau",
    worker,
    thing,
    attribute: async () => await thing.value,
    call: async () => await thing.add(1, 2),
    kwargs: async () => await thing.add(1, { b: 2 }),
    object: async () => await thing.make(),
    up: async (bytes) => await thing.sink(bytes),
    down: async (size) => py.recycle((await thing.source(size)) as unknown as Uint8Array),
    downKept: async (size) => await thing.source(size),
    close: () => worker.stop(),
  };
}

/** Length and msgpack body, nothing else: no proxies, no errors, no order, no cancel. */
export async function floorPeer(python: string): Promise<Peer> {
  const { wire, close } = startFloor(python, "calls");
  const packr = new Packr({ useRecords: false });
  const open = new Map<number, (value: unknown) => void>();
  let nextId = 1;
  let pending: Buffer = Buffer.alloc(0);
  wire.on("data", (data: Buffer) => {
    pending = pending.length === 0 ? data : Buffer.concat([pending, data]);
    let at = 0;
    while (pending.length - at >= 4 && pending.length - at - 4 >= pending.readUInt32LE(at)) {
      const end = at + 4 + pending.readUInt32LE(at);
      const [id, value]: [number, unknown] = packr.unpack(pending.subarray(at + 4, end));
      open.get(id)?.(value);
      open.delete(id);
      at = end;
    }
    pending = pending.subarray(at);
  });
  let isCorked = false;
  const send = (name: string, args: unknown[] | null, kwargs: object | null): Promise<unknown> =>
    new Promise((resolve) => {
      const id = nextId++;
      open.set(id, resolve);
      const body = packr.pack([id, name, args, kwargs]);
      const frame = Buffer.allocUnsafe(4 + body.length);
      frame.writeUInt32LE(body.length, 0);
      frame.set(body, 4);
      // Calls of one turn leave together, as ours do.
      if (!isCorked) {
        isCorked = true;
        wire.cork();
        process.nextTick(() => {
          isCorked = false;
          wire.uncork();
        });
      }
      wire.write(frame);
    });
  return {
    name: "floor",
    attribute: () => send("value", null, null),
    call: () => send("add", [1, 2], null),
    kwargs: () => send("add", [1], { b: 2 }),
    object: () => send("make", [], null),
    close,
  };
}

export interface RawPeer {
  up(bytes: Uint8Array): Promise<void>;
  down(size: number): Promise<void>;
  /** The same into memory that is new each time. */
  upKept(bytes: Uint8Array): Promise<void>;
  downKept(size: number): Promise<void>;
  close(): Promise<void>;
}

/** Bytes over the same kind of socket, with nobody keeping them on either side unless asked to. */
export async function rawPeer(python: string): Promise<RawPeer> {
  const { wire, close } = startFloor(python, "bytes");
  let left = 0;
  let done = (): void => {};
  let kept: Uint8Array | undefined;
  wire.on("data", (data: Buffer) => {
    kept?.set(data, kept.length - left);
    left -= data.length;
    if (left === 0) done();
  });
  const ordered = (direction: "u" | "U" | "d", size: number, expected: number, bytes?: Uint8Array): Promise<void> =>
    new Promise((resolve) => {
      left = expected;
      done = resolve;
      const order = Buffer.alloc(9);
      order.write(direction, 0, "latin1");
      order.writeBigUInt64LE(BigInt(size), 1);
      wire.write(order);
      if (bytes !== undefined) wire.write(bytes);
    });
  return {
    up: (bytes) => ordered("u", bytes.length, 1, bytes),
    down: (size) => ordered("d", size, size),
    upKept: (bytes) => ordered("U", bytes.length, 1, bytes),
    downKept: async (size) => {
      kept = new Uint8Array(Buffer.allocUnsafeSlow(size).buffer);
      await ordered("d", size, size);
      kept = undefined;
    },
    close,
  };
}

/** npm's pythonia, installed beside this file when it is first asked for. Why that is not possible, where it is not. */
export async function installPythonia(): Promise<string | undefined> {
  const folder = inRoot("test/bench/pythonia");
  if (existsSync(`${folder}/node_modules/pythonia`)) return undefined;
  try {
    const args = ["install", "--prefix", folder, "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"];
    await promisify(execFile)("npm", args, { cwd: folder });
    return undefined;
  } catch (error) {
    return `npm install failed: ${error instanceof Error ? error.message.split("\n", 2).join(" ") : error}`;
  }
}

export async function pythoniaPeer(python: string): Promise<Peer | { readonly missing: string }> {
  const folder = inRoot("test/bench/pythonia");
  const missing = await installPythonia();
  if (missing !== undefined) return { missing };
  process.env["PYTHON_BIN"] = python;
  const { python: load }: Pythonia = createRequire(`${folder}/package.json`)("pythonia");
  const target = await load(`${FOLDER}/bench_target.py`);
  const thing = await target.Thing();
  return {
    name: "pythonia",
    attribute: async () => await thing.value,
    call: async () => await thing.add(1, 2),
    kwargs: async () => await thing.add$(1, { b: 2 }),
    object: async () => await thing.make(),
    close: async () => load.exit(),
  };
}

interface Pythonia {
  readonly python: ((file: string) => Promise<{ Thing(): Promise<PythoniaThing> }>) & { exit(): void };
}

interface PythoniaThing {
  readonly value: Promise<unknown>;
  add(a: number, b: number): Promise<unknown>;
  add$(a: number, kwargs: { b: number }): Promise<unknown>;
  make(): Promise<unknown>;
}

function startFloor(python: string, kind: "calls" | "bytes"): { wire: Duplex; close(): Promise<void> } {
  const child = spawn(python, ["floor_worker.py", kind], {
    cwd: FOLDER,
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  });
  const wire = child.stdio[3] as Duplex;
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    wire,
    close: () => {
      wire.end();
      return exited;
    },
  };
}
