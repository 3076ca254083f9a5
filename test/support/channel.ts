// A channel whose worker a test plays.
import { afterEach } from "vitest";
import { Channel } from "../../src/bridge/channel.ts";
import type { ChannelLimits, ChannelOptions } from "../../src/bridge/channel-options.ts";
import { FrameType } from "../../src/bridge/protocol.ts";
import { PythonSession } from "../../src/bridge/python.ts";
import type { Python } from "../../src/bridge/stub-types.ts";
import { limits } from "../../src/config.ts";
import { Peer } from "./peer.ts";

export { turn } from "./signal.ts";

const open: Channel[] = [];

afterEach(() => {
  for (const channel of open.splice(0)) channel.fail(new Error("the test is over"));
});

export interface Setting {
  readonly peer: Peer;
  readonly channel: Channel;
  readonly session: PythonSession;
  readonly py: Python;
}

export function ungreeted(given: Partial<ChannelLimits> = {}, options: Partial<ChannelOptions> = {}): Setting {
  const peer = new Peer();
  const session = new PythonSession();
  const channel = new Channel(peer.stream, {
    limits: { ...limits, releaseBatchMs: 0, ...given },
    owner: session,
    wrap: (live) => session.stubs.ref(live),
    ...options,
  });
  session.connect(channel);
  open.push(channel);
  return { peer, channel, session, py: session.py };
}

export async function connected(
  given: Partial<ChannelLimits> = {},
  options: Partial<ChannelOptions> = {},
): Promise<Setting> {
  const setting = ungreeted(given, options);
  const hello = setting.channel.hello({ paths: [] });
  await setting.peer.greet();
  await hello;
  return setting;
}

/** The body of a FAILURE frame. */
export const failure = (more: object = {}): object => ({
  type: "ValueError",
  mro: ["ValueError", "Exception", "BaseException"],
  message: "no such file",
  traceback: 'Traceback (most recent call last):\n  File "a.py", line 3, in load\nValueError: no such file',
  ...more,
});

/** Skips frames of other types, such as releases. */
export async function nextOf(peer: Peer, type: FrameType): Promise<{ readonly id: number; readonly body: unknown }> {
  for (;;) {
    const came = await peer.next();
    if (came.type === type) return came;
  }
}

export const nextCall = (peer: Peer): Promise<{ readonly id: number; readonly body: unknown }> =>
  nextOf(peer, FrameType.call);
