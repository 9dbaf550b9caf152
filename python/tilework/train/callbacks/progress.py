"""What a person sees of a run: a bar on a terminal, a line an epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tilework.train.callbacks.callback import Callback

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from tilework.train.trainer import Trainer


class ProgressBar(Callback):
    """A bar for the epoch at hand, on a terminal, and a line of figures for each one that is done.

    >>> bar = callbacks.ProgressBar()
    """

    # rich is imported when a bar is made: who trains without one need not wait for it.
    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console()
        self._progress: Progress | None = None  # on a terminal, while fit() is at work

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._start = time.perf_counter()
        if self._console.is_terminal:
            self._progress = self._bar()
            self._task = self._progress.add_task("", total=trainer.batches, figures="")
            self._progress.start()

    def _bar(self) -> Progress:
        from rich import progress

        return progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[figures]}"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )

    def on_batch(self, trainer: Trainer) -> None:
        if self._progress is not None:
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
        if self._progress is not None:
            self._progress.reset(self._task, total=trainer.batches)

    def on_exit(self, trainer: Trainer) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _of(number: int, total: int | None) -> str:
    return f"{number}" if total is None else f"{number}/{total}"


def _figures(row: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in row.items())
