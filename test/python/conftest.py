"""One real worker for the tests of a file; a test that ends or bends its worker starts its own."""

from __future__ import annotations

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
