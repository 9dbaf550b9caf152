"""The history, written down and drawn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tilework.train.callbacks.callback import Callback

if TYPE_CHECKING:
    from tilework.train.trainer import Trainer

StrPath = str | os.PathLike[str]


class CSVLog(Callback):
    """Writes the history as a table after each epoch."""

    def __init__(self, path: StrPath) -> None:
        self.path = path

    def on_epoch(self, trainer: Trainer) -> None:
        trainer.history.to_csv(self.path)


class Plot(Callback):
    """Draws the history after each epoch, to a PNG; needs matplotlib."""

    def __init__(self, path: StrPath) -> None:
        self.path = path

    def on_epoch(self, trainer: Trainer) -> None:
        trainer.history.plot(self.path)
