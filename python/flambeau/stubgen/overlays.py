"""By hand: entry points whose signatures say nothing. A row names a base class and what is known of it and its subclasses.

No library is imported here: the class that is met has been imported, and what it needs with it.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .diffusion import AUTO, auto_pipeline, from_config, pictures, pipeline
from .kinds import Instance, Kind, Scalar, Self, alternatives, either
from .known import documented_result, instance_of, is_a, movable, own
from .notes import is_closed, keywords_of
from .signatures import Method, Parameter, Signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from .classes import ClassShape

_REPO = Scalar("str")


def overlaid(shape: ClassShape) -> ClassShape:
    """The same shape, corrected by every row that fits its class."""
    for base, correct in _ROWS:
        if is_a(shape.of, base):
            correct(shape)
    for members in (shape.instance, shape.itself):
        for name, member in members.items():
            if isinstance(member, Method) and any(one.form == "keywords" for one in member.signatures[0].parameters):
                members[name] = _closed(member, own(shape, name))
    for name in ("__call__", "forward"):
        call = shape.instance.get(name)
        if isinstance(call, Method):
            shape.instance[name] = _without_tuples(call)
    return shape


def _closed(method: Method, function: Any) -> Method:
    """With the keywords that the source takes out of `**kwargs`, where that is all it does with them."""
    if len(method.signatures) != 1 or function is None or not is_closed(function):
        return method
    [signature] = method.signatures
    known = {one.name for one in signature.parameters}
    more = [one for name, one in keywords_of(function).items() if name not in known]
    left = [one for one in signature.parameters if one.form != "keywords"]
    return replace(method, signatures=(replace(signature, parameters=(*left, *more)),))


# --- calls that return either an object with names or a tuple


def _without_tuples(method: Method) -> Method:
    """With `return_dict` left as it is, the result is the object with names."""
    return replace(method, signatures=tuple(_one_result(one) for one in method.signatures))


def _one_result(signature: Signature) -> Signature:
    if not any(one.name == "return_dict" for one in signature.parameters):
        return signature
    objects = [kind for kind in alternatives(signature.result) if isinstance(kind, Instance)]
    outputs = [kind for kind in objects if kind.of.__name__ != "Tensor"]
    return replace(signature, result=either(outputs or objects) if objects else signature.result)


# --- torch


def _module(shape: ClassShape) -> None:
    """A module is called, and `forward` says with what."""
    forward = shape.instance.get("forward")
    if isinstance(forward, Method) and inspect.isfunction(own(shape, "forward")) and shape.of.__name__ != "Module":
        shape.instance["__call__"] = documented_result(shape, "forward", forward)
        shape.instance["forward"] = shape.instance["__call__"]
    if "to" in shape.instance:
        shape.instance["to"] = movable(shape)


# --- transformers


def _tokenizer(shape: ClassShape) -> None:
    _loads(shape, instance_of("transformers.PreTrainedTokenizerBase", "transformers.tokenization_utils_base.PreTrainedTokenizerBase"))


def _loads(shape: ClassShape, result: Kind) -> None:
    method = shape.itself.get("from_pretrained")
    if isinstance(method, Method):
        model = Parameter("pretrained_model_name_or_path", "position", _REPO, True)
        others = tuple(one for one in method.signatures[0].parameters if one.form in ("keyword", "keywords"))
        documented = keywords_of(own(shape, "from_pretrained"))
        for one in others:
            documented.setdefault(one.name, one)
        shape.itself["from_pretrained"] = Method((Signature((model, *documented.values()), result),), method.summary)


def _loads_itself(shape: ClassShape) -> None:
    _loads(shape, Self())


def _generates(shape: ClassShape) -> None:
    """`generate` returns token ids unless `return_dict_in_generate` asks for more."""
    method = shape.instance.get("generate")
    if isinstance(method, Method):
        tensor = instance_of("torch.Tensor")
        shape.instance["generate"] = replace(method, signatures=tuple(replace(one, result=tensor) for one in method.signatures))


_ROWS: list[tuple[str, Callable[[ClassShape], None]]] = [
    ("torch.nn.modules.module.Module", _module),
    ("diffusers.configuration_utils.ConfigMixin", from_config),
    ("diffusers.pipelines.pipeline_utils.DiffusionPipeline", pipeline),
    ("diffusers.models.modeling_utils.ModelMixin", _loads_itself),
    ("diffusers.schedulers.scheduling_utils.SchedulerMixin", _loads_itself),
    ("diffusers.utils.outputs.BaseOutput", pictures),
    *((f"diffusers.pipelines.auto_pipeline.{name}", auto_pipeline) for name in AUTO),
    ("transformers.models.auto.tokenization_auto.AutoTokenizer", _tokenizer),
    ("transformers.modeling_utils.PreTrainedModel", _loads_itself),
    ("transformers.tokenization_utils_base.PreTrainedTokenizerBase", _loads_itself),
    ("transformers.generation.utils.GenerationMixin", _generates),
]
