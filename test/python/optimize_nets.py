"""Small modules, candidates and a clock for the optimizer's tests: with these, which of two is faster is no matter of luck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from flambeau.optimize.candidates import TABLE, Candidate, Kept
from flambeau.optimize.limits import LIMITS, Quality
from flambeau.optimize.registry import Registry
from flambeau.optimize.switch import Switch
from torch import nn

# Whatever is near enough is accepted, however slow: for tests of what happens then.
GENEROUS: dict[str, Any] = dict(
    min_gain=0, min_gain_of_one_pair=0, min_won=0, hopeless=0, max_pairs=1, min_pairs=1, sure_pairs=1, min_call_s=0
)


class Clock:
    """Time that passes only when a module says that it worked."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@dataclass(frozen=True)
class Bend:
    """While its switch is on, a Net costs and errs so."""

    switch: Switch
    cost_s: float
    error: float


class Net(nn.Module):
    """A convolution, a norm and a linear layer; takes `cost_s` on the clock, or whatever a candidate says."""

    def __init__(self, clock: Clock | None = None, cost_s: float = 0.1, channels: int = 8):
        super().__init__()
        self.clock = clock
        self.cost_s = cost_s
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.GroupNorm(2, channels)
        self.head = nn.Linear(channels, 4)
        # A candidate of a test puts its cost and its error here.
        self.bent: list[Bend] = []

    def __getstate__(self):
        # Copies and pickles of a net are to show what the optimizer leaves on them, not what a test does.
        return {**super().__getstate__(), "bent": [], "clock": None}

    def forward(self, x):
        bends = [bend for bend in self.bent if bend.switch.on]
        cost_s, error = (bends[-1].cost_s, bends[-1].error) if bends else (self.cost_s, 0.0)
        if self.clock is not None:
            self.clock.now_s += cost_s
        features = torch.relu(self.norm(self.conv(x)))
        return self.head(features.permute(0, 2, 3, 1)) * (1 + error)


class Denoiser(Net):
    """Called in a loop, as its argument says. `late_error` is what any candidate adds at timesteps below 10."""

    late_error = 0.0

    def forward(self, sample, timestep, return_dict=True):
        result = super().forward(sample) * (1 + timestep * 1e-3)
        if timestep < 10 and any(bend.switch.on for bend in self.bent):
            result = result * (1 + self.late_error)
        return {"sample": result} if return_dict else (result,)


class Autoencoder(nn.Module):
    """Its decode calls the parts and never its forward, as diffusers' autoencoders do."""

    def __init__(self, clock: Clock):
        super().__init__()
        self.encoder = Net(clock)
        self.decoder = Net(clock)
        self.first = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.decode(self.encoder(x).permute(0, 3, 1, 2)[:, :3])

    def decode(self, z):
        return self.decoder(self.first(z))


@dataclass(frozen=True, kw_only=True)
class Bending:
    """A candidate that makes a Net cost and err what the test says."""

    name: str = "bending"
    quality: Quality = "lossless"
    cost_s: float = 0.05
    error: float = 0.0
    why_not: str | None = None
    run: Callable[[], None] = field(default=lambda: None)

    def capability(self, layers, device):
        return self.why_not

    def apply_(self, layers, device, trial):
        self.run()
        return self.recall(layers, device, Kept())

    def recall(self, layers, device, kept):
        return Bent(layers.owner.bent, Bend(layers.switch, self.cost_s, self.error))


class Bent:
    def __init__(self, bent: list[Bend], value: Bend):
        self._bent = bent
        self._value = value

    def enable(self):
        if self._value not in self._bent:
            self._bent.append(self._value)

    def disable(self):
        if self._value in self._bent:
            self._bent.remove(self._value)

    def supersedes_(self, older: Any):
        return False

    def keep(self):
        return Kept()


def registry(*candidates: Candidate, clock: Clock | None = None, **limits: Any) -> Registry:
    """A registry whose CPU table holds these candidates."""
    means = {} if clock is None else {"clock": clock}
    return Registry(table={"cpu": candidates}, limits=replace(LIMITS, **limits), **means)


def kernels(name: str) -> Candidate:
    """The row of the CPU's table with this name."""
    return next(candidate for candidate in TABLE["cpu"] if candidate.name == name)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A real candidate of which the clock thinks well: for tests of what happens after it was accepted."""

    row: Candidate
    clock: Clock

    @property
    def name(self):
        return self.row.name

    @property
    def quality(self):
        return self.row.quality

    def capability(self, layers, device):
        return self.row.capability(layers, device)

    def apply_(self, layers, device, trial):
        return ChosenApplied(self.row.apply_(layers, device, trial), layers)

    def recall(self, layers, device, kept):
        return ChosenApplied(self.row.recall(layers, device, kept), layers)


class ChosenApplied:
    def __init__(self, applied, layers):
        self._applied = applied
        self._bent = Bent(layers.owner.bent, Bend(layers.switch, layers.owner.cost_s / 2, 0.0))

    def enable(self):
        self._applied.enable()
        self._bent.enable()

    def disable(self):
        self._applied.disable()
        self._bent.disable()

    def supersedes_(self, older):
        return False

    def keep(self):
        return self._applied.keep()


def accepted(row: str = "packed_convs", net: type[Net] = Net, **limits: Any) -> tuple[Net, Registry]:
    """A net for which this row of the real table was accepted on a first call of shape [1, 3, 8, 8]."""
    clock = Clock()
    module = net(clock).eval()
    made = registry(Chosen(row=kernels(row), clock=clock), clock=clock, **limits)
    made.optimize(module)
    with torch.no_grad():
        module(image())
    assert made.report(module).applied == (row,), made.report(module)
    return module, made


def image(seed: int = 0, side: int = 8, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))
