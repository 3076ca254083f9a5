// A base for apps of the tests whose Python reports progress, logs and waits, as a model would.
import { App } from "../../src/app/app.ts";
import { hostOf, type Started, scratch } from "./fixture.ts";

const WORK = `
import time
import flambeau

def steps(n, seconds=0.0):
    for i in range(n):
        flambeau.progress(i + 1, n)
        time.sleep(seconds)

def stage(name):
    flambeau.progress(1, 2, name)

def until(path):
    import os
    while not os.path.exists(path):
        time.sleep(0.01)

def says(text, seconds):
    print(text)
    time.sleep(seconds)

def numbers(n):
    for i in range(n):
        flambeau.log(f"number {i}")
        yield i
`;

export abstract class Working extends App {
  work = this.py.import("work");
}

export async function hostWith(
  app: typeof Working & (new () => Working),
): Promise<Started & { readonly folder: string }> {
  const folder = await scratch({ "work.py": WORK });
  return { ...(await hostOf(app, { file: `${folder}/app.ts` })), folder };
}
