// Damaged frames against the host: a PROTOCOL_ERROR for that channel or an ordinary outcome, and nothing else ever.
import { readFileSync } from "node:fs";
import { Duplex } from "node:stream";
import { expect, onTestFailed, test } from "vitest";
import { Channel } from "../../src/bridge/channel.ts";
import { FrameType, HEADER_BYTES, writeHeader } from "../../src/bridge/protocol.ts";
import { PythonSession } from "../../src/bridge/python.ts";
import { limits } from "../../src/config.ts";
import { FlambeauError } from "../../src/errors.ts";
import { damage, seeded } from "./damage.ts";

interface Row {
  readonly name: string;
  readonly direction: string;
  readonly frame?: { readonly type: FrameType; readonly id: number };
  readonly hex: string;
}

const FRAMES = 20_000;
/** Small, so that what is held at once shows. */
const SMALL = { ...limits, maxFrameBytes: 1024 * 1024, maxAttachmentBytes: 1024 * 1024, releaseBatchMs: 0 };
const HELD_BYTES = 512 * 1024 * 1024;

/** What is open when the frames come, by the ids that the channel gives; the calls have brought the functions 2 and 4. */
const OPEN: { readonly [type: number]: number } = {
  [FrameType.result]: 1,
  [FrameType.failure]: 3,
  [FrameType.pong]: 5,
  [FrameType.stack]: 5,
};

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const table = readFileSync(new URL("./vectors.json", import.meta.url), "utf8");
const { rows } = JSON.parse(table) as { rows: readonly Row[] };
const greeting = bytesOf(rows.find(({ name }) => name === "frame: HELLO of the worker")?.hex ?? "");
const ofWorker = rows.filter(({ direction }) => direction !== "host");
const frames = ofWorker.filter(({ frame }) => frame !== undefined).map(sample);
const values = ofWorker.filter(({ frame }) => frame === undefined).map(sample);

function framed(type: FrameType, id: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  writeHeader(bytes, 0, { length: body.length, type, lane: 0, id });
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

/** A frame about something that is open, or a value as the result of a call; what it announces follows it. */
function sample({ frame, hex }: Row): Uint8Array {
  const bytes = bytesOf(hex);
  const body = frame === undefined ? bytes : bytes.subarray(HEADER_BYTES);
  const type = frame?.type ?? FrameType.result;
  const whole = framed(type, OPEN[type] ?? frame?.id ?? 0, body);
  // ATTACH: extension 13 with two numbers, the second of two bytes.
  const announced = /0d92(..)cd(....)/.exec(hex);
  if (announced === null) return whole;
  const [id = 0, length = 0] = announced.slice(1).map((digits) => Number.parseInt(digits, 16));
  return Buffer.concat([whole, framed(FrameType.chunk, id, new Uint8Array(length).fill(7))]);
}

/** How everything that was open ended, once the stream has brought these bytes and closed. */
async function outcomes(bytes: Uint8Array): Promise<string[]> {
  // Half of a pair in memory: takes what the host says, and has this to say itself.
  const stream = new Duplex({ read: () => {}, write: (_bytes, _encoding, done) => done() });
  const session = new PythonSession();
  const ends: string[] = [];
  const channel: Channel = new Channel(stream, {
    limits: SMALL,
    owner: session,
    wrap: (live) => session.stubs.ref(live),
    onEnd: (error) => {
      ends.push(`channel: ${codeOf(error)}`);
      channel.fail(error ?? new FlambeauError("WORKER_EXITED", "the stream ended"));
    },
  });
  session.connect(channel);
  const { one, two } = session.py.import("a");
  const open: PromiseLike<unknown>[] = [channel.hello({ paths: [] }), one(() => 1), two(() => 1)];
  if (bytes[4] === FrameType.pong) open.push(channel.ping());
  if (bytes[4] === FrameType.stack) open.push(channel.stack());
  stream.push(Buffer.concat([greeting, bytes]));
  stream.push(null);
  for (const end of await Promise.allSettled(open))
    ends.push(end.status === "fulfilled" ? "answered" : codeOf(end.reason));
  return ends;
}

function codeOf(error: unknown): string {
  if (error === undefined) return "ended";
  return error instanceof FlambeauError ? error.code : `not ours: ${String(error)}`;
}

/** INTERNAL would be a defect of ours, and so is whatever is no FlambeauError. */
const ALLOWED = /^(answered|channel: (ended|PROTOCOL_ERROR)|PROTOCOL_ERROR|WORKER_EXITED|PYTHON_RAISED|OUT_OF_MEMORY)$/;

test("the frames that are damaged below are ordinary ones while they are whole", async () => {
  for (const row of ofWorker.filter(({ name }) => !/HELLO|CHUNK/.test(name)))
    expect(await outcomes(sample(row)), row.name).toContain("channel: ended");
});

test("20,000 damaged frames end as a PROTOCOL_ERROR of their channel or as an ordinary outcome", async () => {
  const seed = Date.now() % 2 ** 32;
  const random = seeded(seed);
  let round = 0;
  let bytes = greeting;
  onTestFailed(() => console.error(`seed ${seed}, frame ${round}: ${Buffer.from(bytes).toString("hex")}`));
  const unhandled: unknown[] = [];
  const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", onUnhandled);
  const counts = new Map<string, number>();
  const before = process.memoryUsage().arrayBuffers;
  for (; round < FRAMES; round++) {
    const kind = round % 2 === 0 ? frames : values;
    bytes = damage(kind[Math.floor(random() * kind.length)] ?? greeting, random, frames);
    for (const end of await outcomes(bytes)) {
      if (!ALLOWED.test(end)) expect.fail(`an outcome that must not be: ${end}`);
      counts.set(end, (counts.get(end) ?? 0) + 1);
    }
    if (unhandled.length > 0) expect.fail(`nobody handles ${String(unhandled[0])}`);
    if (round % 500 === 0) expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(HELD_BYTES);
  }
  process.off("unhandledRejection", onUnhandled);
  console.info(`seed ${seed}: ${JSON.stringify(Object.fromEntries(counts))}`);
  // The damage neither spares everything nor always breaks the first byte.
  for (const end of ["channel: ended", "channel: PROTOCOL_ERROR", "answered", "PYTHON_RAISED"])
    expect(counts.get(end), end).toBeGreaterThan(10);
}, 120_000);
