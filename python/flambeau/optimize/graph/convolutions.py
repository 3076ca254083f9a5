"""The 3x3 convolutions of an exported module on the layers' C++ kernels, which are linked into its package. Knows the child's torch.

The compiler's own choice for them is a direct convolution: half of a small UNet's time, at two to three times the products.
"""

from __future__ import annotations

import math
import operator
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ..leaf.native import library
from ..leaf.native.layers import CHANNEL_STEP, best_tile, tiles_at_once
from ..limits import LIMITS

_NAME: Final = "flambeau_convolution"
_SCHEMA: Final = "(Tensor x, Tensor weight, Tensor bias, int out_channels, int tile, int tiles, int top, int left) -> Tensor"
_SHIM: Final = (
    "AOTITorchError aoti_torch_cpu_convolve(AtenTensorHandle x, AtenTensorHandle weight, AtenTensorHandle bias, "
    "int64_t out_channels, int64_t tile, int64_t tiles, int64_t top, int64_t left, AtenTensorHandle* made)"
)


@dataclass(frozen=True)
class _Place:
    """One call of a convolution in the graph."""

    node: torch.fx.Node
    weight: Tensor
    bias: Tensor | None
    padding: tuple[int, int]
    tile: int

    @property
    def bytes(self) -> int:
        """Of the packed weight."""
        return (self.tile + 2) ** 2 * self.weight.shape[0] * self.weight.shape[1] * 4


def swap_(module: torch.fx.GraphModule, directory: Path, num_threads: int) -> Mapping[str, Any]:
    """Has the module's convolutions computed by the kernels where those are faster; what the compiler is to be told of it.

    Builds into the directory. Raises NativeError where there is no compiler.
    """
    places = list(_affordable(_places(module)))
    if not places:
        return {}
    kernels = library.load(None, math.inf)
    _build(directory, num_threads)
    operator_ = _operator()
    for place in places:
        _swap_(module, place, kernels, operator_, num_threads)
    module.graph.eliminate_dead_code()
    _drop_unused_(module, places)
    module.recompile()
    os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, (str(directory), os.environ.get("LIBRARY_PATH"))))
    return {"aot_inductor.custom_ops_to_c_shims": {operator_: [_SHIM]}, "aot_inductor.custom_op_libs": [_NAME]}


def _affordable(places: Iterable[_Place]) -> Iterator[_Place]:
    """The smallest packed weights first: packed, they take more than the module's own."""
    left = LIMITS.package_tiles_bytes
    for place in sorted(places, key=lambda place: place.bytes):
        left -= place.bytes
        if left >= 0:
            yield place


def _places(module: torch.fx.GraphModule) -> Iterator[_Place]:
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in (torch.ops.aten.conv2d.default, torch.ops.aten.conv2d.padding):
            place = _place(module, node)
            if place is not None:
                yield place


def _place(module: torch.fx.GraphModule, node: Any) -> _Place | None:
    """None for what the kernels do not compute, or not faster."""
    given: tuple[Any, ...] = tuple(node.args)
    x, weight, bias, stride, padding, dilation, groups = given + _DEFAULTS[len(given) :]
    w, b, pad, out = _constant(module, weight), _constant(module, bias), _padding(padding), node.meta["val"].shape
    is_plain = _pair(stride) == _pair(dilation) == (1, 1) and groups == 1 and (b is None) == (bias is None)
    is_known = all(isinstance(size, int) for size in (*out, *x.meta["val"].shape)) and x.meta["val"].dim() == 4
    if w is None or pad is None or not is_plain or not is_known:
        return None
    if tuple(w.shape[2:]) != (3, 3) or w.dtype != torch.float32 or any(size % CHANNEL_STEP for size in w.shape[:2]):
        return None
    tile = best_tile(out[0], out[2], out[3])
    return _Place(node, w, b, pad, tile) if tile > 1 else None


# Of what a convolution's call may leave out: input, weight, bias, stride, padding, dilation, groups.
_DEFAULTS: Final[tuple[Any, ...]] = (None, None, None, 1, 0, 1, 1)


def _swap_(module: torch.fx.GraphModule, place: _Place, kernels: library.Library, operator_: Any, num_threads: int) -> None:
    node, weight = place.node, place.weight.detach().contiguous()
    out_channels, channels = weight.shape[:2]
    packed = torch.empty((place.tile + 2) ** 2, -(-out_channels // kernels.panel), channels, kernels.panel)
    kernels.pack_tiles[place.tile](weight.data_ptr(), packed.data_ptr(), out_channels, channels, 1)
    bias = torch.zeros(out_channels) if place.bias is None else place.bias.detach().contiguous()
    batch, _, height, width = node.meta["val"].shape
    total = batch * math.prod(-(-length // place.tile) for length in (height, width))
    tiles = tiles_at_once(total, channels + out_channels, num_threads)
    prefix = f"_tiles_{node.name}"
    module.register_buffer(f"{prefix}_weight", packed)
    module.register_buffer(f"{prefix}_bias", bias)
    graph, aten = module.graph, torch.ops.aten
    with graph.inserting_before(node):
        x_BHWC = graph.call_function(aten.permute.default, (node.args[0], [0, 2, 3, 1]))
        x_BHWC = graph.call_function(aten.contiguous.default, (x_BHWC,))
        values = (graph.get_attr(f"{prefix}_weight"), graph.get_attr(f"{prefix}_bias"))
        out_BHWC = graph.call_function(operator_, (x_BHWC, *values, out_channels, place.tile, tiles, *place.padding))
        out = graph.call_function(aten.permute.default, (out_BHWC, [0, 3, 1, 2]))
    node.replace_all_uses_with(out)
    graph.erase_node(node)


def _drop_unused_(module: torch.fx.GraphModule, places: list[_Place]) -> None:
    """The weights as they were: the package would hold them as well."""
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    swapped = {id(place.weight) for place in places} | {id(place.bias) for place in places}
    for name, tensor in [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]:
        if name not in used and id(tensor) in swapped:
            owner, _, own = name.rpartition(".")
            delattr(module.get_submodule(owner), own)


@cache
def _operator() -> Any:
    """What stands for the kernel while the module is compiled; only its output's shape is ever asked for."""
    torch.library.define("flambeau::convolve", _SCHEMA)

    def shape(x_BHWC: Tensor, weight: Tensor, bias: Tensor, out_channels: int, *sizes: int) -> Tensor:
        _, _, top, left = sizes
        return x_BHWC.new_empty(x_BHWC.shape[0], x_BHWC.shape[1] + 2 * top - 2, x_BHWC.shape[2] + 2 * left - 2, out_channels)

    torch.library.register_fake("flambeau::convolve", shape)
    return torch.ops.flambeau.convolve.default


def _build(directory: Path, num_threads: int) -> None:
    """The kernels as a static library."""
    recipe, made = library.recipe_here(), directory / f"{_NAME}.o"
    source = Path(__file__).parent / "convolution.cpp"
    # Hidden, what is linked into two packages stays apart.
    flags = (*recipe.flags, "-fvisibility=hidden", f"-DTHREADS={num_threads}", f"-I{Path(library.__file__).parent}")
    flags = (*flags, "-fopenmp") if num_threads > 1 else flags
    for command in ((recipe.compiler, *flags, "-c", "-o", made, source), ("ar", "rcs", directory / f"lib{_NAME}.a", made)):
        run = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise library.NativeError(f"{command[0]} ended with {run.returncode}: {(run.stderr.splitlines() or ['it said nothing'])[0]}")


def _constant(module: torch.fx.GraphModule, node: Any) -> Tensor | None:
    if not isinstance(node, torch.fx.Node) or node.op != "get_attr":
        return None
    found = reduce(getattr, str(node.target).split("."), module)
    return found if isinstance(found, Tensor) else None


def _padding(padding: Any) -> tuple[int, int] | None:
    if isinstance(padding, str):
        return {"same": (1, 1), "valid": (0, 0)}.get(padding)
    return _pair(padding)


def _pair(value: Any) -> tuple[int, int]:
    values = [value] * 2 if isinstance(value, int) else list(value)
    return (operator.index(values[0]), operator.index(values[-1]))
