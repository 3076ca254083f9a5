"""Numbers in bulk and pixels: tensors and arrays → the wire and back, each element type exactly. Imports numpy and torch only if needed."""

from __future__ import annotations

import array
import sys

from flambeau import TYPE_CHECKING
from flambeau.placeholders import Array, Blob, NotSendable
from flambeau.protocol import INLINE_BYTES

if TYPE_CHECKING:
    from typing import Any

# What JavaScript has a typed array for; the names are numpy's.
DTYPES = frozenset(
    {"float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"},
)
TYPECODES = {"f": "float32", "d": "float64", "b": "int8", "B": "uint8", "h": "int16", "H": "uint16", "i": "int32", "I": "uint32"}
TYPECODES |= {"q": "int64", "Q": "uint64"}
# C's long is four bytes or eight.
TYPECODES |= {"l": f"int{8 * array.array('l').itemsize}", "L": f"uint{8 * array.array('L').itemsize}"}


def loaded(module: str, name: str) -> Any:
    """A class of a module that is imported already; an object of that class cannot exist otherwise."""
    return getattr(sys.modules.get(module), name, ())


def is_tensor(value: object) -> bool:
    """True for torch tensors."""
    return isinstance(value, loaded("torch", "Tensor"))


def is_ndarray(value: object) -> bool:
    """True for numpy arrays."""
    return isinstance(value, loaded("numpy", "ndarray"))


def to_wire(value: Any, dtype: str | None) -> Array:
    """A tensor or array as it is. Raises NotSendable when it is none, or its element type is not the one asked for."""
    if is_tensor(value):
        return _tensor(value, dtype)
    if is_ndarray(value):
        return _ndarray(value, dtype)
    if isinstance(value, array.array):
        name = TYPECODES.get(value.typecode, f"typecode {value.typecode}")
        _check(value, name, dtype)
        return Array(name, [len(value)], value.tobytes())
    if is_buffer(value):
        _check(value, "uint8", dtype)
        return Array("uint8", None, bytes_of(value))
    raise NotSendable(
        f"expected a tensor or an array, got {type(value).__module__}.{type(value).__qualname__}; use $value() for other data"
    )


def is_buffer(value: object) -> bool:
    """True for what holds bytes and nothing else."""
    return isinstance(value, (bytes, bytearray, memoryview, loaded("mmap", "mmap")))


def bytes_of(buffer: Any) -> bytes:
    """A copy, in order, whatever strides the buffer has."""
    return buffer[:] if isinstance(buffer, loaded("mmap", "mmap")) else bytes(buffer)


def _tensor_dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check(value: Any, came: str, asked: str | None) -> None:
    what = "tensor" if is_tensor(value) else "array"
    if came not in DTYPES:
        raise NotSendable(f"the {what} holds {came}, which has no typed array in JavaScript: {_way_out(value)}")
    if asked is not None and came != asked and not (came == "bool" and asked == "uint8"):
        way = (
            ".float()" if what == "tensor" and asked == "float32" else f".to(torch.{asked})" if what == "tensor" else f".astype({asked!r})"
        )
        raise NotSendable(f"the {what} holds {came}, asked for was {asked}: convert it first, with {way}")


def _way_out(value: Any) -> str:
    """What to write so that the elements become some that JavaScript has a typed array for."""
    if is_tensor(value):
        if value.is_complex():
            return "torch.view_as_real() gives its real and imaginary parts"
        return "convert it first, with .float()" if value.is_floating_point() else "convert it first, with .to(torch.int32)"
    return _ndarray_way_out(value.dtype) if is_ndarray(value) else "use $value()"


def _ndarray_way_out(dtype: Any) -> str:
    kind = dtype.kind
    if dtype.names:
        return f"take one of its fields, such as $item({dtype.names[0]!r})"
    if kind == "c":
        return f"its .view('float{4 * dtype.itemsize}') gives real and imaginary parts in turn"
    if kind in "fV":
        return f"convert it first, with .astype('float{64 if dtype.itemsize > 4 else 32}')"
    if kind in "Mm":
        return "convert it first, with .astype('int64')"
    return "use .tolist() and $value(), or .astype('float32') where it holds numbers"


def widened(value: Any) -> Array:
    """For deep copies: like `to_wire`, with floats that JavaScript has no array for as float32."""
    if is_tensor(value):
        return _tensor(value.float() if value.is_floating_point() and _tensor_dtype(value) not in DTYPES else value, None)
    return _ndarray(value.astype("float32") if value.dtype.name == "float16" else value, None)


def _tensor(tensor: Any, dtype: str | None) -> Array:
    import torch

    name = _tensor_dtype(tensor)
    for kind, holds, way in (
        ("nested", tensor.is_nested, "call .to_padded_tensor(0.0) first"),
        ("meta", tensor.device.type == "meta", "it has no data yet, load or initialise it"),
        ("quantized", tensor.is_quantized, "call .dequantize() first"),
        (str(tensor.layout), tensor.layout != torch.strided, "call .to_dense() first"),
    ):
        if holds:
            raise NotSendable(f"a {kind} tensor holds no plain numbers: {way}")
    _check(tensor, name, dtype)
    dense = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return Array(name, list(dense.shape), _own_bytes(dense.numpy(), shared=dense.data_ptr() == tensor.data_ptr()))


def _ndarray(value: Any, dtype: str | None) -> Array:
    import numpy

    if isinstance(value, loaded("numpy.ma", "MaskedArray")):
        raise NotSendable("a masked array would lose its mask: call .filled(value) first, or take its .data and its .mask")
    _check(value, value.dtype.name, dtype)
    dense = numpy.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).reshape(value.shape)
    return Array(value.dtype.name, list(value.shape), _own_bytes(dense, shared=numpy.may_share_memory(dense, value)))


def _own_bytes(dense: Any, *, shared: bool) -> bytes | memoryview:
    """The numbers as bytes that nobody else can change: an attachment leaves after the call has been answered."""
    if dense.nbytes <= INLINE_BYTES:
        return bytes(dense.tobytes())
    return memoryview((dense.copy() if shared else dense).reshape(-1)).cast("B")


def to_numpy(dtype: str, shape: list[int] | None, data: bytearray | memoryview) -> Any:
    """What the host sent as a typed array: a writable numpy array over the memory it arrived in; without numpy an `array.array`."""
    try:
        import numpy
    except ImportError:
        for typecode, name in TYPECODES.items():
            if name == dtype:
                made = array.array(typecode)
                made.frombytes(bytes(data))
                return made
        return data
    flat = numpy.frombuffer(data, dtype=dtype)
    return flat if shape is None else flat.reshape(shape)


def pixels(image: Any) -> dict[str, Any]:
    """A PIL image as 8-bit rows: grey, RGB or RGBA, whichever keeps what it shows."""
    if not isinstance(image, loaded("PIL.Image", "Image")):
        raise NotSendable(f"expected a PIL image, got {type(image).__module__}.{type(image).__qualname__}")
    mode = _pixel_mode(image)
    shown = image
    if image.mode.startswith("I;16"):
        # PIL clips 16-bit grey at 255; the upper byte is what a viewer shows.
        shown = image.convert("I").point(lambda level: level * (1 / 256))
    if shown.mode != mode:
        shown = shown.convert(mode)
    data = shown.tobytes() if image.width and image.height else b""
    return {"width": image.width, "height": image.height, "channels": len(mode) if mode != "L" else 1, "data": Blob(data)}


def _pixel_mode(image: Any) -> str:
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return "RGBA"
    return "L" if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16") else "RGB"
