"""Whether autocast (amp.py) is entered: what each op looks at, and each walk back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Contexts that are entered, in all threads: while there is none an op asks no more than this.
active = 0
_counting = threading.Lock()


class _State(threading.local):
    """Of one thread: what float32 becomes, by the kind of device, and weights that became it."""

    def __init__(self) -> None:
        self.dtypes: dict[str, Any] = {}
        self.weights: dict[int, tuple[Any, int, Any]] = {}
        self.caches = True


state = _State()


def count(change: int) -> None:
    """One context more or less."""
    global active
    with _counting:
        active += change


@contextmanager
def paused() -> Iterator[None]:
    """Without it, for the walk back: gradients go in the dtypes that forward had."""
    held, state.dtypes = state.dtypes, {}
    try:
        yield
    finally:
        state.dtypes = held
