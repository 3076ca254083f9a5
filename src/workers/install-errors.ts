// What an installer's output means, as one of our errors with the core lines only. Pure: text in, error out.
import { FlambeauError } from "../errors.ts";

export interface FailedInstall {
  readonly output: string;
  /** Where packages were looked for and what said so. */
  readonly sources: string;
  /** The folder that was being filled. */
  readonly folder: string;
}

const DISK = /No space left on device|Disk quota exceeded|\[Errno (?:28|122)\]|os error (?:28|122)\b|ENOSPC|EDQUOT/i;
const UNSOLVABLE = /ResolutionImpossible|No solution found when resolving/;
const NOT_FOUND = /Could not find a version that satisfies|No matching distribution found/;
/** A connection that broke half-way, or a server that stumbled: the same again may well succeed. */
const BROKEN_TRANSFER =
  /IncompleteRead|ReadTimeoutError|Read timed out|ConnectionResetError|Connection (?:aborted|broken: (?:Incomplete|Connection reset|InvalidChunk))|RemoteDisconnected|connection reset|operation timed out|unexpected (?:eof|end of file)|error decoding response body|HTTP (?:error|status)[^\n]* 5\d\d|located at .* is invalid|is not a zip file|BadZipFile|Failed to extract|5\d\d (?:Server Error|Internal|Bad Gateway|Service)/i;
const UNREACHABLE =
  /NewConnectionError|ConnectTimeoutError|Max retries exceeded|ProxyError|SSLError|NameResolutionError|Temporary failure in name resolution|Connection refused|Failed to establish a new connection|Failed to fetch|Failed to download|error sending request|dns error|tcp connect error|HTTP error \d{3}|40[137] (?:Client )?Error|invalid peer certificate|CERTIFICATE_VERIFY_FAILED/i;
const BUILD = /metadata-generation-failed|subprocess-exited-with-error|Failed building wheel|Failed to build/;
const HASHES = /DO NOT MATCH THE HASHES|Hash mismatch/i;
const MAX_LINES = 12;
const MAX_LINE = 300;

/** DISK_FULL, ENV_CONFLICT, INDEX_UNREACHABLE, or ENV_BROKEN for what is none of these. */
export function installError({ output, sources, folder }: FailedInstall): FlambeauError {
  if (DISK.test(output)) {
    return new FlambeauError(
      "DISK_FULL",
      `the disk or quota of ${folder} is full; free some space, remove unused environments with \`flambeau env prune\`, ` +
        "or move the cache with FLAMBEAU_CACHE_DIR",
    );
  }
  if (UNSOLVABLE.test(output)) return conflict(output);
  if (BROKEN_TRANSFER.test(output) || UNREACHABLE.test(output)) {
    return new FlambeauError(
      "INDEX_UNREACHABLE",
      `packages could not be fetched: ${evidenceOf(output)}. Looked at: ${sources}. Check the network, proxy variables and ` +
        "these settings, then try again",
    );
  }
  if (NOT_FOUND.test(output)) return conflict(output);
  const lead = HASHES.test(output)
    ? "a downloaded file does not have the hash that its index states"
    : BUILD.test(output)
      ? "a package had to be built from source and failed (a compiler or library is missing, or it does not support this Python)"
      : "the installer failed";
  return new FlambeauError("ENV_BROKEN", `${lead}:\n${core(output)}`);
}

/** Whether the same command may succeed in a moment: a transfer broke, not the way there. */
export function isWorthRepeating(output: string): boolean {
  return !DISK.test(output) && !UNSOLVABLE.test(output) && BROKEN_TRANSFER.test(output);
}

function conflict(output: string): FlambeauError {
  return new FlambeauError(
    "ENV_CONFLICT",
    `the requirements cannot be satisfied together:\n${core(output)}\nLoosen or remove one of them`,
  );
}

/** The lines that say why, without the installer's advice and decoration. */
function core(output: string): string {
  const lines = output.split("\n").map((line) => line.replace(/^[\s×╰╭│─▶├]+/u, (start) => " ".repeat(start.length)));
  const cause = section(lines, /The conflict is caused by:/) ?? section(lines, /No solution found when resolving/);
  const errors = lines.filter((line) => /^\s*(?:ERROR|error|Caused by|\s*cause)[: ]/.test(line));
  const chosen = cause ?? (errors.length > 0 ? errors : lines.filter((line) => line.trim() !== "").slice(-MAX_LINES));
  const shown = chosen.map((line) => `  ${shorten(line.trim().replace(/^(?:ERROR|cause): /i, ""))}`);
  return [...new Set(shown)].slice(0, MAX_LINES).join("\n");
}

/** Indented lines after the heading, up to the first that is blank. */
function section(lines: readonly string[], heading: RegExp): readonly string[] | null {
  const start = lines.findIndex((line) => heading.test(line));
  if (start < 0) return null;
  const rest = lines.slice(start + 1);
  const end = rest.findIndex((line) => !/^\s+\S/.test(line));
  return end === 0 ? null : rest.slice(0, end < 0 ? undefined : end);
}

/** The first telling line and uv's root cause; of pip's retry notices only the reason and what was asked for. */
function evidenceOf(output: string): string {
  const lines = output.split("\n").map((line) => line.trim());
  const telling = [UNREACHABLE, BROKEN_TRANSFER].map((pattern) => lines.find((line) => pattern.test(line)));
  const line = telling.find((found) => found !== undefined) ?? "";
  const retried = /after connection broken by ['"](\w+)/.exec(line)?.[1];
  if (retried !== undefined) {
    const reason =
      /\[(?:Errno|SSL)[^'")]*|Read timed out|Cannot connect to proxy/.exec(line)?.[0] ?? "connection broken";
    return shorten(`${retried}: ${reason}, asking for ${/['"]: (\/\S*)$/.exec(line)?.[1] ?? "a page"}`);
  }
  const strip = (text: string): string => text.replace(/^(?:WARNING|ERROR|error|cause|Caused by): /i, "");
  const root = lines.findLast((text) => /^(?:cause|Caused by): /i.test(text));
  return shorten([...new Set([strip(line), ...(root === undefined ? [] : [strip(root)])])].join("; "));
}

const shorten = (line: string): string => (line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line);
