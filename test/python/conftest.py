"""One real worker for the tests of a file; a test that ends or bends its worker starts its own."""

from __future__ import annotations

import shutil

import pytest
from worker_host import Worker


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Nothing is found in, or left in, the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def worker():
    with Worker() as started:
        started.hello()
        yield started


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A store that holds a compiled package, and the report of the process that built it. Some twenty seconds of a compiler, once."""
    from optimize_packages import build_in

    directory = tmp_path_factory.mktemp("built") / "store"
    return directory, build_in(directory)


@pytest.fixture
def store(built, tmp_path):
    """A copy of that store."""
    shutil.copytree(built[0], tmp_path / "store")
    (tmp_path / "store").chmod(0o700)
    return tmp_path / "store"
