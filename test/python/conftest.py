"""One real worker for the tests of a file; a test that ends or bends its worker starts its own."""

from __future__ import annotations

import pytest
from worker_host import Worker


@pytest.fixture(scope="module")
def worker():
    with Worker() as started:
        started.hello()
        yield started
