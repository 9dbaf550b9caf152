"""Ctrl-C between batches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Position:
    """How far a run has come: whole epochs, batches of the next one, and steps in all."""

    epoch: int = 0
    batch: int = 0
    step: int = 0


class Interrupted(Exception):
    """Ctrl-C ended a run at `position`; from there a checkpoint, if there is one, goes on."""

    def __init__(self, position: Position) -> None:
        super().__init__(f"interrupted in epoch {position.epoch + 1}, batch {position.batch}")
        self.position = position


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one ends the process's patience as usual.

    A batch is never cut in two: weights, optimiser and random numbers stay of one moment.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals are the main thread's
        return

    def first(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, first)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
