"""The Python half as a package of its own: built, installed into a fresh environment, used in a script. Nothing is downloaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELD = {".py", ".cpp", ".h"}

SCRIPT = """
import sys, torch
from flambeau.optimize import optimize, report

module = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU()).eval()
x = torch.randn(2, 32)
with torch.no_grad():
    before = module(x)
    assert optimize(module, quality="lossless", store=False) is module
    after = module(x)
assert torch.allclose(before, after, atol=1e-5)
assert report(module).state in ("done", "unchanged"), report(module)
assert "msgpack" not in sys.modules, "the optimizer stands alone"
print(sys.modules["flambeau.optimize"].__file__)
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: a build leaves files beside its sources."""
    setuptools, pip = pytest.importorskip("setuptools"), pytest.importorskip("pip")
    if int(version(setuptools.__name__).split(".")[0]) < 77:
        pytest.skip("building needs setuptools 77 or later")
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "python" / "flambeau", source / "python" / "flambeau", ignore=shutil.ignore_patterns("__pycache__"))
    build = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "-w", wheels)
    run(sys.executable, "-m", pip.__name__, "wheel", *build, source, cwd=source)
    [made] = wheels.glob("*.whl")
    return made


def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {path.relative_to(ROOT / "python").as_posix() for path in (ROOT / "python" / "flambeau").rglob("*") if path.suffix in HELD}
    assert held == sources


def test_a_script_in_a_fresh_environment_optimizes_a_module(wheel, tmp_path):
    torch = pytest.importorskip("torch")
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # torch is lent, as installing it again would need the network.
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).strip()
    Path(site, "lent.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    assert Path(run(python, tmp_path / "script.py", cwd=tmp_path).strip()).is_relative_to(folder)
