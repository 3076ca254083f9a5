// How the TypeScript tests run: real worker processes, so few at a time and with generous limits.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (file: string) => fileURLToPath(new URL(`./src/${file}`, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: /^flambeau$/, replacement: source("index.ts") },
      { find: /^flambeau\/toolkit$/, replacement: source("toolkit.ts") },
      { find: /^flambeau\/testing$/, replacement: source("testing.ts") },
    ],
  },
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 600_000,
    maxWorkers: 2,
    pool: "forks",
  },
});
