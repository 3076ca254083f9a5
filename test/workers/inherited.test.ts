// What of a process environment Python sees.
import { describe, expect, it } from "vitest";
import { inheritedEnvironment } from "../../src/workers/inherited.ts";

describe("the inherited environment", () => {
  it.each([
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "XDG_CACHE_HOME",
    "HF_HOME",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "TRANSFORMERS_OFFLINE",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_HOME",
    "TORCHINDUCTOR_CACHE_DIR",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "LD_LIBRARY_PATH",
    "https_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CXX",
  ])("holds %s", (name) => {
    expect(inheritedEnvironment({ [name]: "x" })).toEqual({ [name]: "x" });
  });

  it.each([
    "FLAMBEAU_KEY",
    "FLAMBEAU_PORT",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "LD_PRELOAD",
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "OPENAI_API_KEY",
    "NODE_OPTIONS",
    "VIRTUAL_ENV",
    "PIP_INDEX_URL",
    "TERM",
    "XDGX",
    "path",
  ])("does not hold %s", (name) => {
    expect(inheritedEnvironment({ [name]: "x" })).toEqual({});
  });

  it("holds what an app names, but never what changes what Python runs nor the server's key", () => {
    const all = { MY_MODEL: "a", LD_PRELOAD: "b", PYTHONPATH: "c", FLAMBEAU_KEY: "d" };
    expect(inheritedEnvironment(all, Object.keys(all))).toEqual({ MY_MODEL: "a", LD_PRELOAD: "b" });
  });
});
