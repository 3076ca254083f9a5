// Generated types that were made from another version than the one that the app runs with.
import { mkdir, writeFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { z } from "zod";
import { App } from "../../src/app/app.ts";
import { endpoint } from "../../src/app/endpoint.ts";
import { hostOf, scratch } from "./fixture.ts";

class Packing extends App {
  static override readonly requirements = ["msgpack"];
  ok = endpoint("/", { input: z.object({}), output: z.object({}) }, async () => ({}));
}

it("a start warns of types that are of another version than what is installed", async () => {
  const folder = await scratch();
  await mkdir(`${folder}/flambeau-types`);
  await writeFile(
    `${folder}/flambeau-types/msgpack.d.ts`,
    "// msgpack, as TypeScript sees it: written by `flambeau types`, to be written again and not edited.\n// from msgpack 0.0.1\n",
  );
  const { host, logger } = await hostOf(Packing, { file: `${folder}/app.ts` });
  await host.start();
  expect(logger.lines).toContainEqual({
    level: "warn",
    message: expect.stringMatching(
      /^flambeau-types\/msgpack\.d\.ts is of msgpack 0\.0\.1, and \d.* is installed; `flambeau types`/,
    ),
  });
});
