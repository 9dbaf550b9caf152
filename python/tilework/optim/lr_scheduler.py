"""Learning rates that change with the epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tilework.optim.optimizer import Optimizer


class LRScheduler:
    """Sets each group's lr from its first value ("initial_lr") and the number of step() calls."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def factor(self, epoch: int, index: int) -> float:
        """What the initial rate of group `index` is multiplied by at `epoch`."""
        raise NotImplementedError

    def step(self) -> None:
        """Goes on to the next epoch."""
        self.last_epoch += 1
        self._apply()

    def _apply(self) -> None:
        for i, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self.base_lrs[i] * self.factor(self.last_epoch, i)

    def get_last_lr(self) -> list[float]:
        """The rates in force, a group each."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state of state_dict()."""
        self.last_epoch = state_dict["last_epoch"]
        self.base_lrs = list(state_dict["base_lrs"])
        self._apply()


class StepLR(LRScheduler):
    """The rate times gamma after every step_size epochs.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.StepLR(o, step_size=1, gamma=0.5)
    >>> s.step(); s.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int, index: int) -> float:
        """gamma to the number of whole periods."""
        return float(self.gamma ** (epoch // self.step_size))


class CosineAnnealingLR(LRScheduler):
    """From the initial rate to eta_min along half a cosine over T_max epochs, and back
    (Loshchilov and Hutter 2017).

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.CosineAnnealingLR(o, T_max=2)
    >>> s.step(); round(s.get_last_lr()[0], 6)
    0.5
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int, index: int) -> float:
        """The rate at `epoch`, over the initial one."""
        base = self.base_lrs[index]
        if not base:
            return 0.0
        share = (1.0 + math.cos(math.pi * epoch / self.T_max)) / 2.0
        return (self.eta_min + (base - self.eta_min) * share) / base


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(epoch); a list gives each group its own function.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch))
    >>> s.step(); s.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = lr_lambda if isinstance(lr_lambda, list) else [lr_lambda] * groups
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int, index: int) -> float:
        """The group's function at `epoch`."""
        return self.lr_lambdas[index](epoch)
