"""By hand, for diffusers: pipelines load whatever their model names, and take what their parts are by keyword."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from .attributes import Attribute
from .kinds import NONE, UNKNOWN, Container, Instance, Kind, Scalar, Self, alternatives, either, without
from .known import class_named, documented_result, instance_of, is_a, movable, parameter
from .notes import keywords_of
from .signatures import Method, Parameter, Signature, method_of

if TYPE_CHECKING:
    from .classes import ClassShape


def components(pipeline: type) -> dict[str, Kind]:
    """What a pipeline is made of, as its `__init__` says: what reading gives."""
    init = method_of(pipeline.__init__, {}, is_bound=True)  # type: ignore[misc]
    return {one.name: one.kind for one in init.signatures[0].parameters if one.form in ("either", "keyword")}


def _component(kind: Kind) -> Kind:
    """Schedulers are annotated with an enum of their names; which one it is, the model says."""
    return UNKNOWN if any(_is_scheduler(one) for one in alternatives(kind)) else kind


def _is_scheduler(kind: Kind) -> bool:
    return isinstance(kind, Instance) and kind.of.__name__ in ("KarrasDiffusionSchedulers", "SchedulerMixin")


def accepted(kind: Kind) -> Kind:
    """What may take a component's place: another model, another scheduler, or nothing."""
    places: list[Kind] = [NONE]
    for one in alternatives(kind):
        if isinstance(one, Instance) and is_a(one.of, "torch.nn.modules.module.Module"):
            places.append(instance_of("torch.nn.modules.module.Module"))
        elif _is_scheduler(one) or (isinstance(one, Instance) and is_a(one.of, "diffusers.schedulers.scheduling_utils.SchedulerMixin")):
            places.append(instance_of("diffusers.schedulers.scheduling_utils.SchedulerMixin"))
        else:
            places.append(UNKNOWN if isinstance(one, Instance) else one)
    return either(places)


def pipeline(shape: ClassShape) -> None:
    cls = shape.of
    merged: list[type] = vars(cls).get("merges", [])
    parts = _merged_components(merged) if merged else components(cls) if "__init__" in vars(cls) else {}
    for name, kind in parts.items():
        if merged or name in shape.instance:
            shape.instance[name] = Attribute(_component(kind), accepted(kind))
    if merged:
        shape.instance["__call__"] = _merged_call(merged)
        shape.instance.pop("merges", None)
    call = shape.instance.get("__call__")
    if isinstance(call, Method) and not merged:
        shape.instance["__call__"] = documented_result(shape, "__call__", call)
    if "to" in shape.instance:
        shape.instance["to"] = movable(shape)
    if "__init__" in vars(cls) or "from_pretrained" in shape.itself:
        is_base = cls.__name__ == "DiffusionPipeline"
        known = _every_component(cls) if is_base else components(cls)
        # Which class comes out of the base's is written in the model, and not known before it is there.
        shape.itself["from_pretrained"] = _from_pretrained(cls, known, UNKNOWN if is_base else Self())


def _every_component(base: type) -> dict[str, Kind]:
    waiting, found = [base], []
    while waiting:
        waiting += (cls := waiting.pop()).__subclasses__()
        if cls.__module__.startswith("diffusers.") and "__init__" in vars(cls):
            found.append(cls)
    return _merged_components(sorted(found, key=lambda one: (one.__module__, one.__name__)))


def _from_pretrained(cls: type, parts: dict[str, Kind], result: Kind) -> Method:
    base = class_named("diffusers.DiffusionPipeline")
    functions = [vars(one)["from_pretrained"] for one in (cls, base) if one is not None and "from_pretrained" in vars(one)]
    keywords = keywords_of(*functions)
    if "dtype" in keywords:
        keywords["torch_dtype"] = replace(keywords["dtype"], name="torch_dtype")
    keywords = {name: replace(one, group="diffusers.PipelineLoading") for name, one in keywords.items()}
    for name, kind in parts.items():
        keywords.setdefault(name, parameter(name, accepted(kind)))
    model = Parameter("pretrained_model_name_or_path", "position", Scalar("str"), True)
    summary = method_of(functions[0].__func__, {}, is_bound=True).summary
    return Method((Signature((model, *keywords.values()), result),), summary)


AUTO = {
    "AutoPipelineForText2Image": "AUTO_TEXT2IMAGE_PIPELINES_MAPPING",
    "AutoPipelineForImage2Image": "AUTO_IMAGE2IMAGE_PIPELINES_MAPPING",
    "AutoPipelineForInpainting": "AUTO_INPAINT_PIPELINES_MAPPING",
}


def auto_pipeline(shape: ClassShape) -> None:
    """One of many pipelines comes out: it takes what any of them takes, and has what any of them has."""
    mapping = getattr(sys.modules[shape.of.__module__], AUTO.get(shape.of.__name__, ""), None)
    base = class_named("diffusers.DiffusionPipeline")
    if not isinstance(mapping, dict) or base is None:
        return
    pipelines = list(dict.fromkeys(mapping.values()))
    name = shape.of.__name__.replace("AutoPipelineFor", "Any") + "Pipeline"
    doc = f"What {shape.of.__name__} loads: one of {len(pipelines)} pipelines, with the parts and keywords of any of them."
    result = Instance(type(name, (base,), {"__module__": "diffusers", "__doc__": doc, "merges": pipelines, "loaded_by": shape.of}))
    method = _from_pretrained(shape.of, _merged_components(pipelines), result)
    shape.itself["from_pretrained"] = method
    if "from_pipe" in shape.itself:
        pipe = Parameter("pipeline", "position", Instance(base), True)
        keywords = tuple(parameter(part, accepted(kind)) for part, kind in _merged_components(pipelines).items())
        shape.itself["from_pipe"] = Method((Signature((pipe, *keywords), result),))


def _merged_components(pipelines: list[type]) -> dict[str, Kind]:
    found: dict[str, list[Kind]] = {}
    for pipeline in pipelines:
        for name, kind in components(pipeline).items():
            found.setdefault(name, []).append(kind)
    return {name: either(without(kind, type(NONE)) if len(kinds) > 1 else kind for kind in kinds) for name, kinds in sorted(found.items())}


def _merged_call(pipelines: list[type]) -> Method:
    found: dict[str, list[Parameter]] = {}
    summary = ""
    for pipeline in pipelines:
        method = method_of(pipeline.__call__, {}, is_bound=True)  # type: ignore[operator]
        summary = summary or method.summary
        for one in method.signatures[0].parameters:
            if one.form in ("either", "keyword"):
                found.setdefault(one.name, []).append(one)
    merged = [
        Parameter(name, "keyword", either([NONE, *(one.kind for one in every)]), False, next((one.note for one in every if one.note), ""))
        for name, every in found.items()
    ]
    prompt = tuple(replace(one, form="either") for one in merged if one.name == "prompt")
    rest = tuple(one for one in merged if one.name != "prompt")
    return Method((Signature((*prompt, *rest), instance_of("diffusers.ImagePipelineOutput")),), summary)


def from_config(shape: ClassShape) -> None:
    """`from_config(config, **kwargs)`: the keywords are those of `__init__`."""
    init = shape.itself.get("__init__")
    if isinstance(init, Method) and not is_a(shape.of, "diffusers.pipelines.pipeline_utils.DiffusionPipeline"):
        keywords = tuple(
            replace(one, form="keyword", is_required=False) for one in init.signatures[0].parameters if one.form in ("either", "keyword")
        )
        config = Parameter("config", "either", UNKNOWN, True)
        shape.itself["from_config"] = Method((Signature((config, *keywords), Self()),))


def pictures(shape: ClassShape) -> None:
    """Pictures are a list of PIL images unless `output_type` asks for something else."""
    images = shape.instance.get("images")
    lists = [one for one in alternatives(images.kind) if isinstance(one, Container)] if isinstance(images, Attribute) else []
    pictures = [one for one in lists if any(isinstance(item, Instance) and item.of.__name__ == "Image" for item in one.of)]
    if pictures:
        shape.instance["images"] = Attribute(pictures[0], pictures[0])
