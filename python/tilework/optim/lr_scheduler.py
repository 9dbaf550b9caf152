"""Learning rates that change with the epoch, by PyTorch's names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tilework.errors import error
from tilework.optim.cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from tilework.optim.optimizer import Optimizer
from tilework.optim.plateau import ReduceLROnPlateau
from tilework.optim.schedule import LRScheduler, attributes, restore
from tilework.optim.sequences import ChainedScheduler, SequentialLR

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


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

    def get_lr(self) -> list[float]:
        """The rates times gamma at the end of a period, as they are within it."""
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._rates()
        return [rate * self.gamma for rate in self._rates()]

    def _closed_form(self) -> list[float]:
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


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

    def _height(self, epoch: int) -> float:
        return 1.0 + math.cos(math.pi * epoch / self.T_max)

    def get_lr(self) -> list[float]:
        """The rates' distances from eta_min, scaled from one height of the cosine to the next."""
        low, epoch, rates = self.eta_min, self.last_epoch, self._rates()
        if self._is_initial:
            return rates
        if self._step_count == 1 and epoch > 0:
            return [low + (base - low) * self._height(epoch) / 2 for base in self.base_lrs]
        if (epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # up from 0, which no factor leaves
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [
                rate + (base - low) * rise for rate, base in zip(rates, self.base_lrs, strict=True)
            ]
        factor = self._height(epoch) / self._height(epoch - 1)
        return [factor * (rate - low) + low for rate in rates]

    def _closed_form(self) -> list[float]:
        part = self._height(self.last_epoch) / 2
        return [self.eta_min + (base - self.eta_min) * part for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """The rate times gamma at each of the epochs `milestones`, once for each time it is named.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.MultiStepLR(o, milestones=[1], gamma=0.5)
    >>> s.step(); s.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates times gamma at a milestone, as they are between."""
        times = self.milestones.get(self.last_epoch, 0)
        return [rate * self.gamma**times if times else rate for rate in self._rates()]

    def _closed_form(self) -> list[float]:
        passed = sum(n for epoch, n in self.milestones.items() if epoch <= self.last_epoch)
        return [base * self.gamma**passed for base in self.base_lrs]


class ExponentialLR(LRScheduler):
    """The rate times gamma after every epoch.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.ExponentialLR(o, gamma=0.5)
    >>> s.step(); s.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates times gamma."""
        rates = self._rates()
        return rates if self._is_initial else [rate * self.gamma for rate in rates]

    def _closed_form(self) -> list[float]:
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


class ConstantLR(LRScheduler):
    """The rate times `factor` until epoch `total_iters`. ValueError on a factor outside of [0, 1].

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> optim.lr_scheduler.ConstantLR(o, factor=0.5).get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        _need_part("ConstantLR", "factor", factor)
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates times the factor at the first epoch, and back at the last."""
        rates = self._rates()
        if self.last_epoch == 0:
            return [rate * self.factor for rate in rates]
        if self.last_epoch != self.total_iters:
            return rates
        return [rate * (1.0 / self.factor) for rate in rates]

    def _closed_form(self) -> list[float]:
        factor = 1.0 if self.last_epoch >= self.total_iters else self.factor
        return [base * factor for base in self.base_lrs]


class LinearLR(LRScheduler):
    """The rate times a factor that goes from start_factor to end_factor over `total_iters` epochs:
    the warm-up that many begin with. ValueError on factors outside of [0, 1], or a start of 0.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.LinearLR(o, start_factor=0.5, total_iters=2)
    >>> s.step(); s.get_last_lr()
    [0.75]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0,
        total_iters: int = 5, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        _need_part("LinearLR", "start_factor", start_factor, above=True)
        _need_part("LinearLR", "end_factor", end_factor)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates from one factor to the next."""
        rates, start = self._rates(), self.start_factor
        if self.last_epoch == 0:
            return [rate * start for rate in rates]
        if self._is_initial or self.last_epoch > self.total_iters:
            return rates
        rise = self.end_factor - start
        factor = 1.0 + rise / (self.total_iters * start + (self.last_epoch - 1) * rise)
        return [rate * factor for rate in rates]

    def _closed_form(self) -> list[float]:
        rise = self.end_factor - self.start_factor
        part = min(self.total_iters, self.last_epoch) / self.total_iters
        return [base * (self.start_factor + rise * part) for base in self.base_lrs]


def _need_part(op: str, name: str, value: float, above: bool = False) -> None:
    """ValueError on a factor that is not in [0, 1], or not in (0, 1]."""
    if not 0 <= value <= 1 or (above and value == 0):
        limits = "(0, 1]" if above else "[0, 1]"
        raise error(ValueError, op, f"{name} in {limits}", value, "choose one in range")


class PolynomialLR(LRScheduler):
    """The rate times (1 - epoch / total_iters) to a power: to 0 at epoch `total_iters`.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.PolynomialLR(o, total_iters=4)
    >>> s.step(); s.get_last_lr()
    [0.75]
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates from one height of the polynomial to the next."""
        rates, epoch = self._rates(), self.last_epoch
        if self._is_initial or epoch > self.total_iters:
            return rates
        now, before = (1.0 - e / self.total_iters for e in (epoch, epoch - 1))
        return [rate * (now / before) ** self.power for rate in rates]

    def _closed_form(self) -> list[float]:
        left = 1.0 - min(self.total_iters, self.last_epoch) / self.total_iters
        return [base * left**self.power for base in self.base_lrs]


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(epoch); a list gives each group its own function.

    ValueError where the list is not one function a group.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch))
    >>> s.step(); s.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        every = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(every) != groups:
            raise error(
                ValueError, "LambdaLR", f"a function for each of {groups} groups", len(every),
                "pass one function for all",
            )  # fmt: skip
        self.lr_lambdas: list[Any] = every
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Each initial rate times its group's function at this epoch."""
        return [
            base * function(self.last_epoch)
            for base, function in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands; of the functions, the attributes of those that are objects."""
        return {**super().state_dict(), "lr_lambdas": [attributes(f) for f in self.lr_lambdas]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state of state_dict(), which leaves the optimiser's rates as they are."""
        rest = {name: value for name, value in state_dict.items() if name != "lr_lambdas"}
        super().load_state_dict(rest)
        for function, kept in zip(self.lr_lambdas, state_dict.get("lr_lambdas", ()), strict=False):
            restore(function, kept)


class MultiplicativeLR(LambdaLR):
    """The rate times lr_lambda(epoch) at each epoch; for the rest as LambdaLR.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.5)
    >>> s.step(); s.get_last_lr()
    [0.5]
    """

    def get_lr(self) -> list[float]:
        """Each rate times its group's function at this epoch."""
        rates = self._rates()
        if self._is_initial:
            return rates
        pairs = zip(rates, self.lr_lambdas, strict=True)
        return [rate * function(self.last_epoch) for rate, function in pairs]
