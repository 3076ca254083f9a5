"""Numbers in bulk and pixels: tensors and arrays → the wire and back, each element type exactly. Imports numpy and torch only if needed."""

from __future__ import annotations

import array
import sys
from typing import Any

from flambeau.placeholders import Array, Blob, NotSendable
from flambeau.protocol import INLINE_BYTES

# What JavaScript has a typed array for; the names are numpy's.
DTYPES = frozenset(
    {"float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"},
)
TYPECODES = {"f": "float32", "d": "float64", "b": "int8", "B": "uint8", "h": "int16", "H": "uint16", "i": "int32", "I": "uint32"}
TYPECODES |= {"q": "int64", "Q": "uint64"}


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
        _check(_tensor_dtype(value), dtype, "tensor")
        return _tensor(value)
    if is_ndarray(value):
        _check(value.dtype.name, dtype, "array")
        return _ndarray(value)
    if isinstance(value, array.array):
        name = TYPECODES.get(value.typecode, f"typecode {value.typecode}")
        _check(name, dtype, "array")
        return Array(name, [len(value)], value.tobytes())
    if isinstance(value, (bytes, bytearray, memoryview)):
        _check("uint8", dtype, "buffer")
        return Array("uint8", None, bytes(value))
    raise NotSendable(
        f"expected a tensor or an array, got {type(value).__module__}.{type(value).__qualname__}; use $value() for other data"
    )


def _tensor_dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check(came: str, asked: str | None, what: str) -> None:
    if asked is not None and came != asked and not (came == "bool" and asked == "uint8"):
        convert = f".to(torch.{asked})" if what == "tensor" else f".astype({asked!r})"
        if what == "tensor" and asked == "float32":
            convert = ".float()"
        raise NotSendable(f"the {what} holds {came}, asked for was {asked}: convert it first, with {convert}")
    if came not in DTYPES:
        raise NotSendable(f"the {what} holds {came}, which has no typed array in JavaScript: convert it first, for example with .float()")


def widened(value: Any) -> Array:
    """For deep copies: like `to_wire`, with floats that JavaScript has no array for as float32."""
    if is_tensor(value):
        return _tensor(value.float() if value.is_floating_point() and _tensor_dtype(value) not in DTYPES else value)
    return _ndarray(value.astype("float32") if value.dtype.name == "float16" else value)


def _tensor(tensor: Any) -> Array:
    import torch

    name = _tensor_dtype(tensor)
    if name not in DTYPES:
        raise NotSendable(f"a tensor of {name} has no typed array in JavaScript: convert it first")
    if tensor.device.type == "meta" or tensor.layout != torch.strided or tensor.is_quantized:
        kind = "meta" if tensor.device.type == "meta" else "quantized" if tensor.is_quantized else str(tensor.layout)
        raise NotSendable(f"a {kind} tensor holds no plain numbers: materialise it first (.dense(), .dequantize())")
    dense = tensor.detach().cpu().contiguous()
    return Array(name, list(dense.shape), _own_bytes(dense.numpy(), shared=dense.data_ptr() == tensor.data_ptr()))


def _ndarray(value: Any) -> Array:
    import numpy

    if value.dtype.name not in DTYPES:
        raise NotSendable(f"an array of {value.dtype} has no typed array in JavaScript: convert it first, with .astype('float32')")
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
