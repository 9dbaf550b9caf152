"""One form for every error: `[op] expected ...; got ...: fix`."""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=Exception)


def error(kind: type[E], op: str, expected: str, got: object, fix: str) -> E:
    """Makes, for `raise`, an exception that says what was wanted, what came, and the remedy.

    >>> error(ValueError, "linear", "input (..., 3)", (8, 4), "transpose it")
    ValueError('[linear] expected input (..., 3); got (8, 4): transpose it')
    """
    text = got if isinstance(got, str) else _in_short(got)
    return kind(f"[{op}] expected {expected}; got {text}: {fix}")


def word(value: object) -> object:
    """A word for `got`, in its quotes; another thing as it is."""
    return repr(value) if isinstance(value, str) else value


def _in_short(value: object) -> str:
    """A value in one line of 120 characters at most; an array by its shape."""
    shape = getattr(value, "shape", ())
    if isinstance(shape, tuple) and shape:
        return f"{type(value).__name__} {shape}"
    try:
        line = " ".join(str(value).split())
    except Exception:
        line = type(value).__name__
    return line if len(line) <= 120 else f"{line[:117]}..."
