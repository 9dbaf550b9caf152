"""Cases of the schedules of learning rates: the rates of twelve epochs, from the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case
from tilework.testing.rows import Row, given, rows

EPOCHS = 12
FIRST = (0.5, 2.0)  # the rates of two groups
Make = Callable[[Any, Any], Any]  # from `lr_scheduler` and the optimiser to a schedule


def _rates(*makes: Make) -> Callable[..., Any]:
    def call(tw: Any, F: Any) -> Any:
        groups = [{"params": [tw.nn.Parameter(tw.ones(1))], "lr": rate} for rate in FIRST]
        optimiser = tw.optim.SGD(groups, lr=1.0)
        schedules = [make(tw.optim.lr_scheduler, optimiser) for make in makes]
        seen = []
        for _ in range(EPOCHS):
            seen.append([group["lr"] for group in optimiser.param_groups])
            optimiser.step()
            for schedule in schedules:
                schedule.step()
        return tw.tensor(seen, dtype=tw.float64)

    return call


def _by(*factors: Callable[[int], float]) -> Callable[[], Array]:
    """The first rates times what all factors give for an epoch."""
    every = [math.prod(f(epoch) for f in factors) for epoch in range(EPOCHS)]
    return lambda: np.outer(every, FIRST)


def _cosine(period: int) -> Callable[[int], float]:
    return lambda epoch: (1 + math.cos(math.pi * epoch / period)) / 2


def _cosine_to(low: float, period: int) -> Callable[[], Array]:
    return lambda: (
        low
        + _by(_cosine(period))()
        - low * np.outer([_cosine(period)(epoch) for epoch in range(EPOCHS)], np.ones(2))
    )


def _table() -> Iterator[Row]:
    def step(s: Any, o: Any) -> Any:
        return s.StepLR(o, 3, gamma=0.5)

    def cosine(s: Any, o: Any) -> Any:
        return s.CosineAnnealingLR(o, 5)

    def fall(s: Any, o: Any) -> Any:
        return s.LambdaLR(o, lambda epoch: 1 / (1 + epoch))

    def halves(epoch: int) -> float:
        return 0.5 ** (epoch // 3)

    nothing = given()
    yield "StepLR", nothing, _rates(step), _by(halves)
    yield (
        "StepLR of one epoch",
        nothing,
        _rates(lambda s, o: s.StepLR(o, 1, 0.9)),
        _by(lambda epoch: 0.9**epoch),
    )
    yield "CosineAnnealingLR", nothing, _rates(cosine), _by(_cosine(5))
    yield (
        "CosineAnnealingLR to a rate",
        nothing,
        _rates(lambda s, o: s.CosineAnnealingLR(o, 4, eta_min=0.25)),
        _cosine_to(0.25, 4),
    )
    yield "LambdaLR", nothing, _rates(fall), _by(lambda epoch: 1 / (1 + epoch))
    yield (
        "LambdaLR of each group",
        nothing,
        _rates(lambda s, o: s.LambdaLR(o, [lambda epoch: epoch, lambda epoch: 2.0**-epoch])),
        lambda: np.stack([FIRST[0] * np.arange(EPOCHS), FIRST[1] * 2.0 ** -np.arange(EPOCHS)], 1),
    )
    yield (
        "StepLR after another",
        nothing,
        _rates(step, lambda s, o: s.StepLR(o, 2, 2.0)),
        _by(halves, lambda epoch: 2.0 ** (epoch // 2)),
    )
    for label, make, factor in _shapes():
        yield label, nothing, _rates(make), _by(factor)
    yield ("LRScheduler made by hand", nothing, _rates(_own), _by(lambda epoch: 0.75**epoch))


def _shapes() -> Iterator[tuple[str, Make, Callable[[int], float]]]:
    """Schedules whose rate is the first one times a factor of the epoch."""
    yield (
        "MultiStepLR", lambda s, o: s.MultiStepLR(o, [2, 7, 7], 0.5),
        lambda t: 0.5 ** ((t >= 2) + 2 * (t >= 7)),
    )  # fmt: skip
    yield "ExponentialLR", lambda s, o: s.ExponentialLR(o, 0.9), lambda t: 0.9**t
    yield ("MultiplicativeLR", lambda s, o: s.MultiplicativeLR(o, lambda t: 0.9), lambda t: 0.9**t)
    yield "ConstantLR", lambda s, o: s.ConstantLR(o, 0.25, 4), lambda t: 0.25 if t < 4 else 1.0
    yield (
        "LinearLR", lambda s, o: s.LinearLR(o, 0.25, total_iters=6),
        lambda t: 0.25 + 0.75 * min(t, 6) / 6,
    )  # fmt: skip
    yield "PolynomialLR", lambda s, o: s.PolynomialLR(o, 9, 2.0), lambda t: (1 - min(t, 9) / 9) ** 2
    yield (
        "CosineAnnealingWarmRestarts", lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2),
        lambda t: _cosine(3)(t) if t < 3 else (_cosine(6)(t - 3) if t < 9 else _cosine(12)(t - 9)),
    )  # fmt: skip
    yield (
        "SequentialLR",
        lambda s, o: s.SequentialLR(o, [s.ConstantLR(o, 0.5, 9), s.ExponentialLR(o, 0.9)], [4]),
        lambda t: 0.5 if t < 4 else 0.9 ** (t - 4),
    )  # fmt: skip
    yield (
        "ChainedScheduler",
        lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.5, 4), s.ExponentialLR(o, 0.9)]),
        lambda t: (0.5 if t < 4 else 1.0) * 0.9**t,
    )  # fmt: skip
    yield (
        "CyclicLR", lambda s, o: s.CyclicLR(o, [0, 0], list(FIRST), 4, cycle_momentum=False),
        lambda t: 1 - abs(t % 8 - 4) / 4,
    )  # fmt: skip
    yield (
        "OneCycleLR", lambda s, o: s.OneCycleLR(
            o, list(FIRST), 12, pct_start=0.5, anneal_strategy="linear", cycle_momentum=False,
            div_factor=4.0, final_div_factor=2.0,
        ),
        lambda t: 0.25 + 0.75 * t / 5 if t <= 5 else 1 - 0.875 * (t - 5) / 6,
    )  # fmt: skip
    yield (
        "ReduceLROnPlateau", lambda s, o: _Plateau(s.ReduceLROnPlateau(o, factor=0.5, patience=2)),
        lambda t: 0.5 ** max((t - 1) // 3, 0),
    )  # fmt: skip


class _Plateau:
    """A schedule that is told of a metric that stays."""

    def __init__(self, schedule: Any) -> None:
        self._schedule = schedule

    def step(self) -> None:
        self._schedule.step(1.0)


def _own(s: Any, o: Any) -> Any:
    """A subclass as people write it."""

    class Decay(s.LRScheduler):  # type: ignore[misc]
        def get_lr(self) -> list[float]:
            rates = [group["lr"] for group in self.optimizer.param_groups]
            return rates if self.last_epoch == 0 else [0.75 * rate for rate in rates]

    return Decay(o)


def _bound(dtype: str, expected: Array) -> Array:
    """A few roundings an epoch, at the size of the first rates: a cosine goes through zero."""
    return np.asarray(8 * EPOCHS * np.finfo(float).eps * (np.abs(expected) + max(FIRST)))


CASES: tuple[Case, ...] = tuple(rows("schedules", _table(), tolerance=_bound, dtypes=("float64",)))
