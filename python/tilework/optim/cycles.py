"""Schedules that rise and fall: cycles, one cycle, and restarts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tilework.errors import error
from tilework.optim.optimizer import Optimizer
from tilework.optim.schedule import LRScheduler, attributes, for_each_group, restore


def _begin_momenta(
    op: str, optimizer: Optimizer, base: Any, most: Any, first: bool
) -> tuple[list[float], list[float]]:
    """The momenta between which each group's goes, written to the groups at the very beginning.
    ValueError on an optimiser that has none."""
    if "betas" not in optimizer.defaults and "momentum" not in optimizer.defaults:
        raise error(
            ValueError, op, "an optimiser with momentum or betas", type(optimizer).__name__,
            "pass cycle_momentum=False",
        )  # fmt: skip
    lows = for_each_group(op, "base_momentum", base, optimizer)
    highs = for_each_group(op, "max_momentum", most, optimizer)
    if first:
        for low, high, group in zip(lows, highs, optimizer.param_groups, strict=True):
            _set_momentum(optimizer, group, high)
            group["max_momentum"] = high
            group["base_momentum"] = low
    return lows, highs


def _set_momentum(optimizer: Optimizer, group: dict[str, Any], value: float) -> None:
    """Writes the momentum of a parameter group, which is the first of betas where there are any."""
    if "betas" in optimizer.defaults:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


class CosineAnnealingWarmRestarts(LRScheduler):
    """From the initial rate to eta_min along half a cosine, again and again: over T_0 epochs, then
    over T_mult times as many each time (Loshchilov and Hutter 2017).

    ValueError on a T_0 or T_mult that is no positive integer.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0)
    >>> s = optim.lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=2)
    >>> s.step(); s.step(); s.get_last_lr()
    [1.0]
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise error(
                    ValueError, "CosineAnnealingWarmRestarts", f"{name} as a positive integer",
                    value, "give an int from 1",
                )  # fmt: skip
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at this place of the cosine."""
        height = 1 + math.cos(math.pi * self.T_cur / self.T_i)
        return [self.eta_min + (base - self.eta_min) * height / 2 for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Goes on by one, or to an epoch, which may lie between two. ValueError on one below 0."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            self._place(epoch)
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _place(self, epoch: float) -> None:
        """Finds the turn that an epoch is in."""
        if epoch < 0:
            raise error(
                ValueError, "CosineAnnealingWarmRestarts", "an epoch from 0", epoch, "raise it"
            )
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            turn = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**turn - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**turn


class OneCycleLR(LRScheduler):
    """From max_lr / div_factor up to max_lr over the part pct_start of the steps, and down to the
    first rate / final_div_factor, each along a cosine or a line; momentum the other way (Smith and
    Topin 2017). To be stepped after every batch.

    The steps are `total_steps`, or epochs * steps_per_epoch. `three_phase` comes down to the first
    rate as it went up, and then to the last. ValueError on values out of range, and on a step too
    many.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0, momentum=0.9)
    >>> s = optim.lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=10)
    >>> s.step(); s.step(); s.get_last_lr(), o.param_groups[0]["momentum"]
    ([1.0], 0.85)
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85, max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        op = "OneCycleLR"
        if total_steps is None and epochs is not None and steps_per_epoch is not None:
            total_steps = epochs * steps_per_epoch
        if not isinstance(total_steps, int) or total_steps < 1:
            raise error(
                ValueError, op, "total_steps, or epochs and steps_per_epoch, positive integers",
                total_steps, "give one or the other",
            )  # fmt: skip
        if not 0 <= pct_start <= 1:
            raise error(ValueError, op, "pct_start in [0, 1]", pct_start, "choose one in range")
        if anneal_strategy not in ("cos", "linear"):
            raise error(
                ValueError, op, 'anneal_strategy "cos" or "linear"', anneal_strategy, "name one"
            )
        self.total_steps = total_steps
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(pct_start * total_steps, total_steps, three_phase)
        highs = for_each_group(op, "max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for high, group in zip(highs, optimizer.param_groups, strict=True):
                group["initial_lr"] = high / div_factor
                group["max_lr"] = high
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            _begin_momenta(op, optimizer, base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, part: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)

    def get_lr(self) -> list[float]:
        """The rates of this step; the momenta are written to the groups."""
        if self.last_epoch > self.total_steps:
            raise error(
                ValueError, "OneCycleLR", f"at most {self.total_steps} steps", self.last_epoch,
                "stop, or make total_steps larger",
            )  # fmt: skip
        start = 0.0
        for phase in self._schedule_phases[:-1]:
            if self.last_epoch <= phase["end_step"]:
                break
            start = phase["end_step"]
        else:
            phase = self._schedule_phases[-1]
        part = (self.last_epoch - start) / (phase["end_step"] - start)
        rates = []
        for group in self.optimizer.param_groups:
            ends = group[phase["start_lr"]], group[phase["end_lr"]]
            rates.append(self._between(*ends, part))
            if self.cycle_momentum:
                momenta = group[phase["start_momentum"]], group[phase["end_momentum"]]
                _set_momentum(self.optimizer, group, self._between(*momenta, part))
        return rates


def _phases(up: float, total: int, three: bool) -> list[dict[str, Any]]:
    """Where each phase ends, and from and to what it goes, by the groups' keys."""
    ends = [float(up) - 1, *([float(2 * up) - 2] if three else []), total - 1]
    rates = ["initial_lr", "max_lr", *(["initial_lr"] if three else []), "min_lr"]
    momenta = ["max_momentum", "base_momentum", "max_momentum", "max_momentum"]
    return [
        {
            "end_step": end,
            "start_lr": rates[i],
            "end_lr": rates[i + 1],
            "start_momentum": momenta[i],
            "end_momentum": momenta[i + 1],
        }
        for i, end in enumerate(ends)
    ]


class CyclicLR(LRScheduler):
    """From base_lr up to max_lr over step_size_up steps and down over step_size_down, again and
    again; momentum the other way (Smith 2017). To be stepped after every batch.

    The height of a cycle is the same in `mode` "triangular", halved each time in "triangular2", and
    gamma to the number of steps in "exp_range"; or `scale_fn` of the cycle or of the step, as
    `scale_mode` says ("cycle", "iterations"). ValueError on another word.

    >>> o = optim.SGD([tw.ones(1)], lr=1.0, momentum=0.9)
    >>> s = optim.lr_scheduler.CyclicLR(o, base_lr=0.0, max_lr=1.0, step_size_up=2)
    >>> s.step(); s.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, base_lr: float | list[float], max_lr: float | list[float],
        step_size_up: int = 2000, step_size_down: int | None = None, mode: str = "triangular",
        gamma: float = 1.0, scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle", cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8, max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        op = "CyclicLR"
        if scale_fn is None and mode not in _HEIGHTS:
            raise error(ValueError, op, f"mode among {tuple(_HEIGHTS)}", mode, "name one")
        lows = for_each_group(op, "base_lr", base_lr, optimizer)
        if last_epoch == -1:
            for low, group in zip(lows, optimizer.param_groups, strict=True):
                group["lr"] = low
        self.max_lrs = for_each_group(op, "max_lr", max_lr, optimizer)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else _HEIGHTS[mode][0]
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = _begin_momenta(
                op, optimizer, base_momentum, max_momentum, last_epoch == -1
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lows

    def scale_fn(self, x: float) -> float:
        """The height of cycle, or of step, number x."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        height: float = _HEIGHTS[self.mode][1](self.gamma, x)
        return height

    def get_lr(self) -> list[float]:
        """The rates of this step; the momenta are written to the groups."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        rising = x <= self.step_ratio
        part = x / self.step_ratio if rising else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            momenta = zip(self.base_momentums, self.max_momentums, strict=True)
            for (low, high), group in zip(momenta, self.optimizer.param_groups, strict=True):
                _set_momentum(self.optimizer, group, high - (high - low) * part * scale)
        pairs = zip(self.base_lrs, self.max_lrs, strict=True)
        return [low + (high - low) * part * scale for low, high in pairs]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands; of a function of one's own, its attributes if it is an
        object."""
        return {**super().state_dict(), "_scale_fn_custom": attributes(self._scale_fn_custom)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state of state_dict()."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        restore(self._scale_fn_custom, state_dict.get("_scale_fn_custom"))


_HEIGHTS: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "triangular": ("cycle", lambda gamma, cycle: 1.0),
    "triangular2": ("cycle", lambda gamma, cycle: 1 / 2.0 ** (cycle - 1)),
    "exp_range": ("iterations", lambda gamma, step: gamma**step),
}
