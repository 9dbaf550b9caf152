"""Learning rates that change with the epoch: each step makes the next rate of the one that stands.

So a rate that is set by hand stays, and schedules of one optimiser chain.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tilework.errors import error
from tilework.optim.optimizer import Optimizer

_NOT_SAVED = ("optimizer", "lr_lambdas")


class LRScheduler:
    """The base, as in PyTorch: a subclass says the next rates in `get_lr()`.

    Each group's first rate is its "initial_lr", which `base_lrs` keeps. To go on from an epoch,
    give it as `last_epoch`: the groups must have "initial_lr" then (KeyError).
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise error(
                TypeError, type(self).__name__, "an Optimizer", type(optimizer).__name__,
                "pass one of tilework.optim",
            )  # fmt: skip
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise error(
                    KeyError, type(self).__name__, "'initial_lr' in each parameter group",
                    f"none in group {i}", "load the optimiser's state first, or start at -1",
                )  # fmt: skip
        self.base_lrs: list[float] = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list[float]:
        """The rates of epoch `last_epoch`, a group each, from those in force."""
        raise NotImplementedError

    def step(self) -> None:
        """Goes on to the next epoch."""
        self._step_count += 1
        self.last_epoch += 1
        groups = self.optimizer.param_groups
        for group, rate in zip(groups, self.get_lr(), strict=True):
            group["lr"] = rate
        self._last_lr: list[float] = self._rates()

    def get_last_lr(self) -> list[float]:
        """The rates that the last step() set, a group each."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands; the rates themselves are the optimiser's state."""
        return {name: value for name, value in vars(self).items() if name not in _NOT_SAVED}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state of state_dict(), which leaves the optimiser's rates as they are."""
        # What older states lack follows from the rest.
        vars(self).update(_step_count=state_dict["last_epoch"] + 1, _last_lr=self._rates())
        vars(self).update(state_dict)

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


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
        kept = [
            None if isinstance(f, types.FunctionType) else dict(getattr(f, "__dict__", {}))
            for f in self.lr_lambdas
        ]
        return {**super().state_dict(), "lr_lambdas": kept}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state of state_dict(), which leaves the optimiser's rates as they are."""
        rest = {name: value for name, value in state_dict.items() if name != "lr_lambdas"}
        super().load_state_dict(rest)
        for function, kept in zip(self.lr_lambdas, state_dict.get("lr_lambdas", ()), strict=False):
            if kept is not None:
                vars(function).update(kept)
