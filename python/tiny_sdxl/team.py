"""One or several single-thread processes that train together: gradients are averaged over gloo."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from .plan import Plan


@dataclass(frozen=True)
class Team:
    """This process's place among the workers of a stage."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes checkpoints and progress."""
        return self.rank == 0

    def average_(self, grads: Iterable[Tensor]) -> None:
        """Replaces each gradient by its mean over the team."""
        if self.size == 1:
            return
        listed = list(grads)
        flat = torch.cat([grad.flatten() for grad in listed])
        dist.all_reduce(flat)
        flat /= self.size
        for grad, mean in zip(listed, torch.split(flat, [grad.numel() for grad in listed]), strict=True):
            grad.copy_(mean.view_as(grad))

    def wait(self) -> None:
        """Returns when every process has come this far."""
        if self.size > 1:
            dist.barrier()


Stage = Callable[[Plan, Team], None]


def run_team(stage: Stage, plan: Plan) -> None:
    """Runs a stage in plan.workers processes of one thread each: two threads in one process stall on a busy machine."""
    torch.set_num_threads(1)
    if plan.workers == 1:
        stage(plan, Team())
        return
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, (stage, plan, str(Path(folder) / "meeting")), nprocs=plan.workers)  # type: ignore[no-untyped-call]


def _work(rank: int, stage: Stage, plan: Plan, meeting: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=plan.workers)
    stage(plan, Team(rank, plan.workers))
    dist.destroy_process_group()
