"""What all callbacks are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tilework.errors import error

if TYPE_CHECKING:
    from tilework.tensor import Tensor
    from tilework.train.trainer import Trainer


class Callback:
    """Does something when a run comes to a point; a subclass says what, at which points.

    A checkpoint holds its state_dict(), where that is not empty. `comes_first` puts it before all
    others, `comes_last` behind them, whatever their order.

    >>> class Count(callbacks.Callback):
    ...     batches = 0
    ...     def on_batch(self, trainer):
    ...         self.batches += 1
    """

    comes_first = False
    comes_last = False

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first batch."""

    def on_batch(self, trainer: Trainer) -> None:
        """After each batch; `trainer.means()` are the epoch's losses so far."""

    def on_step(self, trainer: Trainer) -> None:
        """After each step of the optimisers."""

    def on_validation_begin(self, trainer: Trainer) -> None:
        """Before validation."""

    def on_validation_end(self, trainer: Trainer) -> None:
        """After validation."""

    def on_epoch(self, trainer: Trainer) -> None:
        """After each epoch; `trainer.history[-1]` is its row."""

    def on_interrupt(self, trainer: Trainer) -> None:
        """After the batch in which Ctrl-C came."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch; not after Ctrl-C or an error."""

    def on_exit(self, trainer: Trainer) -> None:
        """When fit() ends, however that comes."""

    def judged_weights(self, trainer: Trainer) -> Mapping[str, Tensor]:
        """What validation judges in place of the task's own weights, by their names there."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What it needs to go on, as a tree that io.save_checkpoint takes."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""


def figure_of(op: str, trainer: Trainer, monitor: str) -> float:
    """A figure of the last epoch's row. KeyError where it has none of that name."""
    row = trainer.history[-1]
    if monitor not in row:
        raise error(
            KeyError, op, f"monitor of {', '.join(row)}", repr(monitor),
            "name one, and give fit() validation data for those with val_",
        )  # fmt: skip
    value: float = row[monitor]
    return value
