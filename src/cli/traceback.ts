// Python's traceback, folded to the frames that say where it went wrong. Knows only text.
import { limits } from "../config.ts";

const FRAME = /^\s*File ".*", line \d+/;

/**
 * The last frames of the last traceback, without its heading and its closing message (that is printed above it).
 * @param message what closes it: `ValueError: …`
 */
export function foldedTraceback(traceback: string, message: string): { frames: readonly string[]; hidden: number } {
  const lines = traceback.replace(/\s+$/, "").split("\n");
  const frames: string[][] = [];
  for (const line of lines) {
    if (FRAME.test(line)) frames.push([line]);
    else if (/^\s/.test(line)) frames.at(-1)?.push(line);
  }
  const kept = frames.slice(-limits.foldedFrames);
  const text = new Set(message.split("\n").map((line) => line.trim()));
  return { frames: kept.flat().filter((line) => !text.has(line.trim())), hidden: frames.length - kept.length };
}
