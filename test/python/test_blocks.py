"""Memory of bulk data: used again when nobody holds it, and never while somebody does."""

from __future__ import annotations

import numpy
import pytest
from flambeau import protocol
from flambeau.blocks import Blocks
from flambeau.placeholders import Attachment

SIZE = protocol.BLOCK_BYTES


def filled(blocks: Blocks, byte: int, size: int = SIZE) -> Attachment:
    attachment = Attachment(1, size, blocks)
    attachment.data[:] = bytes([byte]) * size
    return attachment


def test_a_block_that_nobody_holds_is_filled_again():
    blocks = Blocks()
    first = filled(blocks, 1)
    memory = first._memory
    assert first.whole()[0] == 1
    del first
    second = filled(blocks, 2)
    assert second._memory is memory
    assert second.whole() == b"\2" * SIZE


@pytest.mark.parametrize("hold", [Attachment.whole, lambda held: held.data, lambda held: numpy.frombuffer(held.data, "uint8")])
def test_what_somebody_still_holds_never_changes(hold):
    blocks = Blocks()
    first = filled(blocks, 1)
    held = hold(first)
    del first
    filled(blocks, 2)
    filled(blocks, 3)
    assert bytes(held) == b"\1" * SIZE


def test_bytes_that_are_let_go_later_are_simply_gone():
    blocks = Blocks()
    held = filled(blocks, 1).whole()
    del held
    assert blocks.take(SIZE).getvalue() == b"\0" * SIZE


def test_small_ones_and_more_than_the_bound_are_not_kept():
    blocks = Blocks()
    filled(blocks, 1, SIZE - 1)
    assert blocks._idle == []
    sizes = [protocol.KEPT_BYTES // 2 + extra for extra in (0, 1, 2)]
    for size in sizes:
        Attachment(1, size, blocks)
    assert [size for size, _ in blocks._idle] == sizes[2:]


def test_another_length_gets_memory_of_its_own():
    blocks = Blocks()
    filled(blocks, 1)
    assert len(filled(blocks, 2, SIZE + 1).whole()) == SIZE + 1
