"""A module compiled in this process, where no package can be built: torch's compiler without its tracer, for one kind of call.
Nothing of it outlives the process. Knows no store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..calls import tree
from ..cuda.package import Launches, attention
from .inputs import Inputs, given_arguments
from .package import Compiled
from .skeleton import skeleton


class Flat(nn.Module):
    """A module with tensors in and tensors out; everything else that it is called with is built in."""

    def __init__(self, owner: nn.Module, inputs: Inputs, given: Mapping[str, Any]) -> None:
        super().__init__()
        self.owner = owner
        self._names = inputs.names
        self._fill = skeleton([given[name] for name in inputs.names], "input")

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors of its output, in the order of `tree.leaves`."""
        return tuple(tree.tensors(self.owner(**dict(zip(self._names, self._fill(iter(tensors)), strict=True)))))


def compiled_here(owner: nn.Module, inputs: Inputs, args: Sequence[Any], kwargs: Mapping[str, Any], by: str | None) -> Compiled:
    """Compiles and runs it once, which takes minutes for a large module. `by` names the backend of attention; None is torch's choice."""
    given = given_arguments(inputs.parameters, args, kwargs)
    tensors = inputs.tensors(args, kwargs) or []
    with torch.inference_mode(False), torch.no_grad(), attention(by):
        exported = torch.export.export(Flat(owner, inputs, given), tuple(tensors), strict=False)
        run = torch.compile(exported.module(), fullgraph=True, dynamic=False)
        num_outputs = len(run(*tensors))
    return Compiled(Launches(lambda own: run(*own), tensors[0].device), num_outputs)
