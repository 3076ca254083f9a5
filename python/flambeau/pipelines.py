"""Step progress and cancel of diffusers' pipelines, and quiet bars, without a line in the app.

Patches diffusers and tqdm when user code imports them, whoever does; imports neither. Their facts: diffusers 0.42.1, of whose 299
pipelines 294 use `progress_bar` and 285 `scheduler.step`.
"""

from __future__ import annotations

import sys
from _weakref import ref

from flambeau import TYPE_CHECKING, context
from flambeau.callbacks import is_host_function
from flambeau.threads import get_ident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class StepBar:
    """What a pipeline takes for its tqdm bar: tells each step to the host, prints nothing, and ends a cancelled call at its next step."""

    def __init__(self, loops: Loops, pipeline: object, iterable: Iterable[Any] | None, total: int | None) -> None:
        self._loops = loops
        self._iterable = iterable
        self.total = total if total is not None or iterable is None else getattr(iterable, "__len__", lambda: None)()
        self.n = 0
        loops.enter(self, pipeline)

    def update(self, n: int = 1) -> None:
        """`n` steps are done."""
        self.n += int(n)
        context.progress(self.n, self.total)
        if self.total is not None and self.n >= self.total:
            self.close()
        context.raise_if_cancelled()

    def close(self) -> None:
        """The loop is over."""
        self._loops.leave(self)

    def __iter__(self) -> Iterator[Any]:
        try:
            for item in self._iterable or ():
                yield item
                self.update()
        finally:
            self.close()

    def __len__(self) -> int:
        return self.total or 0

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> StepBar:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Callable[..., None]:
        # set_description, set_postfix, refresh, write, …: all of them only paint.
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_args, **_kwargs: None


class Loops:
    """The denoising loops that run now, and the pipelines that a cancelled call leaves to be tidied up."""

    def __init__(self) -> None:
        self._bars: list[ref[StepBar]] = []
        self._pipelines: list[ref[Any]] = []
        # Calls of pipelines that the dispatcher is in; loops are also found in pipelines that user code calls.
        self.calls = 0
        self._hook: Any = None

    def enter(self, bar: StepBar, pipeline: object) -> None:
        """A loop begins."""
        self._bars.append(ref(bar))
        self.remember(pipeline)

    def remember(self, pipeline: object) -> None:
        """It is to be tidied up if the call is cancelled."""
        if not any(known() is pipeline for known in self._pipelines):
            self._pipelines = [known for known in self._pipelines if known() is not None] + [ref(pipeline)]

    def leave(self, bar: StepBar) -> None:
        """It ends; twice is fine."""
        self._bars = [known for known in self._bars if known() not in (None, bar)]

    @property
    def running(self) -> bool:
        """True inside a loop that has a bar."""
        return any(bar() is not None for bar in self._bars)

    def stop_at_next_module(self) -> bool:
        """Called in the signal handler: has torch raise before the next layer computes. True if a pipeline is running.

        Between two layers every context manager of torch and diffusers is in order; between any two bytecodes that is not so.
        """
        torch = sys.modules.get("torch")
        if torch is None or not (self.calls or self.running):
            return False
        if self._hook is None:
            main = get_ident()

            def raise_before_layer(_module: object, _inputs: object) -> None:
                if get_ident() == main:
                    context.raise_if_cancelled()

            self._hook = torch.nn.modules.module.register_module_forward_pre_hook(raise_before_layer)
        return True

    def settle(self) -> None:
        """After a cancelled call: the hook goes, and offloaded models leave the device."""
        from contextlib import suppress

        hook, self._hook = self._hook, None
        if hook is not None:
            hook.remove()
        self._bars = []
        pipelines, self._pipelines = self._pipelines, []
        for known in pipelines:
            free = getattr(known(), "maybe_free_model_hooks", None)
            if free is not None:
                with suppress(Exception):
                    free()


_loops = Loops()


def stop_at_next_module() -> bool:
    """See Loops."""
    return _loops.stop_at_next_module()


def settle_after_cancel() -> None:
    """See Loops."""
    _loops.settle()


def is_pipeline(function: object) -> bool:
    """True for pipelines of diffusers."""
    module = sys.modules.get("diffusers.pipelines.pipeline_utils")
    base = None if module is None else getattr(module, "DiffusionPipeline", None)
    return base is not None and isinstance(function, base)


class Watched:
    """Around a call of a pipeline: its scheduler's steps look at the cancel flag, and count where there is no progress bar."""

    def __init__(self, pipeline: object) -> None:
        self._pipeline = pipeline
        # Whose `step` is ours meanwhile.
        self._scheduler: Any = None

    def __enter__(self) -> None:
        _loops.remember(self._pipeline)
        _loops.calls += 1
        scheduler: Any = getattr(self._pipeline, "scheduler", None)
        step: Any = getattr(scheduler, "step", None)
        if step is not None and "step" not in vars(scheduler):
            scheduler.step = _counted(step, scheduler)
            self._scheduler = scheduler

    def __exit__(self, *_error: object) -> None:
        _loops.calls -= 1
        if self._scheduler is not None:
            vars(self._scheduler).pop("step", None)


def forgiving(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A step callback of the host's that returns nothing changes nothing: pipelines read the dict that it was given back from it."""
    callback: Any = kwargs.get("callback_on_step_end")
    if not is_host_function(callback):
        return kwargs

    def step_end(pipeline: Any, step: int, timestep: Any, given: dict[str, Any]) -> Any:
        answer = callback(pipeline, step, timestep, given)
        return given if answer is None else answer

    return {**kwargs, "callback_on_step_end": step_end}


def _counted(step: Callable[..., Any], scheduler: Any) -> Callable[..., Any]:
    from functools import wraps

    calls = 0

    @wraps(step)  # pipelines read its signature to learn whether it takes eta or a generator
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        context.raise_if_cancelled()
        result = step(*args, **kwargs)
        calls += 1
        order = max(1, int(getattr(scheduler, "order", 1)))
        if not _loops.running and calls % order == 0:
            timesteps = getattr(scheduler, "timesteps", None)
            total = None if timesteps is None else -(-len(timesteps) // order)
            context.progress(calls // order, total)
        return result

    return counted


def _patch_diffusers(module: ModuleType) -> None:
    def progress_bar(self: Any, iterable: Iterable[Any] | None = None, total: int | None = None) -> StepBar:
        return StepBar(_loops, self, iterable, total)

    module.DiffusionPipeline.progress_bar = progress_bar  # type: ignore[attr-defined]


class _Nowhere:
    """A file for bars: they are told as events."""

    encoding = "utf-8"

    def write(self, _text: str) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""

    def isatty(self) -> bool:
        """Bars that show themselves only on a terminal stay off."""
        return False


def _patch_tqdm(module: ModuleType) -> None:
    from functools import wraps

    bar: Any = module.tqdm  # type: ignore[attr-defined]
    make = bar.__init__

    @wraps(make)
    def make_quiet(self: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("file") is None and len(args) < 5:
            kwargs["file"] = _Nowhere()
        make(self, *args, **kwargs)

    def display(self: Any, *_args: Any, **_kwargs: Any) -> bool:
        stage = str(getattr(self, "desc", "") or "").rstrip(": .") or "loading"
        total = getattr(self, "total", None)
        told = (int(self.n), None if total is None else int(total), stage)
        if getattr(self, "_flambeau_told", None) != told:  # a bar paints its end twice
            self._flambeau_told = told
            context.progress(*told)
        return True

    bar.__init__ = make_quiet
    bar.display = display


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "diffusers.pipelines.pipeline_utils": _patch_diffusers,
    "tqdm.std": _patch_tqdm,
}


class PatchOnImport:
    """Asked first at every import; steps in for the modules above, and once each."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec that the other finders give, with the patch behind its loader."""
        if name not in PATCHES:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    _run_after(spec.loader, PATCHES[name])
                return spec  # type: ignore[no-any-return]
        return None


def _run_after(loader: Loader, patch: Callable[[ModuleType], None]) -> None:
    from contextlib import suppress

    execute = loader.exec_module

    def execute_and_patch(module: ModuleType) -> None:
        execute(module)
        with suppress(AttributeError):  # another version, without what we patch: then it works as it does without us
            patch(module)

    loader.exec_module = execute_and_patch  # type: ignore[method-assign]


def install() -> None:
    """At boot, before user code can import anything."""
    sys.meta_path.insert(0, PatchOnImport())
