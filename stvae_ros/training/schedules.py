"""Learning-rate schedules that count optimizer steps."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """Linear warm-up to the rate of the optimizer, then a cosine down to ``final`` times that rate, then constant.

    PyTorch's `SequentialLR` of `LinearLR` and `CosineAnnealingLR` would let the rate rise again after ``total`` steps.

    Args:
        optimizer: optimizer to schedule.
        total: steps until the rate is constant.
        warmup: steps of the warm-up.
        final: last rate, as a share of the rate of the optimizer.
    """

    def __init__(self, optimizer: Optimizer, total: int, warmup: int = 100, final: float = 0.01) -> None:
        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = min((step - warmup) / max(total - warmup, 1), 1.0)
            return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

        super().__init__(optimizer, factor)
