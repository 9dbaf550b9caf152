"""What a person sees of a run: a bar on a terminal, a line an epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tilework.train.callbacks.callback import Callback

if TYPE_CHECKING:
    from tilework.train.trainer import Trainer


class ProgressBar(Callback):
    """A bar for the epoch at hand, on a terminal, and a line of figures for each one that is done.

    >>> bar = callbacks.ProgressBar()
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._start = time.perf_counter()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=trainer.batches, figures="")
        self._progress.start()

    def on_batch(self, trainer: Trainer) -> None:
        self._progress.update(
            self._task,
            description=f"epoch {_of(trainer.position.epoch + 1, trainer.epochs)}",
            completed=trainer.position.batch,
            figures=_figures(trainer.means()),
        )

    def on_epoch(self, trainer: Trainer) -> None:
        row = {n: v for n, v in trainer.history[-1].items() if n not in ("epoch", "lr")}
        number = _of(trainer.position.epoch, trainer.epochs)
        seconds = time.perf_counter() - self._start
        line = f"epoch {number}: {_figures(row)}, {seconds:.1f} s"
        self._console.print(line, highlight=False, soft_wrap=True)
        self._progress.reset(self._task, total=trainer.batches)

    def on_exit(self, trainer: Trainer) -> None:
        self._progress.stop()


def _of(number: int, total: int | None) -> str:
    return f"{number}" if total is None else f"{number}/{total}"


def _figures(row: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in row.items())
