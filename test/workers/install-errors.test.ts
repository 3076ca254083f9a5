// Outputs of failed installations, as pip and uv really print them, and what they become.
import { describe, expect, it } from "vitest";
import { installError, isWorthRepeating } from "../../src/workers/install-errors.ts";

const CONFLICT = `Collecting six==1.16.0
ERROR: Cannot install six==1.15.0 and six==1.16.0 because these package versions have conflicting dependencies.

The conflict is caused by:
    The user requested six==1.16.0
    The user requested six==1.15.0

To fix this you could try to:
1. loosen the range of package versions you've specified
ERROR: ResolutionImpossible: for help visit the documentation`;
const UV_CONFLICT = `  × No solution found when resolving dependencies:
  ╰─▶ Because you require six==1.15.0 and six==1.16.0, we can conclude that
      your requirements are unsatisfiable.`;
const REFUSED = `WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError('<HTTPSConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection refused')': /simple/six/
ERROR: Could not find a version that satisfies the requirement six (from versions: none)
ERROR: No matching distribution found for six`;
const UV_DNS = `error: Request failed after 3 retries in 5.1s
  cause: Failed to fetch: https://host/simple/six/
  cause: dns error
  cause: failed to lookup address information: Name or service not known`;

describe("a failed installation", () => {
  it.each([
    ["pip's conflict", CONFLICT, "ENV_CONFLICT", "The user requested six==1.16.0"],
    ["uv's conflict", UV_CONFLICT, "ENV_CONFLICT", "your requirements are unsatisfiable"],
    ["a conflict beside an index that failed", `${REFUSED}\n${CONFLICT}`, "ENV_CONFLICT", "six==1.15.0"],
    ["an unknown package", "ERROR: No matching distribution found for nosuch", "ENV_CONFLICT", "nosuch"],
    [
      "a refused connection",
      REFUSED,
      "INDEX_UNREACHABLE",
      "NewConnectionError: [Errno 111] Connection refused, asking for /simple/six/",
    ],
    ["uv without names", UV_DNS, "INDEX_UNREACHABLE", "Name or service not known"],
    ["a refused login", "ERROR: HTTP error 403 while getting https://host/six.whl", "INDEX_UNREACHABLE", "403"],
    [
      "a full disk",
      "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
      "DISK_FULL",
      "/cache",
    ],
    ["a full quota", "error: failed to copy\n  cause: Disk quota exceeded (os error 122)", "DISK_FULL", "/cache"],
    ["a failed build", "error: subprocess-exited-with-error\n× gcc not found", "ENV_BROKEN", "built from source"],
    ["a wrong hash", "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE INDEX", "ENV_BROKEN", "hash"],
    ["something else", "Traceback\nKeyError: 'x'", "ENV_BROKEN", "KeyError: 'x'"],
    ["silence", "", "ENV_BROKEN", "the installer failed"],
  ])("%s", (_what, output, code, words) => {
    const error = installError({ output, sources: "index-url https://host (PIP_INDEX_URL)", folder: "/cache" });
    expect(error.code).toBe(code);
    expect(error.message).toContain(words);
    if (code === "INDEX_UNREACHABLE") expect(error.message).toContain("PIP_INDEX_URL");
  });

  it("is told in a few lines however long the output", () => {
    const output = `The conflict is caused by:\n${Array.from({ length: 500 }, (_, index) => `    p${index} ${"x".repeat(999)}\n`).join("")}\nERROR: ResolutionImpossible`;
    const { message } = installError({ output, sources: "", folder: "" });
    expect(message.split("\n").length).toBeLessThan(20);
    expect(message.length).toBeLessThan(5_000);
  });

  it("is repeated only where a transfer broke", () => {
    expect(isWorthRepeating("ReadTimeoutError: Read timed out.")).toBe(true);
    expect(isWorthRepeating("IncompleteRead(10 bytes read)")).toBe(true);
    expect(isWorthRepeating("ERROR: HTTP error 503 while getting x")).toBe(true);
    expect(isWorthRepeating(REFUSED)).toBe(false);
    expect(isWorthRepeating(`${CONFLICT}\nRead timed out`)).toBe(false);
    expect(isWorthRepeating("[Errno 28] No space left on device; Read timed out")).toBe(false);
  });
});
