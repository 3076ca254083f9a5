// Lines that pip 22 to 26 and uv 0.5 to 0.13 print, and what they are taken for.
import { describe, expect, it } from "vitest";
import { announcesCuda, isCudaPackage, parseInstallLine } from "../../src/workers/install-progress.ts";

describe("a line of an installer", () => {
  it.each([
    ["Collecting torch>=2.2.0", { kind: "resolve", name: "torch", version: null }],
    [
      "Collecting nvidia-cudnn-cu13==9.20.0.48 (from torch==2.13.0)",
      { kind: "resolve", name: "nvidia-cudnn-cu13", version: null },
    ],
    [
      "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)",
      {
        kind: "fetch",
        name: "torch",
        version: "2.13.0",
        bytes: 526_600_000,
        file: "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        isCached: false,
      },
    ],
    [
      "  Downloading https://host/whl/torch-2.13.0%2Bcpu-cp311-cp311-linux_x86_64.whl (191.8 MB)",
      {
        kind: "fetch",
        name: "torch",
        version: "2.13.0+cpu",
        bytes: 191_800_000,
        file: "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl",
        isCached: false,
      },
    ],
    [
      "Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl.metadata (31 kB)",
      { kind: "resolve", name: "torch", version: "2.13.0" },
    ],
    [
      "Using cached six-1.17.0-py2.py3-none-any.whl (11 kB)",
      {
        kind: "fetch",
        name: "six",
        version: "1.17.0",
        bytes: 11_000,
        file: "six-1.17.0-py2.py3-none-any.whl",
        isCached: true,
      },
    ],
    [
      "Processing /some place/six-1.17.0-py2.py3-none-any.whl",
      {
        kind: "fetch",
        name: "six",
        version: "1.17.0",
        bytes: null,
        file: "six-1.17.0-py2.py3-none-any.whl",
        isCached: true,
      },
    ],
    ["Progress 1048576 of 526600000", { kind: "bytes", done: 1_048_576, total: 526_600_000 }],
    ["Installing collected packages: six, msgpack", { kind: "install", names: ["six", "msgpack"] }],
    ["Building wheels for collected packages: old", { kind: "build", name: "old" }],
    ["  Building wheel for old (pyproject.toml): started", { kind: "build", name: "old" }],
    [
      "Downloading nvidia-cusparse (139.2MiB)",
      { kind: "fetch", name: "nvidia-cusparse", version: null, bytes: 145_961_779, file: null, isCached: false },
    ],
    [" Downloaded nvidia-cusparse", { kind: "fetched", name: "nvidia-cusparse" }],
    [" + torch==2.13.0+cpu", { kind: "planned", name: "torch", version: "2.13.0+cpu" }],
    ["Prepared 3 packages in 1.20s", { kind: "install", names: [] }],
    ["WARNING: Location 'file:///x' is ignored", null],
    ["Requirement already satisfied: six in /x", null],
    ["Successfully installed six-1.17.0", null],
    ["", null],
  ])("%s", (line, event) => {
    expect(parseInstallLine(line)).toEqual(event);
  });
});

describe("the first sign of CUDA", () => {
  it.each([
    ["Collecting nvidia-cublas==13.1.1.3 (from torch==2.13.0)", true],
    ["Collecting cuda-toolkit[cublas,cudart]==13.0.3 (from torch==2.13.0)", true],
    ["  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)", true],
    ["  Downloading torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)", false],
    ["  Downloading torch-2.13.0+cu130-cp311-cp311-manylinux_2_28_x86_64.whl (826.6 MB)", false],
    ["  Downloading torch-2.13.0-cp311-none-macosx_11_0_arm64.whl (81.6 MB)", false],
    ["  Downloading scipy-2.0.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)", false],
    ["Collecting nvidia-ml-py", false],
  ])("%s: %s", (line, expected) => {
    const event = parseInstallLine(line);
    expect(event !== null && announcesCuda(event)).toBe(expected);
  });

  it("is not any package that merely names NVIDIA", () => {
    expect(["nvidia-ml-py", "cuda-python-docs", "nvidia-modelopt", "pynvml"].filter(isCudaPackage)).toEqual([]);
    expect(["nvidia-nccl-cu13", "nvidia_cudnn_cu12", "cuda-bindings"].every(isCudaPackage)).toBe(true);
  });
});
