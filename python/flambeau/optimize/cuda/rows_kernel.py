"""The kernel of `rows.py`. Imported only where Triton is."""

import triton
import triton.language as tl


# Triton reads annotations as its own.
@triton.jit  # type: ignore[untyped-decorator]  # Triton has no types.
def code_row(x, codes, scales, width, most, least, IS_FLOAT: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore  # noqa: ANN001, ANN201, PLR0913, PLR0917
    """One row for each program."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    is_inside = columns < width
    values = tl.load(x + row * width + columns, mask=is_inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(values), 0), least) / most
    scaled = tl.minimum(tl.maximum(values / scale, -most), most)
    if not IS_FLOAT:
        # To the nearest; a cast alone would cut digits off.
        scaled = tl.where(scaled >= 0, scaled + 0.5, scaled - 0.5)
    tl.store(codes + row * width + columns, scaled.to(codes.dtype.element_ty), mask=is_inside)
    tl.store(scales + row, scale)
