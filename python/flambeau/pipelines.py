"""Step progress and cancel of diffusers' pipelines, without a line in the app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def watched(_function: object) -> Iterator[None]:
    """Around one call."""
    yield


def settle_after_cancel() -> None:
    """After a cancel."""
