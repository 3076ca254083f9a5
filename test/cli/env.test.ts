import { describe, expect, it } from "vitest";
import { type EnvironmentEntry, envList, envPrune } from "../../src/cli/env.ts";
import { testSettings } from "./fake-host.ts";

const now = new Date("2026-11-23T12:00:00Z");
const entry = (key: string, minutesAgo: number, more: Partial<EnvironmentEntry> = {}): EnvironmentEntry => ({
  key,
  dir: `/cache/${key}`,
  requirements: ["torch>=2.2.0", "diffusers"],
  bytes: 1.2e9,
  lastUsed: new Date(now.getTime() - minutesAgo * 60_000),
  inUse: false,
  ...more,
});

function parts(entries: readonly EnvironmentEntry[], removed: readonly { key: string; bytes: number }[] = []) {
  const printed: string[] = [];
  const asked: unknown[] = [];
  return {
    printed,
    asked,
    settings: testSettings({ cacheDir: "/cache" }),
    listEnvironments: async () => entries,
    pruneEnvironments: async (_: unknown, options: unknown) => {
      asked.push(options);
      return removed;
    },
    print: (text: string) => void printed.push(text),
    now: () => now,
  };
}

describe("flambeau env list", () => {
  it("is a table, the last used first", async () => {
    const given = parts([
      entry("old", 60 * 24 * 10),
      entry("newer-key", 5, { inUse: true, bytes: 14_000, requirements: [] }),
    ]);
    await envList(given);
    expect(given.printed.join("\n").split("\n")).toEqual([
      "KEY        SIZE    LAST USED            REQUIREMENTS",
      "newer-key  14 KB   5 min ago    in use",
      "old        1.2 GB  10 days ago          torch>=2.2.0 diffusers",
      "2 environments, 1.2 GB in /cache",
    ]);
  });

  it("says where it looked when there are none", async () => {
    const given = parts([]);
    await envList(given);
    expect(given.printed).toEqual(["no environments in /cache; the first `flambeau run` makes one"]);
  });
});

describe("flambeau env prune", () => {
  it("says what was removed and how much that freed", async () => {
    const given = parts(
      [],
      [
        { key: "a", bytes: 1e9 },
        { key: "b", bytes: 2e9 },
      ],
    );
    await envPrune(given, { olderThan: "30" });
    expect(given.asked).toEqual([{ olderThanDays: 30 }]);
    expect(given.printed).toEqual(["removed a   1.0 GB", "removed b   2.0 GB", "freed 3.0 GB from 2 environments"]);
  });

  it("says so when there was nothing", async () => {
    const given = parts([]);
    await envPrune(given, { all: true });
    expect(given.asked).toEqual([{ all: true }]);
    expect(given.printed).toEqual(["nothing to remove; --all removes every environment that is not in use"]);
  });

  it.each(["", "soon", "-1"])("refuses the age %j", async (olderThan) => {
    await expect(envPrune(parts([]), { olderThan })).rejects.toMatchObject({ code: "SETTINGS_INVALID" });
  });
});
