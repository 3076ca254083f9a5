// FLAMBEAU_* variables as settings, and what is said of one that is not valid.
import { describe, expect, test } from "vitest";
import { readSettings } from "../src/config.ts";
import { codeOf } from "./support/errors.ts";

const HOME = "/home/me";
const origins = (text: string): readonly string[] => readSettings({ HOME, FLAMBEAU_ORIGINS: text }).origins;

describe("settings", () => {
  test("are those of this machine alone where nothing is set, and an empty variable is none", () => {
    const expected = { host: "127.0.0.1", port: 3000, origins: [], logLevel: "info" };
    expect(readSettings({ HOME })).toMatchObject(expected);
    expect(readSettings({ HOME, FLAMBEAU_PORT: "", FLAMBEAU_KEY: "" })).toMatchObject(expected);
  });

  test("keep origins as a browser sends them, those of desktop applications as well", () => {
    expect(origins("https://studio.example, http://localhost:5173 ,")).toEqual([
      "https://studio.example",
      "http://localhost:5173",
    ]);
    expect(origins("tauri://localhost,chrome-extension://abcdef")).toHaveLength(2);
  });

  test.each([
    "https://studio.example/",
    "https://studio.example/page",
    "https://studio.example:443",
    "https://Studio.example",
    "https://*.studio.example",
    "*",
    "null",
    "studio.example",
  ])("refuse the origin %s, which no browser would ever send", (origin) => {
    expect(codeOf(() => origins(origin))).toBe("SETTINGS_INVALID");
    expect(() => origins(origin)).toThrow(/^FLAMBEAU_ORIGINS: each is scheme, host and port alone, .*, got "/);
  });

  test.each([
    ["PORT", "many"],
    ["PORT", "65536"],
    ["LOG_LEVEL", "loud"],
  ])("name the variable %s and what came", (name, value) => {
    const read = (): unknown => readSettings({ HOME, [`FLAMBEAU_${name}`]: value });
    expect(codeOf(read)).toBe("SETTINGS_INVALID");
    expect(read).toThrow(new RegExp(`^FLAMBEAU_${name}: .*, got "${value}"; correct or unset`));
  });

  test("never repeat a key", () => {
    expect(() => readSettings({ HOME, FLAMBEAU_KEY: "hunter2" })).toThrow(
      /^FLAMBEAU_KEY: at least 16 characters; correct/,
    );
  });
});
