// PEP 440 as its own text and the packages that matter here use it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareVersions, type Operator, parseVersion, satisfies } from "../../src/workers/version.ts";

const sign = (left: string, right: string): number => {
  const [one, other] = [parseVersion(left), parseVersion(right)];
  if (one === null || other === null) throw new Error(`not a version: ${left} or ${right}`);
  return Math.sign(compareVersions(one, other));
};

describe("order", () => {
  it("is that of PEP 440 from development releases to local labels", () => {
    const ascending = [
      "1.dev0",
      "1.0.dev456",
      "1.0a1",
      "1.0a2.dev456",
      "1.0a12.dev456",
      "1.0a12",
      "1.0b1.dev456",
      "1.0b2",
      "1.0b2.post345.dev456",
      "1.0b2.post345",
      "1.0rc1.dev456",
      "1.0rc1",
      "1.0",
      "1.0+abc.5",
      "1.0+abc.7",
      "1.0+5",
      "1.0.post456.dev34",
      "1.0.post456",
      "1.1.dev1",
      "2.13.0",
      "2.13.0+cpu",
      "1!0.1",
    ];
    for (const [index, version] of ascending.entries()) {
      for (const later of ascending.slice(index + 1))
        expect([version, later, sign(version, later)]).toEqual([version, later, -1]);
    }
  });

  it("takes different spellings of one version as equal", () => {
    const pairs = [
      ["1.0", "1"],
      ["v1.0", "1.0.0"],
      ["1.0-ALPHA.1", "1a1"],
      ["1.0c1", "1rc1"],
      ["1-1", "1.post1"],
      ["1.0.r2", "1.post2"],
    ] as const;
    for (const [one, other] of pairs) expect([one, other, sign(one, other)]).toEqual([one, other, 0]);
  });

  it("refuses what is no version, however long, at once", () => {
    for (const text of ["", "1..0", "one", "1.0+", "1.0 beta", "1;2", "$1", "1.0/2", `${"1.".repeat(50_000)}x`]) {
      expect(parseVersion(text)).toBeNull();
    }
  });

  it("is the same read from either side", () => {
    const version = fc.tuple(fc.nat(3), fc.nat(3), fc.constantFrom("", "a1", "rc1", ".post1", ".dev1", "+cpu"));
    fc.assert(
      fc.property(version, version, (one, other) => {
        const [left, right] = [one, other].map(([major, minor, rest]) => `${major}.${minor}${rest}`);
        return sign(left ?? "", right ?? "") === -sign(right ?? "", left ?? "") || sign(left ?? "", right ?? "") === 0;
      }),
    );
  });
});

describe("a specifier", () => {
  it.each<[string, Operator, string, boolean]>([
    ["2.13.0+cpu", "==", "2.13.0", true],
    ["2.13.0+cpu", "==", "2.13.0+cpu", true],
    ["2.13.0", "==", "2.13.0+cpu", false],
    ["2.13.0+cpu", ">=", "2.2.0", true],
    ["2.13.0+cpu", "<=", "2.13.0", true],
    ["2.13.0+cpu", ">", "2.13.0", false],
    ["2.13.1", "==", "2.13.*", true],
    ["2.131", "==", "2.13.*", false],
    ["2.13", "!=", "2.13.*", false],
    ["2.14.1", "~=", "2.13", true],
    ["3.0", "~=", "2.13", false],
    ["2.13.9", "~=", "2.13.1", true],
    ["2.14", "~=", "2.13.1", false],
    ["3.0rc1", "<", "3.0", false],
    ["3.0rc1", "<", "3.0rc2", true],
    ["1.7.post1", ">", "1.7", false],
    ["1.7.1", ">", "1.7", true],
    ["2.14.0.dev20261101+cpu", ">=", "2.2", true],
    ["1.0", "===", "1.0", true],
    ["1.0.0", "===", "1.0", false],
  ])("%s %s %s is %s", (version, operator, wanted, expected) => {
    expect(satisfies(version, [{ operator, version: wanted }])).toBe(expected);
  });
});
