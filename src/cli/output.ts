// What an endpoint returned, for a person: the files that were written, then whatever else there is.
import { relative } from "node:path";
import { toJson } from "../app/json.ts";
import type { OutputFolder } from "./output-folder.ts";
import { bytesText } from "./words.ts";

interface Shown {
  readonly files: Pick<OutputFolder, "pathOf">;
  readonly cwd: string;
}

/** One line a file; the rest as JSON, a lone text as it is. Empty if there is nothing. */
export function outputText(output: unknown, shown: Shown): string {
  const lines: string[] = [];
  const rest = withoutFiles(output, shown, lines);
  if (rest === undefined || rest === null || isEmpty(rest)) return lines.join("\n");
  return [...lines, restText(rest)].join("\n");
}

function restText(rest: unknown): string {
  if (typeof rest === "string") return rest;
  return toJson(rest, 2);
}

/** The output with every file taken out and told as a line. */
function withoutFiles(value: unknown, shown: Shown, lines: string[]): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item: unknown) => withoutFiles(item, shown, lines));
    const kept = items.filter((item) => item !== undefined);
    return kept.length === 0 && value.length > 0 ? undefined : kept;
  }
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  // A plain object's entries are unknown values under string keys.
  const fields = value as Readonly<Record<string, unknown>>;
  const path = typeof fields["url"] === "string" ? shown.files.pathOf(fields["url"]) : undefined;
  if (path !== undefined) {
    lines.push(fileLine(path, fields, shown.cwd));
    return undefined;
  }
  const kept = Object.entries(fields).flatMap(([key, field]) => {
    const rest = withoutFiles(field, shown, lines);
    return rest === undefined ? [] : [[key, rest] as const];
  });
  return kept.length === 0 ? undefined : Object.fromEntries(kept);
}

/** `outputs/text-to-image-3fa9c1.png   128x128 png, 14 KB`. */
function fileLine(path: string, fields: Readonly<Record<string, unknown>>, cwd: string): string {
  const { width, height, content_type: type, file_size: size } = fields;
  const short = relative(cwd, path);
  const kind = typeof type === "string" ? type.replace(/^.*\//, "").replace(/;.*$/, "") : "";
  const pixels = typeof width === "number" && typeof height === "number" ? `${width}x${height}` : "";
  const about = [[pixels, kind].filter(Boolean).join(" "), typeof size === "number" ? bytesText(size) : ""].filter(
    Boolean,
  );
  return [short.startsWith("..") ? path : short, about.join(", ")].filter(Boolean).join("   ");
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
