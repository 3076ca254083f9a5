// Python versions (PEP 440): parse, order, and whether one satisfies a specifier.
// Knows no packages: text in, answers out.

/** One parsed version; `null` where a part is not given. */
export interface Version {
  readonly epoch: number;
  readonly release: readonly number[];
  readonly pre: readonly ["a" | "b" | "rc", number] | null;
  readonly post: number | null;
  readonly dev: number | null;
  /** The part after `+`, as in `2.13.0+cpu`. */
  readonly local: string | null;
}

export type Operator = "===" | "~=" | "==" | "!=" | "<=" | ">=" | "<" | ">";

/** One clause such as `>=2.2.0` or `==2.13.*`. */
export interface Specifier {
  readonly operator: Operator;
  readonly version: string;
}

const VERSION =
  /^v?(?:(\d{1,9})!)?(\d{1,15}(?:\.\d{1,15})*)(?:[-_.]?(a|b|c|rc|alpha|beta|preview|pre)[-_.]?(\d{1,15})?)?(?:-(\d{1,15})|[-_.]?(post|rev|r)[-_.]?(\d{1,15})?)?(?:[-_.]?(dev)[-_.]?(\d{1,15})?)?(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?$/;
const PRE_NAMES: Readonly<Record<string, "a" | "b" | "rc">> = {
  a: "a",
  alpha: "a",
  b: "b",
  beta: "b",
  c: "rc",
  rc: "rc",
  pre: "rc",
  preview: "rc",
};

/** Null if the text is not a version. */
export function parseVersion(text: string): Version | null {
  const match = VERSION.exec(text.trim().toLowerCase());
  if (match === null) return null;
  const [, epoch, release = "", pre, preNumber, postDash, postWord, postNumber, dev, devNumber, local] = match;
  const preName = pre === undefined ? undefined : PRE_NAMES[pre];
  const post = postDash ?? (postWord === undefined ? undefined : (postNumber ?? "0"));
  return {
    epoch: Number(epoch ?? 0),
    release: release.split(".").map(Number),
    pre: preName === undefined ? null : [preName, Number(preNumber ?? 0)],
    post: post === undefined ? null : Number(post),
    dev: dev === undefined ? null : Number(devNumber ?? 0),
    local: local === undefined ? null : local.replace(/[-_]/g, "."),
  };
}

/** Negative, zero or positive as `left` is older than, equal to or newer than `right`. */
export function compareVersions(left: Version, right: Version): number {
  return comparePublic(left, right) || compareLocal(left.local, right.local);
}

/** Whether a version fits every clause. Pre-releases fit when their order does: what is installed is installed. */
export function satisfies(version: string, specifiers: readonly Specifier[]): boolean {
  return specifiers.every((specifier) => satisfiesOne(version, specifier));
}

function satisfiesOne(text: string, { operator, version: wanted }: Specifier): boolean {
  if (operator === "===") return text.trim().toLowerCase() === wanted.trim().toLowerCase();
  const candidate = parseVersion(text);
  if (wanted.endsWith(".*")) {
    const prefix = parseVersion(wanted.slice(0, -2));
    if (candidate === null || prefix === null) return false;
    return hasPrefix(candidate, prefix.epoch, prefix.release) === (operator === "==");
  }
  const bound = parseVersion(wanted);
  if (candidate === null || bound === null) return false;
  return ordered(candidate, operator, bound);
}

function ordered(candidate: Version, operator: Exclude<Operator, "===">, bound: Version): boolean {
  const order = comparePublic(candidate, bound);
  const sameRelease = candidate.epoch === bound.epoch && compareNumbers(candidate.release, bound.release) === 0;
  switch (operator) {
    case "==":
      return order === 0 && (bound.local === null || bound.local === candidate.local);
    case "!=":
      return order !== 0 || (bound.local !== null && bound.local !== candidate.local);
    case "<=":
      return order <= 0;
    case ">=":
      return order >= 0;
    case "<":
      return order < 0 && !(sameRelease && !isPreRelease(bound) && isPreRelease(candidate));
    case ">":
      return order > 0 && !(sameRelease && bound.post === null && candidate.post !== null);
    case "~=":
      return order >= 0 && bound.release.length > 1 && hasPrefix(candidate, bound.epoch, bound.release.slice(0, -1));
  }
}

const isPreRelease = (version: Version): boolean => version.pre !== null || version.dev !== null;

function hasPrefix(version: Version, epoch: number, prefix: readonly number[]): boolean {
  return version.epoch === epoch && prefix.every((part, index) => part === (version.release[index] ?? 0));
}

function comparePublic(left: Version, right: Version): number {
  return (
    left.epoch - right.epoch ||
    compareNumbers(left.release, right.release) ||
    compareNumbers(preRank(left), preRank(right)) ||
    (left.post ?? -1) - (right.post ?? -1) ||
    order(left.dev ?? Number.POSITIVE_INFINITY, right.dev ?? Number.POSITIVE_INFINITY)
  );
}

/** `1.dev0 < 1a0 < 1rc0 < 1 = 1.post0` in this part alone. */
function preRank(version: Version): readonly [number, number] {
  if (version.pre !== null) return [["a", "b", "rc"].indexOf(version.pre[0]), version.pre[1]];
  return version.post === null && version.dev !== null ? [-1, 0] : [3, 0];
}

function compareNumbers(left: readonly number[], right: readonly number[]): number {
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

const order = (left: number, right: number): number => (left === right ? 0 : left < right ? -1 : 1);

/** Numeric parts are newer than words, a longer label newer than its beginning, any label newer than none. */
function compareLocal(left: string | null, right: string | null): number {
  if (left === right) return 0;
  if (left === null || right === null) return left === null ? -1 : 1;
  const [ours, theirs] = [left.split("."), right.split(".")];
  for (let index = 0; index < Math.max(ours.length, theirs.length); index += 1) {
    const [one, other] = [ours[index], theirs[index]];
    if (one === undefined || other === undefined) return one === undefined ? -1 : 1;
    const [oneIsNumber, otherIsNumber] = [/^\d+$/.test(one), /^\d+$/.test(other)];
    if (oneIsNumber !== otherIsNumber) return oneIsNumber ? 1 : -1;
    const difference = oneIsNumber ? Number(one) - Number(other) : one < other ? -1 : one > other ? 1 : 0;
    if (difference !== 0) return difference;
  }
  return 0;
}
