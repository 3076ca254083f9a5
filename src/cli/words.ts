// Numbers as a person reads them: bytes, seconds, names as flags. And text of others as a terminal may be sent it.
import { stripVTControlCharacters } from "node:util";

/** `14 KB`, `6.9 GB`: powers of 1000, two digits at least. */
export function bytesText(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${compact(value, unit === 0 ? 0 : 1)} ${units[unit] ?? "TB"}`;
}

/** `0.1 s`, `11.4 s`: what something took. */
export function secondsText(seconds: number): string {
  return seconds < 100 ? `${seconds.toFixed(1)} s` : leftText(seconds);
}

/** `1 s`, `1 min 20 s`, `2 h 5 min`: what is left, in whole seconds. */
export function leftText(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** One decimal below ten, none above. */
export function compact(value: number, decimals = 1): string {
  return value < 9.95 ? value.toFixed(decimals) : value.toFixed(0);
}

/** `numInferenceSteps` and `num_inference_steps` are both `num-inference-steps`. */
export function kebab(name: string): string {
  return name
    .replace(/([\p{Ll}\p{N}])(\p{Lu})/gu, "$1-$2")
    .replace(/(\p{Lu})(\p{Lu}\p{Ll})/gu, "$1-$2")
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-+|-+$/g, "")
    .toLowerCase();
}

/** `1 endpoint`, `3 endpoints`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** JSON short enough for a line. */
export function compactJson(value: unknown): string {
  const text = JSON.stringify(value) ?? "undefined";
  return text.length <= 100 ? text : `${text.slice(0, 99)}…`;
}

/** Without what would steer a terminal or turn the direction of writing: escape sequences and control characters but line breaks and tabs. */
export function printable(text: string): string {
  return stripVTControlCharacters(text).replace(/(?![\n\t])[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, "");
}
