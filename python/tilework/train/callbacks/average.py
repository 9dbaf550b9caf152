"""Averages of the weights along a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tilework.autograd import no_grad
from tilework.errors import error
from tilework.tensor import Tensor
from tilework.train.callbacks.callback import Callback

if TYPE_CHECKING:
    from tilework.train.trainer import Trainer


class WeightAverage(Callback):
    """Averages of the weights over the steps: validation and the finished run have them.

    Args:
        decay: What an average keeps of itself at a step; None for the plain mean of all steps from
            `start` on (Polyak and Juditsky 1992).
        start: The first step that counts.

    Buffers (running means of batch norm) are not averaged: they are the run's own.
    """

    comes_first = True  # what restores other weights when a run ends does it after this

    def __init__(self, decay: float | None = 0.999, start: int = 0) -> None:
        if decay is not None and not 0.0 <= decay < 1.0:
            raise error(ValueError, "WeightAverage", "decay in [0, 1)", decay, "try 0.999")
        self.decay = decay
        self.start = start
        self._count = 0
        self._average: dict[str, Tensor] = {}
        self._own: dict[str, Tensor] = {}

    def on_step(self, trainer: Trainer) -> None:
        if trainer.position.step <= self.start:
            return
        self._count += 1
        share = 1.0 / self._count if self.decay is None else 1.0 - self.decay
        for name, p in trainer.task.named_parameters():
            average = self._average.get(name)
            if average is None:
                self._average[name] = p.detach().clone()
            else:
                average.add_(p.detach() - average, alpha=share)

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._back(trainer)  # a second fit() goes on with the run's own weights

    def on_validation_begin(self, trainer: Trainer) -> None:
        self._swap(trainer)

    def on_validation_end(self, trainer: Trainer) -> None:
        self._back(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        self._swap(trainer)

    def _swap(self, trainer: Trainer) -> None:
        self._own = {n: p.detach().clone() for n, p in trainer.task.named_parameters()}
        _put(trainer, self._average)

    def _back(self, trainer: Trainer) -> None:
        _put(trainer, self._own)
        self._own = {}

    def judged_weights(self, trainer: Trainer) -> Mapping[str, Tensor]:
        return self._average

    def state_dict(self) -> dict[str, Any]:
        return {"count": self._count, "average": self._average, "own": self._own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._count, self._average = int(state["count"]), dict(state["average"])
        self._own = dict(state.get("own", {}))


def _put(trainer: Trainer, weights: Mapping[str, Tensor]) -> None:
    parameters = dict(trainer.task.named_parameters())
    with no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)
