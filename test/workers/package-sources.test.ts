// The user's pip and uv settings: read from real files, written for both installers.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  describeSources,
  pipVariables,
  readPackageSources,
  sourcesKey,
  uvArguments,
  uvVariables,
} from "../../src/workers/package-sources.ts";

function makeHome(files: Readonly<Record<string, string>>): string {
  const home = mkdtempSync(join(tmpdir(), "flambeau-home-"));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    writeFileSync(join(home, path), text);
  }
  return home;
}

const RETRIES = { retries: 2 };

describe("the sources of packages", () => {
  it("are read as pip reads them: files in order, the install section first, variables over all", async () => {
    const home = makeHome({
      ".pip/pip.conf": "[global]\nindex-url = https://old/simple\nproxy = http://proxy:1\n",
      ".config/pip/pip.conf":
        "# comment\n[global]\nindex_url: https://user/simple\nextra-index-url =\n    https://one/simple\n    https://two/simple\ntarget = /elsewhere\n[install]\nfind-links = /wheels\n[list]\nindex-url = https://never\n",
      "site/pip.conf": "[install]\nfind-links = /site-wheels\n",
    });
    const sources = await readPackageSources(
      { HOME: home, PIP_FIND_LINKS: "/mine /yours", PIP_TARGET: "/elsewhere", PIP_USER: "1" },
      join(home, "site"),
    );
    const variables = pipVariables(sources, RETRIES);
    expect(variables).toMatchObject({
      PIP_INDEX_URL: "https://user/simple",
      PIP_EXTRA_INDEX_URL: "https://one/simple https://two/simple",
      PIP_FIND_LINKS: "/mine /yours",
      PIP_PROXY: "http://proxy:1",
      PIP_CONFIG_FILE: "/dev/null",
    });
    expect(Object.keys(variables)).not.toContain("PIP_TARGET");
    expect(Object.keys(variables)).not.toContain("PIP_USER");
  });

  it("reach uv where it has no setting of its own", async () => {
    const home = makeHome({ "certificates.pem": "" });
    const pip = {
      HOME: home,
      PIP_INDEX_URL: "https://index/simple",
      PIP_EXTRA_INDEX_URL: "https://extra/simple",
      PIP_FIND_LINKS: "/wheels file:///more",
      PIP_CERT: join(home, "certificates.pem"),
      PIP_DEFAULT_TIMEOUT: "180",
    };
    const sources = await readPackageSources(pip, "/usr");
    expect(uvVariables(sources, RETRIES, pip)).toMatchObject({
      UV_DEFAULT_INDEX: "https://index/simple",
      UV_INDEX: "https://extra/simple",
      UV_INDEX_STRATEGY: "unsafe-best-match",
      UV_HTTP_TIMEOUT: "180",
      SSL_CERT_FILE: join(home, "certificates.pem"),
    });
    expect(uvArguments(sources).join(" ")).toContain("--find-links /wheels --find-links file:///more");

    const own = {
      ...pip,
      UV_DEFAULT_INDEX: "https://uv/simple",
      UV_INDEX: "https://uv-extra",
      UV_FIND_LINKS: "/uv",
      UV_PYTHON: "3.9",
    };
    const both = await readPackageSources(own, "/usr");
    const made = uvVariables(both, RETRIES, own);
    expect(made).toMatchObject({
      UV_DEFAULT_INDEX: "https://uv/simple",
      UV_INDEX: "https://uv-extra",
      UV_FIND_LINKS: "/uv",
    });
    expect(Object.keys(made)).not.toContain("UV_PYTHON");
    expect(uvArguments(both)).not.toContain("--find-links");
  });

  it("include the user's own uv.toml, and never one of the folder that an app lies in", async () => {
    const home = makeHome({ ".config/uv/uv.toml": 'index-strategy = "first-index"\n' });
    const sources = await readPackageSources({ HOME: home }, "/usr");
    expect(uvArguments(sources).slice(0, 2)).toEqual(["--config-file", join(home, ".config/uv/uv.toml")]);
    const without = await readPackageSources({ HOME: join(home, "nobody"), UV_NO_CONFIG: "1" }, "/usr");
    expect(uvArguments(without)[0]).toBe("--no-config");
  });

  it("change an environment's key only where they can change what is installed", async () => {
    const home = makeHome({ "constraints.txt": "six<2\n" });
    const keyOf = async (variables: Record<string, string>) =>
      sourcesKey(await readPackageSources({ HOME: home, PIP_CONFIG_FILE: "/dev/null", ...variables }, "/usr"));
    const plain = await keyOf({});
    for (const same of [
      { PIP_DEFAULT_TIMEOUT: "9" },
      { PIP_CERT: "/x" },
      { PIP_RETRIES: "0" },
      { UV_CACHE_DIR: "/x" },
      { PIP_QUIET: "1" },
    ]) {
      expect(await keyOf(same)).toBe(plain);
    }
    for (const other of [
      { PIP_INDEX_URL: "https://x" },
      { PIP_FIND_LINKS: "/x" },
      { PIP_PRE: "1" },
      { UV_INDEX: "https://x" },
      { PIP_CONSTRAINT: join(home, "constraints.txt") },
    ]) {
      expect(await keyOf(other)).not.toBe(plain);
    }
  });

  it("are described with what set them and without passwords", async () => {
    const variables = {
      HOME: "/nowhere",
      PIP_CONFIG_FILE: "/dev/null",
      PIP_INDEX_URL: "https://me:secret@index/simple",
    };
    expect(describeSources(await readPackageSources(variables, "/usr"))).toBe(
      "index-url https://…@index/simple (PIP_INDEX_URL)",
    );
    expect(
      describeSources(await readPackageSources({ PIP_CONFIG_FILE: "/dev/null", UV_NO_CONFIG: "1" }, "/usr")),
    ).toContain("pypi.org");
  });
});
