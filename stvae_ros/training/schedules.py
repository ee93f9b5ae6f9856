"""Learning-rate schedules that count optimizer steps."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """From 0 up to the optimizer's rate in a straight line, then down to ``final`` times that rate along a cosine.

    warmup and total are in optimizer steps, not epochs.
    """

    def __init__(self, optimizer: Optimizer, total: int, warmup: int = 100, final: float = 0.01) -> None:
        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = min((step - warmup) / max(total - warmup, 1), 1.0)
            return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

        super().__init__(optimizer, factor)
