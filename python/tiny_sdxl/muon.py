"""Muon (orthogonalised momentum) for weight matrices and convolutions, AdamW for the rest; both under one learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_ROUNDS = 5
SMALLEST_SIDE = 8
KEPT_FOR_ADAMW = ("embedding", "conv_in", "conv_out", "quant_conv")


@dataclass(frozen=True)
class Rates:
    """Learning rate of Muon, of AdamW relative to it, momentum, and weight decay of the matrices."""

    muon: float
    adamw_share: float = 1.0
    momentum: float = 0.95
    decay: float = 1e-3


class Muon:
    """One optimizer over named parameters; matrices of one shape are orthogonalised together."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], rates: Rates) -> None:
        self.rates = rates
        self._matrices: dict[tuple[int, int], list[nn.Parameter]] = {}
        others: list[nn.Parameter] = []
        for name, weight in named:
            shape = _matrix_shape(name, weight)
            (others if shape is None else self._matrices.setdefault(shape, [])).append(weight)
        self._momenta = [torch.zeros_like(weight) for group in self._matrices.values() for weight in group]
        self._adamw = torch.optim.AdamW(others, lr=rates.muon * rates.adamw_share, betas=(0.9, 0.98), weight_decay=0.0)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update with every rate multiplied by scale."""
        for group in self._adamw.param_groups:
            group["lr"] = self.rates.muon * self.rates.adamw_share * scale
        self._adamw.step()
        start = 0
        for weights in self._matrices.values():
            self._step_matrices(weights, self._momenta[start : start + len(weights)], self.rates.muon * scale)
            start += len(weights)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"momenta": self._momenta, "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a checkpoint."""
        for mine, saved in zip(self._momenta, state["momenta"], strict=True):
            mine.copy_(saved)
        self._adamw.load_state_dict(state["adamw"])

    def _step_matrices(self, weights: list[nn.Parameter], momenta: list[Tensor], rate: float) -> None:
        live = [(weight, momentum, weight.grad) for weight, momentum in zip(weights, momenta, strict=True) if weight.grad is not None]
        if not live:
            return
        wide = []
        for _, momentum, grad in live:
            momentum.lerp_(grad, 1 - self.rates.momentum)
            update = grad.lerp(momentum, self.rates.momentum).flatten(1)
            wide.append(update if update.shape[0] <= update.shape[1] else update.T)
        # Scaling by the longer side gives the update the size that AdamW's would have, so one rate fits both.
        updates = orthogonalised(torch.stack(wide)) * (0.2 * wide[0].shape[1] ** 0.5)
        for (weight, _, _), update in zip(live, updates, strict=True):
            turned = update if weight.shape[0] == update.shape[0] and weight[0].numel() == update.shape[1] else update.T
            weight.mul_(1 - rate * self.rates.decay).add_(turned.reshape(weight.shape), alpha=-rate)


def orthogonalised(x_BMN: Tensor) -> Tensor:
    """The nearest matrices whose singular values are all about 1, by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x_BMN = x_BMN / (x_BMN.flatten(1).norm(dim=1)[:, None, None] + 1e-9)
    for _ in range(NEWTON_SCHULZ_ROUNDS):
        gram = x_BMN @ x_BMN.mT
        x_BMN = a * x_BMN + (b * gram + c * gram @ gram) @ x_BMN
    return x_BMN


def _matrix_shape(name: str, weight: nn.Parameter) -> tuple[int, int] | None:
    """(short side, long side) of a weight that Muon takes, None for one that AdamW takes."""
    if weight.ndim < 2 or any(part in name for part in KEPT_FOR_ADAMW):
        return None
    short, long = sorted((weight.shape[0], weight[0].numel()))
    return (short, long) if short >= SMALLEST_SIDE else None
