"""Whether autocast (amp.py) is entered: what each op looks at, and each walk back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

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
def standing(dtypes: dict[str, Any]) -> Iterator[None]:
    """With these as what float32 becomes, whatever stands around."""
    held, state.dtypes = state.dtypes, dtypes
    count(1)
    try:
        yield
    finally:
        count(-1)
        state.dtypes = held


def unlowered(function: F) -> F:
    """Has a function run without it: one whose products it leaves alone, or the walk back, where
    gradients go in the dtypes that forward had."""

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        if not active:
            return function(*args, **options)
        with standing({}):
            return function(*args, **options)

    return called  # type: ignore[return-value]
