"""One form for every error: `[op] expected ...; got ...: fix`."""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=Exception)


def error(kind: type[E], op: str, expected: str, got: object, fix: str) -> E:
    """Makes, for `raise`, an exception that says what was wanted, what came, and the remedy.

    >>> error(ValueError, "linear", "input (..., 3)", (8, 4), "transpose it")
    ValueError('[linear] expected input (..., 3); got (8, 4): transpose it')
    """
    return kind(f"[{op}] expected {expected}; got {got}: {fix}")
