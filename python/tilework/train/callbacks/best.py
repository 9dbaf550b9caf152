"""What follows the best epoch so far."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tilework import io
from tilework.errors import error
from tilework.tensor import Tensor
from tilework.train.callbacks.callback import Callback, figure_of

if TYPE_CHECKING:
    from tilework.train.trainer import Trainer

StrPath = str | os.PathLike[str]
Mode = Literal["min", "max"]


class _Best:
    """The best value so far of a figure, and the epoch that it is from."""

    def __init__(self, op: str, monitor: str, mode: Mode | None) -> None:
        if mode not in ("min", "max", None):
            raise error(ValueError, op, "mode of 'min', 'max'", repr(mode), "name one")
        self.op, self.monitor, self.mode = op, monitor, mode
        self.value, self.epoch = math.nan, 0

    def take(self, trainer: Trainer, least: float = 0.0) -> bool:
        """Whether the last epoch is the best one so far, by more than `least`."""
        value = figure_of(self.op, trainer, self.monitor)
        sign = 1.0 if self._higher(trainer) else -1.0
        better = value == value and (
            self.value != self.value or sign * (value - self.value) > least
        )
        if better:
            self.value, self.epoch = value, trainer.position.epoch
        return better

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.value, self.epoch = float(state["value"]), int(state["epoch"])

    def _higher(self, trainer: Trainer) -> bool:
        """Which way is up: as `mode` says, or the metric of that name; a loss goes down."""
        if self.mode is not None:
            return self.mode == "max"
        metric = trainer.task.metrics.get(self.monitor.removeprefix("val_"))
        return metric is not None and metric.higher_is_better


class EarlyStopping(Callback):
    """Ends a run whose figure has not improved for `patience` epochs.

    Args:
        monitor: The figure's name in the history.
        patience: Epochs without one that is better by more than `min_delta`.
        mode: "min" or "max"; by default what the metric of that name says, and "min" for a loss.
        restore_best: Whether the task gets the best epoch's weights back when the run ends: those
            that were judged, averages where there is a WeightAverage.

    A run that is resumed where it had ended so ends at once.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        *,
        min_delta: float = 0.0,
        mode: Mode | None = None,
        restore_best: bool = True,
    ) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best = restore_best
        self._best = _Best("EarlyStopping", monitor, mode)
        self._weights: dict[str, Tensor] = {}
        self._resumed = False

    def on_fit_begin(self, trainer: Trainer) -> None:
        if self._resumed and self._is_over(trainer):
            trainer.stop()
        self._resumed = False

    def _is_over(self, trainer: Trainer) -> bool:
        return trainer.position.epoch - self._best.epoch >= max(self.patience, 1)

    def on_epoch(self, trainer: Trainer) -> None:
        if self._best.take(trainer, self.min_delta):
            if self.restore_best:
                self._weights = {n: x.clone() for n, x in _judged(trainer).items()}
        elif self._is_over(trainer):
            trainer.stop()

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._weights:
            trainer.task.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        return {**self._best.state_dict(), "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._best.load_state_dict(state)
        self._weights = dict(state["weights"])
        self._resumed = True


class Checkpoint(Callback):
    """Saves the run after each epoch, and on Ctrl-C; and the best epoch's weights.

    Args:
        path: The file that `fit(resume=path)` goes on from.
        best: A file for the task's weights at the best epoch, as safetensors, if any: those that
            were judged, averages where there is a WeightAverage.
        monitor, mode: What is best, as in EarlyStopping.
    """

    comes_last = True

    def __init__(
        self,
        path: StrPath,
        best: StrPath | None = None,
        *,
        monitor: str = "val_loss",
        mode: Mode | None = None,
    ) -> None:
        for given in (path, best):
            if given is not None and not Path(given).parent.is_dir():
                raise error(
                    ValueError, "Checkpoint", "a file in a folder", f"no {Path(given).parent}",
                    "make it first",
                )  # fmt: skip
        self.path = path
        self.best = best
        self._best = _Best("Checkpoint", monitor, mode)

    def on_epoch(self, trainer: Trainer) -> None:
        if self.best is not None and self._best.take(trainer):
            io.save(_judged(trainer), self.best)
        trainer.save(self.path)

    def on_interrupt(self, trainer: Trainer) -> None:
        trainer.save(self.path)

    def state_dict(self) -> dict[str, Any]:
        return self._best.state_dict() if self.best else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._best.load_state_dict(state)


def _judged(trainer: Trainer) -> dict[str, Tensor]:
    """The weights that the last epoch's figures are of."""
    weights: dict[str, Tensor] = trainer.task.state_dict()
    for callback in trainer.callbacks:
        weights.update(callback.judged_weights(trainer))
    return weights
