"""A rate that falls when a figure no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tilework.errors import error
from tilework.optim.optimizer import Optimizer
from tilework.optim.schedule import LRScheduler, for_each_group


class ReduceLROnPlateau(LRScheduler):
    """The rate times `factor` after more than `patience` epochs without a better metric, which
    step() is given.

    Better is less in `mode` "min", more in "max", by `threshold` of the best ("rel") or in absolute
    terms ("abs"). After a fall `cooldown` epochs do not count; no rate falls under its `min_lr`,
    nor by less than `eps`. ValueError on a factor of 1 or more, or another word.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0)
    >>> s.step(3.0); s.step(3.0); s.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
        min_lr: list[float] | float = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        op = "ReduceLROnPlateau"
        if factor >= 1.0:
            raise error(ValueError, op, "a factor under 1", factor, "lower it")
        for name, word, known in (
            ("mode", mode, ("min", "max")), ("threshold_mode", threshold_mode, ("rel", "abs")),
        ):  # fmt: skip
            if word not in known:
                raise error(ValueError, op, f"{name} of {known}", word, "name one of them")
        self.min_lrs = for_each_group(op, "min_lr", min_lr, optimizer)
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.optimizer = optimizer
        self.factor = factor
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.mode = mode
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.last_epoch = 0
        self._last_lr = self._rates()

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Takes the metric of an epoch: a number, or a tensor of one."""
        current = float(metrics)
        self.last_epoch += 1
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._rates()

    @property
    def in_cooldown(self) -> bool:
        """Whether epochs do not count yet."""
        return self.cooldown_counter > 0

    def _is_better(self, value: float) -> bool:
        if self.threshold_mode == "rel":
            part = 1.0 - self.threshold if self.mode == "min" else 1.0 + self.threshold
            wanted = self.best * part
        else:
            wanted = self.best + (-self.threshold if self.mode == "min" else self.threshold)
        return value < wanted if self.mode == "min" else value > wanted

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise error(
                    RuntimeError, "ReduceLROnPlateau", f"min_lrs of {len(groups)} groups",
                    len(self.min_lrs), "write the new groups' into min_lrs",
                )  # fmt: skip
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, least in zip(groups, self.min_lrs, strict=True):
            rate = float(group["lr"])
            less = max(rate * self.factor, least)
            if rate - less > self.eps:
                group["lr"] = less

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state of state_dict()."""
        vars(self).update(state_dict)
