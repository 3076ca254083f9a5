// Where packages come from: the user's own pip and uv settings, read without running either, written for both.
// Knows no requirement; what changes the result of an installation is part of an environment's key.
import { readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { isMac } from "./platform.ts";

type Variables = Readonly<Record<string, string>>;

/** One pip option, its value, and what set it (a variable or a file), to be named in errors. */
interface PipOption {
  readonly value: string;
  readonly from: string;
}

export interface PackageSources {
  /** pip's options by long name without dashes, e.g. `index-url`; only those of RESULT and CONNECTION. */
  readonly pip: ReadonlyMap<string, PipOption>;
  /** The user's UV_* variables that are passed on. */
  readonly uv: Variables;
  /** A uv.toml of the user or the system; the app folder's own is not read. */
  readonly uvConfig: { readonly path: string; readonly text: string } | null;
  /** Contents of the constraint files that the user's settings name, in order. */
  readonly constraintTexts: readonly string[];
}

/** Options that can change which files are installed. */
const RESULT = [
  "index-url",
  "extra-index-url",
  "find-links",
  "no-index",
  "pre",
  "prefer-binary",
  "only-binary",
  "no-binary",
  "constraint",
  "uploaded-prior-to",
] as const;
/** Options about reaching them. All others (target, user, prefix, …) would send packages elsewhere and are dropped. */
const CONNECTION = [
  "cert",
  "client-cert",
  "trusted-host",
  "proxy",
  "timeout",
  "retries",
  "cache-dir",
  "no-cache-dir",
  "keyring-provider",
  "use-feature",
  "use-deprecated",
] as const;
const CARRIED = new Set<string>([...RESULT, ...CONNECTION]);
/** uv's variables that would point it at another project, interpreter or folder. */
const UV_DROPPED = /^UV_(PROJECT|PYTHON|SYSTEM_PYTHON|WORKING_DIR|CONFIG_FILE|NO_CONFIG|ENV_FILE|TARGET|PREFIX|TOOL_)/;

/**
 * Reads PIP_* and UV_* variables and the configuration files that pip and uv would read.
 * `prefix` is the interpreter's installation folder, whose pip.conf is pip's "site" file.
 */
export async function readPackageSources(variables: Variables, prefix: string): Promise<PackageSources> {
  const pip = new Map<string, PipOption>();
  const paths = pipConfigPaths(variables, prefix);
  const texts = await Promise.all(paths.map(readIfThere));
  for (const [index, text] of texts.entries()) {
    for (const [name, value] of parsePipConfig(text ?? "")) pip.set(name, { value, from: paths[index] ?? "" });
  }
  for (const [variable, value] of Object.entries(variables)) {
    const name = optionName(variable.startsWith("PIP_") ? variable.slice("PIP_".length) : "");
    if (CARRIED.has(name) && value !== "") pip.set(name, { value, from: variable });
  }
  const constraintFiles = words(pip.get("constraint")?.value);
  return {
    pip,
    uv: Object.fromEntries(
      Object.entries(variables).filter(([name]) => name.startsWith("UV_") && !UV_DROPPED.test(name)),
    ),
    uvConfig: await readUvConfig(variables),
    constraintTexts: await Promise.all(constraintFiles.map(async (path) => (await readIfThere(path)) ?? "")),
  };
}

/** What of the settings can change the outcome, in one stable text. */
export function sourcesKey(sources: PackageSources): string {
  const options = RESULT.map((name) => [name, sources.pip.get(name)?.value ?? null]);
  const uv = Object.entries(sources.uv)
    .filter(
      ([name]) => !/^UV_(CACHE_DIR|NO_CACHE|NO_PROGRESS|HTTP_|CONCURRENT_|LINK_MODE|NATIVE_TLS|COMPILE)/.test(name),
    )
    .sort();
  return JSON.stringify([options, uv, sources.uvConfig?.text ?? null, sources.constraintTexts]);
}

/** The same settings as variables for a pip that reads no configuration file. */
export function pipVariables(sources: PackageSources, defaults: { retries: number }): Record<string, string> {
  const options = [...sources.pip].map(([name, { value }]) => [variableName(name), value]);
  return {
    PIP_RETRIES: String(defaults.retries),
    ...Object.fromEntries(options),
    PIP_CONFIG_FILE: "/dev/null",
    PIP_DISABLE_PIP_VERSION_CHECK: "1",
    PIP_NO_INPUT: "1",
    PIP_ROOT_USER_ACTION: "ignore",
  };
}

/** The same settings for uv: a pip setting counts wherever the user gave uv none of its own. */
export function uvVariables(sources: PackageSources, defaults: { retries: number }, present: Variables): Variables {
  const { pip, uv } = sources;
  const made: Record<string, string> = { UV_HTTP_RETRIES: String(defaults.retries) };
  const translate = (option: string, variable: string, unless: readonly string[] = []): void => {
    const value = pip.get(option)?.value;
    if (value !== undefined && ![variable, ...unless].some((name) => present[name])) made[variable] = value;
  };
  translate("index-url", "UV_DEFAULT_INDEX", ["UV_INDEX_URL"]);
  translate("timeout", "UV_HTTP_TIMEOUT");
  translate("retries", "UV_HTTP_RETRIES");
  translate("trusted-host", "UV_INSECURE_HOST");
  translate("cert", "SSL_CERT_FILE");
  translate("client-cert", "SSL_CLIENT_CERT");
  translate("proxy", "ALL_PROXY", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "all_proxy"]);
  if (isOn(pip.get("pre")?.value) && !uv["UV_PRERELEASE"]) made["UV_PRERELEASE"] = "allow";
  if (pip.get("keyring-provider")?.value === "subprocess") made["UV_KEYRING_PROVIDER"] = "subprocess";
  const extra = words(pip.get("extra-index-url")?.value);
  if (extra.length > 0 && !uv["UV_INDEX"] && !uv["UV_EXTRA_INDEX_URL"]) {
    made["UV_INDEX"] = extra.join(" ");
    // pip takes the best version of all its indexes; uv would stop at the first index that knows the name.
    made["UV_INDEX_STRATEGY"] = "unsafe-best-match";
  }
  return { ...made, ...uv };
}

/** Options of `uv pip` for what has no variable of its own. */
export function uvArguments(sources: PackageSources): readonly string[] {
  const { pip, uv, uvConfig } = sources;
  const links = uv["UV_FIND_LINKS"] ? [] : words(pip.get("find-links")?.value);
  return [
    ...(uvConfig === null ? ["--no-config"] : ["--config-file", uvConfig.path]),
    ...links.flatMap((link) => ["--find-links", link]),
    ...(noIndex(sources) ? ["--no-index"] : []),
    ...(["only-binary", "no-binary"] as const).flatMap((name) =>
      words(pip.get(name)?.value?.replaceAll(",", " ")).flatMap((value) => [`--${name}`, value]),
    ),
    ...words(pip.get("constraint")?.value).flatMap((path) => ["--constraint", path]),
  ];
}

/** Whether the user allows no index at all, only find-links. */
export function noIndex(sources: PackageSources): boolean {
  return isOn(sources.pip.get("no-index")?.value) || isOn(sources.uv["UV_NO_INDEX"]);
}

/** Where packages are looked for and what said so, for an error; passwords in URLs are blotted out. */
export function describeSources(sources: PackageSources): string {
  const named = (["index-url", "extra-index-url", "find-links", "proxy"] as const).flatMap((name) => {
    const option = sources.pip.get(name);
    return option === undefined ? [] : [`${name} ${words(option.value).map(redact).join(" ")} (${option.from})`];
  });
  const uv = ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"].flatMap((name) =>
    sources.uv[name] ? [`${name} ${words(sources.uv[name]).map(redact).join(" ")}`] : [],
  );
  if (sources.uvConfig !== null) uv.push(sources.uvConfig.path);
  const all = [...named, ...uv];
  return all.length === 0 ? "https://pypi.org/simple (no setting names another)" : all.join("; ");
}

/** A URL, or a text with URLs in it, without user names and passwords. */
export function redact(text: string): string {
  return text.replace(/(\w+:\/\/)[^\s/@]+@/g, "$1…@");
}

function pipConfigPaths(variables: Variables, prefix: string): readonly string[] {
  if (variables["PIP_CONFIG_FILE"] === "/dev/null") return [];
  const home = variables["HOME"] ?? "";
  const xdgHome = variables["XDG_CONFIG_HOME"] || join(home, ".config");
  const xdgSystem = (variables["XDG_CONFIG_DIRS"] || "/etc/xdg").split(delimiter);
  return [
    ...(isMac() ? ["/Library/Application Support"] : xdgSystem).map((dir) => join(dir, "pip", "pip.conf")),
    "/etc/pip.conf",
    join(home, ".pip", "pip.conf"),
    join(xdgHome, "pip", "pip.conf"),
    ...(isMac() ? [join(home, "Library", "Application Support", "pip", "pip.conf")] : []),
    join(prefix, "pip.conf"),
    ...(variables["VIRTUAL_ENV"] ? [join(variables["VIRTUAL_ENV"], "pip.conf")] : []),
    ...(variables["PIP_CONFIG_FILE"] ? [variables["PIP_CONFIG_FILE"]] : []),
  ];
}

/** Sections `global` and `install` of an INI file; the latter wins, and continuation lines are indented. */
function parsePipConfig(text: string): ReadonlyMap<string, string> {
  const sections = { global: new Map<string, string>(), install: new Map<string, string>() };
  let section: Map<string, string> | null = null;
  let current: string | null = null;
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*([#;]|$)/.test(line)) continue;
    const header = /^\[([^\]]+)\]/.exec(line)?.[1];
    const [, name, value = ""] = /^([^\s=:][^=:]*?)\s*[=:]\s*(.*)$/.exec(line) ?? [];
    if (header !== undefined) {
      section = header === "global" || header === "install" ? sections[header] : null;
      current = null;
    } else if (/^\s/.test(line)) {
      if (section !== null && current !== null) section.set(current, `${section.get(current)} ${line.trim()}`.trim());
    } else if (name !== undefined && section !== null) {
      current = optionName(name);
      section.set(current, value.trim());
    }
  }
  return new Map(
    [...sections.global, ...sections.install].filter(([name, value]) => CARRIED.has(name) && value !== ""),
  );
}

async function readUvConfig(variables: Variables): Promise<PackageSources["uvConfig"]> {
  if (isOn(variables["UV_NO_CONFIG"])) return null;
  const home = variables["XDG_CONFIG_HOME"] || join(variables["HOME"] ?? "", ".config");
  const paths = variables["UV_CONFIG_FILE"]
    ? [variables["UV_CONFIG_FILE"]]
    : [join(home, "uv", "uv.toml"), "/etc/uv/uv.toml"];
  for (const path of paths) {
    const text = await readIfThere(path);
    if (text !== null) return { path, text };
  }
  return null;
}

async function readIfThere(path: string): Promise<string | null> {
  return await readFile(path, "utf8").catch(() => null);
}

const optionName = (text: string): string =>
  text
    .toLowerCase()
    .replaceAll("_", "-")
    .replace(/^default-timeout$/, "timeout");
const variableName = (option: string): string => `PIP_${option.toUpperCase().replaceAll("-", "_")}`;
const words = (text: string | undefined): readonly string[] => (text ?? "").split(/\s+/).filter(Boolean);
const isOn = (value: string | undefined): boolean => /^(1|y|yes|t|true|on)$/i.test(value ?? "");
