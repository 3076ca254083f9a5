// The command with a real Python and a module of the test's own, which needs no torch.
import { mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { App } from "../../src/app/app.ts";
import { type TypesFlags, type TypesParts, types } from "../../src/cli/types.ts";
import { silentLogger, type Wait } from "../../src/log.ts";
import { startWorker } from "../support/worker.ts";

const MODULE = `
"""Paints."""
from __future__ import annotations
import sys
from typing import Literal

print("printed while it is imported")
__version__ = "1.2"

class Picture:
    """One picture."""
    def __init__(self, width: int, mode: Literal["L", "RGB"] = "RGB") -> None:
        self.width = width
    def resize(self, width: int, *, smooth: bool = False) -> Picture:
        """Another picture.

        Args:
            smooth (bool): Whether edges are softened. More follows.
        """
        return Picture(width)

class Brush:
    def __init__(self) -> None: ...

def paint(prompt: str, steps: int = 30, seed: int | None = None) -> Picture:
    """Paints a prompt."""
    return Picture(steps)
`;

let folder: string;
beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "flambeau-cli-types-")));
  await writeFile(join(folder, "painter.py"), MODULE);
  await writeFile(
    join(folder, "app.ts"),
    'import { App } from "flambeau";\nexport class Paint extends App {\n  painter = this.py.import("painter"); // Picture\n}\n',
  );
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function run(names: readonly string[], flags: TypesFlags = {}, more: Partial<TypesParts> = {}) {
  const printed: string[] = [];
  const waits: Wait[] = [];
  const loaded: string[] = [];
  const parts: TypesParts = {
    logger: { ...silentLogger, wait: (wait) => void waits.push(wait) },
    cwd: folder,
    hasPython: false,
    print: (text) => void printed.push(text),
    nowMs: () => 0,
    loadApp: async (spec) => {
      loaded.push(spec);
      return { app: class Paint extends App {}, file: join(folder, "app.ts") };
    },
    openPython: () => startWorker({}, { paths: [folder] }),
    ...more,
  };
  await types(names, flags, parts, { signal: new AbortController().signal });
  return { printed, waits, loaded, text: await readFile(join(folder, "flambeau-types/painter.d.ts"), "utf8") };
}

describe("flambeau types", () => {
  it("finds the app of the folder and writes what its sources import", async () => {
    const { printed, waits, loaded, text } = await run([]);
    expect(loaded).toEqual([join(folder, "app.ts")]);
    expect(printed).toEqual(["flambeau-types: painter; 1 of 1 file written in 0.0 s"]);
    expect(waits.at(-1)).toMatchObject({ id: "types", finished: true });
    expect(text).toContain('"painter": painter.PainterModule;');
    expect(text).toContain("/** Whether edges are softened. */");
    expect(text).toContain(
      "paint(prompt: string | PyArgOf<string>, steps: number | bigint | PyArgOf<number>, seed: number | bigint | null | PyArgOf<number>): PyExpr<painter.Picture>;",
    );
  });

  it("a second run changes nothing, and remembers what the first was asked for", async () => {
    await run(["painter"]);
    await writeFile(
      join(folder, "app.ts"),
      'import { App } from "flambeau";\nexport class Paint extends App {} // Picture\n',
    );
    const { printed } = await run([]);
    expect(printed).toEqual(["flambeau-types: painter; nothing has changed in 0.0 s"]);
  });

  it("writes the classes that the app names, one that is asked for, or all", async () => {
    const brush = "export interface Brush {";
    expect((await run([])).text).not.toContain(brush);
    expect((await run(["painter.Brush"])).text).toContain(brush);
    await rm(join(folder, "flambeau-types"), { recursive: true });
    expect((await run([], { all: true })).text).toContain(brush);
  });

  it.each([
    ["not_installed", "SETTINGS_INVALID", "there is no module 'not_installed'"],
    ["painter.Picturee", "SETTINGS_INVALID", "painter has no module and no class 'Picturee'"],
    ["rm -rf", "SETTINGS_INVALID", "is not the name of a Python module"],
    ["leaves", "ENV_BROKEN", "ends the process (sys.exit(3))"],
    ["fails", "ENV_BROKEN", "ZeroDivisionError: division by zero"],
    ["needs", "ENV_BROKEN", "needs the module 'not_installed'"],
  ])("%s is refused in one sentence", async (name, code, message) => {
    await writeFile(join(folder, "leaves.py"), "import sys\nsys.exit(3)\n");
    await writeFile(join(folder, "fails.py"), "1 / 0\n");
    await writeFile(join(folder, "needs.py"), "import not_installed\n");
    await expect(run([name])).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it("a module that ends the process at once is said to have done so", async () => {
    await writeFile(join(folder, "gone.py"), "import os\nos._exit(4)\n");
    await expect(run(["gone"])).rejects.toMatchObject({ code: "WORKER_EXITED" });
  });

  it("asks which app is meant where several could be, and what to do where none is", async () => {
    await writeFile(join(folder, "second.ts"), 'import { App } from "flambeau";\nexport class B extends App {}\n');
    await expect(run([])).rejects.toMatchObject({
      code: "APP_INVALID",
      message: expect.stringContaining("--app app.ts"),
    });
    expect((await run(["painter"])).loaded).toEqual([join(folder, "app.ts")]);
    await rm(join(folder, "second.ts"));
    await rm(join(folder, "app.ts"));
    await expect(run(["painter"])).rejects.toMatchObject({ code: "APP_INVALID" });
    expect((await run(["painter"], {}, { hasPython: true })).loaded).toEqual([]);
  });
});
