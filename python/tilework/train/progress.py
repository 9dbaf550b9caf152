"""What a person sees of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tilework.train.fit import Position


class Watcher:
    """The two callbacks of fit."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._console = console
        self._epochs = epochs
        self._start = time.perf_counter()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, loss=0.0)

    def on_batch(self, position: Position, batches: int) -> None:
        self._progress.update(
            self._task,
            description=f"epoch {position.epoch + 1}/{self._epochs}",
            total=batches,
            completed=position.batch,
            loss=position.loss / position.batch,
        )

    def on_epoch(self, position: Position, mean_loss: float) -> None:
        seconds = time.perf_counter() - self._start
        self._console.print(
            f"epoch {position.epoch}/{self._epochs}: loss {mean_loss:.4f}, {seconds:.1f} s",
            highlight=False,
        )


@contextmanager
def watching(console: Console, epochs: int) -> Iterator[Watcher]:
    """A Watcher whose bar is taken away at the end, however that comes."""
    watcher = Watcher(console, epochs)
    with watcher._progress:
        yield watcher
