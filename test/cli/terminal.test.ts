import { describe, expect, it } from "vitest";
import { type Clock, Terminal } from "../../src/cli/terminal.ts";
import { limits, type Settings } from "../../src/config.ts";
import type { Wait } from "../../src/log.ts";

/** A clock that a test moves; repeated tasks run as it passes their times. */
class TestClock implements Clock {
  #nowMs = 0;
  readonly #tasks = new Set<{ ms: number; nextMs: number; task: () => void }>();

  nowMs(): number {
    return this.#nowMs;
  }

  every(ms: number, task: () => void): () => void {
    const entry = { ms, nextMs: this.#nowMs + ms, task };
    this.#tasks.add(entry);
    return () => this.#tasks.delete(entry);
  }

  pass(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (let next = this.#next(endMs); next !== undefined; next = this.#next(endMs)) {
      this.#nowMs = next.nextMs;
      next.nextMs += next.ms;
      next.task();
    }
    this.#nowMs = endMs;
  }

  get running(): number {
    return this.#tasks.size;
  }

  #next(endMs: number) {
    return [...this.#tasks].filter(({ nextMs }) => nextMs <= endMs).sort((a, b) => a.nextMs - b.nextMs)[0];
  }
}

const ESCAPE = "\x1b";
const PARTS = new RegExp(`${ESCAPE}\\[\\d*[A-Za-z]|\\r|\\n|[^${ESCAPE}\\r\\n]+`, "g");

/** What a terminal shows in the end: enough of one for our three escape codes. */
class Screen {
  readonly lines: string[] = [""];
  writes = 0;
  columns = 60;
  readonly isTTY: boolean;

  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }

  write(text: string): void {
    this.writes++;
    for (const part of text.match(PARTS) ?? []) this.#apply(part);
  }

  #apply(part: string): void {
    const up = /^\[(\d+)A$/.exec(part.slice(1))?.[1];
    if (part.startsWith(ESCAPE) && up !== undefined) this.lines.length -= Number(up);
    else if (part === `${ESCAPE}[J`) this.lines[this.lines.length - 1] = "";
    else if (part === "\n") this.lines.push("");
    else if (part !== "\r") this.lines[this.lines.length - 1] += part;
  }
}

function made(isTTY: boolean, level: Settings["logLevel"] = "info", color = false) {
  const [screen, clock] = [new Screen(isTTY), new TestClock()];
  return { screen, clock, terminal: new Terminal({ stream: screen, level, color, clock }) };
}

const wait = (id: string, done: number, more: Partial<Wait> = {}): Wait => ({
  id,
  label: id,
  done,
  total: 10,
  unit: "items",
  ...more,
});

describe("a terminal", () => {
  it("redraws a wait in place and keeps what was said above it", () => {
    const { screen, clock, terminal } = made(true);
    terminal.wait(wait("load", 1));
    clock.pass(500);
    terminal.info("a remark");
    terminal.wait(wait("load", 5));
    clock.pass(100);
    expect(screen.lines).toEqual([
      "a remark",
      expect.stringMatching(/^load 5\/10 {2}\[█+░+\] {2}8\.\d items\/s {2}1 s left$/),
      "",
    ]);
  });

  it("draws at most ten times a second", () => {
    const { screen, clock, terminal } = made(true);
    for (let report = 0; report < 1000; report++) {
      terminal.wait(wait("load", report / 100));
      clock.pass(1);
    }
    expect(screen.writes).toBeLessThanOrEqual(1000 / limits.redrawMs + 1);
    expect(screen.writes).toBeGreaterThan(5);
  });

  it("gives several waits a line each, the newest where they are too many", () => {
    const { screen, clock, terminal } = made(true);
    for (let index = 0; index < limits.barsMax + 2; index++) terminal.wait(wait(`w${index}`, 1));
    clock.pass(limits.redrawMs);
    expect(screen.lines.map((line) => line.split(" ")[0])).toEqual(["and", "w2", "w3", "w4", "w5", ""]);
    expect(screen.lines[0]).toBe("and 2 more");
  });

  it("leaves one line of a wait that took a second, none of a shorter one, and then stops its clock", () => {
    const { screen, clock, terminal } = made(true);
    terminal.wait(wait("long", 1));
    terminal.wait(wait("short", 1));
    clock.pass(900);
    terminal.wait(wait("short", 10, { finished: true }));
    clock.pass(400);
    terminal.wait(wait("long", 10, { finished: true }));
    expect(screen.lines).toEqual(["long 10/10 in 1.3 s", ""]);
    expect(clock.running).toBe(0);
  });

  it("removes the bars when it is disposed", () => {
    const { screen, clock, terminal } = made(true);
    terminal.wait(wait("load", 1));
    terminal[Symbol.dispose]();
    expect(screen.lines).toEqual([""]);
    expect(clock.running).toBe(0);
  });

  it("makes room for a result of another stream", () => {
    const { screen, terminal } = made(true);
    terminal.wait(wait("load", 1));
    terminal.aside(() => screen.write("the result\n"));
    expect(screen.lines).toEqual(["the result", expect.stringContaining("load 1/10"), ""]);
  });

  it("does not let a line break in a label move the bars", () => {
    const { screen, clock, terminal } = made(true);
    terminal.wait(wait("load", 1, { label: "two\nlines\x1b[2J" }));
    clock.pass(1000);
    expect(screen.lines).toHaveLength(2);
    expect(screen.lines[0]).toContain("two lines");
  });

  it("says nothing that would steer the terminal, whoever wrote it", () => {
    const written: string[] = [];
    const stream = { write: (text: string) => written.push(text) };
    const terminal = new Terminal({ stream, level: "debug", color: false });
    for (const level of ["debug", "info", "warn", "error"] as const)
      terminal[level]("a\x1b[2J\x1b]52;c;aGk=\x07\x9b31m\r\u202eb\n\tc");
    expect(written).toEqual(["ab\n\tc\n", "ab\n\tc\n", "warning: ab\n\tc\n", "error: ab\n\tc\n"]);
  });

  it("counts on 80 columns where the width is unknown", () => {
    const { screen, clock, terminal } = made(true);
    screen.columns = 0;
    terminal.wait(wait("load", 1));
    clock.pass(1000);
    expect(screen.lines[0]).toMatch(/\[█+░+\]/);
  });
});

describe("a pipe", () => {
  it("gets the first line of a wait, one a second, and the last", () => {
    const { screen, clock, terminal } = made(false);
    for (let done = 0; done < 10; done++) {
      terminal.wait(wait("load", done));
      clock.pass(250);
    }
    terminal.wait(wait("load", 10, { finished: true }));
    expect(screen.lines).toEqual([
      "load 0/10",
      expect.stringContaining("load 4/10"),
      expect.stringContaining("load 8/10"),
      "load 10/10 in 2.5 s",
      "",
    ]);
  });

  it("gets no escape codes", () => {
    const { screen, terminal } = made(false);
    terminal.warn("careful");
    terminal.wait(wait("load", 1));
    terminal.error("broken");
    expect(screen.lines.join("\n")).toBe("warning: careful\nload 1/10\nerror: broken\n");
  });
});

describe("levels and colours", () => {
  it.each([
    ["debug", ["d", "i", "warning: w", "error: e"]],
    ["info", ["i", "warning: w", "error: e"]],
    ["warn", ["warning: w", "error: e"]],
    ["error", ["error: e"]],
    ["silent", []],
  ] as const)("at level %s only what matters as much is said", (level, said) => {
    const { screen, terminal } = made(false, level);
    terminal.debug("d");
    terminal.info("i");
    terminal.warn("w");
    terminal.error("e");
    expect(screen.lines).toEqual([...said, ""]);
  });

  it("draws no bars above level info", () => {
    const { screen, terminal } = made(true, "warn");
    terminal.wait(wait("load", 1));
    expect(screen.writes).toBe(0);
  });

  it("colours only where it is asked for", () => {
    const written: string[] = [];
    const stream = { write: (text: string) => written.push(text) };
    new Terminal({ stream, level: "info", color: true }).warn("w");
    expect(written).toEqual(["\x1b[33mwarning:\x1b[0m w\n"]);
  });
});
