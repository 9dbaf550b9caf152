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
    yield ("LRScheduler made by hand", nothing, _rates(_own), _by(lambda epoch: 0.75**epoch))


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
