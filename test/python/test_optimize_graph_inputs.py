"""What a package is handed and what comes back of it: any order of arguments, any container, nothing that it was not built for."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from flambeau.optimize.calls import tree
from flambeau.optimize.calls.guard import parameters_of
from flambeau.optimize.graph.inputs import Inputs
from flambeau.optimize.graph.skeleton import skeleton
from torch import Tensor, nn


class Takes(nn.Module):
    def forward(self, sample, timestep, states=None, *, scale=1.0, more=None):
        return sample


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass
class Output:
    sample: Any
    name: str = "a"


X, Y, Z = torch.zeros(2, 3), torch.ones(4), torch.full((5,), 2.0)
PARAMETERS = parameters_of(Takes())


@pytest.fixture
def inputs():
    return Inputs(PARAMETERS, (X, 5), {"states": {"a": Y, "b": [Z]}})


def test_the_same_call_written_otherwise_gives_the_same_tensors(inputs):
    first = inputs.tensors((X, 5), {"states": {"a": Y, "b": [Z]}})
    second = inputs.tensors((), {"states": {"a": Y, "b": [Z]}, "timestep": 5, "sample": X, "scale": 1.0})
    assert [id(tensor) for tensor in first] == [id(tensor) for tensor in second]
    assert sorted(map(id, first)) == sorted(map(id, (X, Y, Z)))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((X, 6), {}),
        ((X, 5.0), {}),
        ((X, True), {}),
        ((X, torch.tensor(5)), {}),
        ((X, 5), {"scale": 2.0}),
        ((X, 5), {"more": X}),
        ((X, 5), {"states": {"a": Y, "b": [Z, Z]}}),
        ((X, 5), {"states": {"a": Y, "b": []}}),
        ((X.double(), 5), {}),
        ((X.int(), 5), {}),
        ((X[:1], 5), {}),
        ((X[None], 5), {}),
        ((X.to(torch.complex64), 5), {}),
        ((nn.Parameter(X), 5), {}),
        ((None, 5), {}),
        (("a", 5), {}),
    ],
)
def test_a_call_with_anything_else_is_not_handed_over(inputs, args, kwargs):
    assert inputs.tensors(args, {"states": {"a": Y, "b": [Z]}, **kwargs}) is None


def test_a_tensor_laid_out_otherwise_is_handed_over_in_the_layout_it_was_built_for(inputs):
    x = torch.arange(6.0).reshape(3, 2).t()
    got = inputs.tensors((x, 5), {"states": {"a": Y[:1].expand(4), "b": [Z]}})
    assert got is not None
    assert [tensor.stride() for tensor in got if tensor.dim() == 2] == [(3, 1)]
    assert any(torch.equal(tensor, x) for tensor in got if tensor.dim() == 2)
    assert all(tensor.stride() == (1,) for tensor in got if tensor.dim() == 1)


def test_what_inputs_say_of_themselves_tells_them_apart():
    told = [
        Inputs(PARAMETERS, args, {}).describe()
        for args in ((X, 5), (X, 6), (X, 5.0), (X.double(), 5), (X[:1], 5), (torch.zeros(3, 2).t(), 5), (X, torch.tensor(5)))
    ]
    assert all(a != b for index, a in enumerate(told) for b in told[:index])
    assert told[0] == Inputs(PARAMETERS, (), {"timestep": 5, "sample": torch.ones(2, 3)}).describe()


@pytest.mark.parametrize(
    "value",
    [
        X,
        (X,),
        [X, (Y, Z)],
        {"a": X, "b": {"c": Y}},
        OrderedDict(b=X, a=Y),
        Pair(X, [Y]),
        Output((X, Y), "name"),
        (X, None, 5, "text", torch.float32),
        (X, X),
    ],
)
def test_an_output_is_made_again_of_other_tensors(value):
    tensors = [torch.full_like(tensor, 7.0) for tensor in tree.tensors(value)]
    made = skeleton(value)(iter(tensors))
    assert type(made) is type(value)
    assert [path for path, _ in tree.leaves(made, "output")] == [path for path, _ in tree.leaves(value, "output")]
    assert all(a is b for a, b in zip(tree.tensors(made), tensors, strict=True))
    plain = [leaf for _, leaf in tree.leaves(value, "output") if not isinstance(leaf, Tensor)]
    assert [leaf for _, leaf in tree.leaves(made, "output") if not isinstance(leaf, Tensor)] == plain


def test_outputs_of_diffusers_are_made_again_with_their_names():
    outputs = pytest.importorskip("diffusers.models.unets.unet_2d_condition")
    made = skeleton(outputs.UNet2DConditionOutput(sample=X))(iter([Y]))
    assert made.sample is Y
    assert made[0] is Y


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, (X, nn.ReLU())])
def test_an_output_that_cannot_be_made_again_is_refused(value):
    with pytest.raises(tree.NotPlainError):
        skeleton(value)
