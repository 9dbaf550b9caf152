"""Schedules one after another, and several at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from tilework.errors import error
from tilework.optim.optimizer import Optimizer
from tilework.optim.plateau import ReduceLROnPlateau
from tilework.optim.schedule import LRScheduler


class _Several(LRScheduler):
    """What holds other schedules of one optimiser; their states are in its own."""

    _schedulers: list[Any]

    def _hold(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
        op = type(self).__name__
        held = list(schedulers)
        if not held:
            raise error(ValueError, op, "schedules", "none", "pass one or more")
        for s in held:
            if not isinstance(s, LRScheduler) or isinstance(s, ReduceLROnPlateau):
                raise error(
                    TypeError if not isinstance(s, LRScheduler) else ValueError, op,
                    "schedules that step without a metric", type(s).__name__, "step it by itself",
                )  # fmt: skip
        optimizer = held[0].optimizer if optimizer is None else optimizer
        if any(s.optimizer is not optimizer for s in held):
            raise error(ValueError, op, "schedules of one optimiser", "of several", "build anew")
        self._schedulers = held
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, and where each schedule does."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state of state_dict()."""
        vars(self).update({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for s, saved in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            s.load_state_dict(saved)


class SequentialLR(_Several):
    """One schedule after another: the next takes over, from its own beginning, at each of the
    epochs `milestones`, which are one less.

    ValueError on schedules of different optimisers, or other counts.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> warm = optim.lr_scheduler.LinearLR(o, start_factor=0.5, total_iters=2)
    >>> fall = optim.lr_scheduler.ExponentialLR(o, gamma=0.5)
    >>> s = optim.lr_scheduler.SequentialLR(o, [warm, fall], milestones=[2])
    >>> for _ in range(3): s.step()
    >>> s.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self._hold(schedulers, optimizer)
        if len(milestones) != len(self._schedulers) - 1:
            raise error(
                ValueError, "SequentialLR", f"{len(self._schedulers) - 1} milestones",
                len(milestones), "give the epoch at which each but the first begins",
            )  # fmt: skip
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        _undo(self._schedulers)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._begin()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        """Goes on to the next epoch, by the schedule whose turn it is."""
        self.last_epoch += 1
        at = bisect_right(self._milestones, self.last_epoch)
        now = self._schedulers[at]
        if at > 0 and self._milestones[at - 1] == self.last_epoch:
            now._jump(0)
        else:
            now.step()
        self._last_lr = now.get_last_lr()


def _undo(schedulers: Sequence[Any]) -> None:
    """Takes back the step that each made when it was built."""
    for s in schedulers:
        if isinstance(s, _Several):
            _undo(s._schedulers)
        else:
            s.last_epoch -= 1


class ChainedScheduler(_Several):
    """Several schedules of one optimiser, each of which steps at every epoch.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler
    >>> both = s.ChainedScheduler([s.ConstantLR(o, 0.5, 9), s.ExponentialLR(o, 0.5)])
    >>> both.step(); both.get_last_lr()
    [0.25]
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self._hold(schedulers, optimizer)
        self._last_lr = self._rates()

    def step(self) -> None:
        """One step of each."""
        for s in self._schedulers:
            s.step()
        self._last_lr = self._rates()
