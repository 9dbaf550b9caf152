"""What schedules of learning rates share.

Each step makes the next rate of the one that stands. So a rate that is set by hand stays, and
schedules of one optimiser chain.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from tilework.errors import error
from tilework.optim.optimizer import Optimizer


class LRScheduler:
    """The base, as in PyTorch: a subclass says the next rates in `get_lr()`.

    Each group's first rate is its "initial_lr", which `base_lrs` keeps. To go on from an epoch,
    give it as `last_epoch`: the groups must have "initial_lr" then (KeyError).
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _need_optimizer(type(self).__name__, optimizer)
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
        self._begin()

    def _begin(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list[float]:
        """The rates of epoch `last_epoch`, a group each, from those in force."""
        raise NotImplementedError

    def _closed_form(self) -> list[float]:
        """The rates of epoch `last_epoch` from the first ones, for who jumps there."""
        return self.get_lr()

    def _jump(self, epoch: int) -> None:
        """Goes to an epoch, wherever it stood: what a sequence of schedules does."""
        self.last_epoch = epoch
        self._set(self._closed_form())

    def step(self) -> None:
        """Goes on to the next epoch."""
        self._step_count += 1
        self.last_epoch += 1
        self._set(self.get_lr())

    def get_last_lr(self) -> list[float]:
        """The rates that the last step() set, a group each."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands; the rates themselves are the optimiser's state."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state of state_dict(), which leaves the optimiser's rates as they are."""
        # What older states lack follows from the rest.
        vars(self).update(_step_count=state_dict["last_epoch"] + 1, _last_lr=self._rates())
        vars(self).update(state_dict)

    def _set(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr: list[float] = self._rates()

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


def _need_optimizer(op: str, optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise error(
            TypeError, op, "an Optimizer", type(optimizer).__name__, "pass one of tilework.optim"
        )


def attributes(function: Any) -> dict[str, Any] | None:
    """What a schedule's state keeps of a function of one's own: the attributes of an object, and of
    a plain function, or none, nothing."""
    if function is None or isinstance(function, types.FunctionType):
        return None
    return dict(getattr(function, "__dict__", {}))


def restore(function: Any, kept: dict[str, Any] | None) -> None:
    """Gives a function what attributes() kept of its like."""
    if kept:
        vars(function).update(kept)


def for_each_group(op: str, name: str, value: Any, optimizer: Any) -> list[float]:
    """A setting of each parameter group: a list of them, or one for all. ValueError on a list of
    another length, TypeError on what is no optimiser."""
    _need_optimizer(op, optimizer)
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise error(
            ValueError, op, f"{name} of each of {groups} groups", len(value), "pass one for all"
        )
    return list(value)
