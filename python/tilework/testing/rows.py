"""Cases by the row: a label whose first word names the op, the inputs, the call, and NumPy's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from tilework.testing.case import Array, Case, Generator
from tilework.testing.inputs import Inputs, laid_out, normal
from tilework.testing.tolerance import exact

Maker = Callable[[Generator, str], Any]
Row = tuple[Any, ...]  # (label, inputs, call, reference) and perhaps a dict of the case's fields


def rows(family: str, table: Iterable[Row], **fields: Any) -> Iterator[Case]:
    """The cases of a table; what a row's own dict says counts before `fields`.

    Answers are exact unless a tolerance is given.
    """
    for label, inputs, call, reference, *own in table:
        yield Case(
            family=family,
            op=label.split()[0],
            label=label,
            inputs=inputs,
            call=call,
            reference=reference,
            **{"tolerance": exact, **fields, **(own[0] if own else {})},
        )


def given(*makers: Maker) -> Inputs:
    """The inputs that `makers` make, in their order."""

    def inputs(rng: Generator, dtype: str) -> tuple[Any, ...]:
        return tuple(make(rng, dtype) for make in makers)

    return inputs


def floats(*shape: int, values: Callable[..., Array] = normal, layout: str = "contiguous") -> Maker:
    """Numbers of the case's dtype."""
    return lambda rng, dtype: laid_out(values(rng, dtype, *shape), layout)


def few(rng: Generator, dtype: str, *shape: int) -> Array:
    """Whole numbers from -3 to 3: many of them equal."""
    return rng.integers(-3, 4, shape).astype(dtype)


def integers(low: int, high: int, *shape: int, dtype: str = "int64") -> Maker:
    """Whole numbers from `low` to below `high`."""
    return lambda rng, _: rng.integers(low, high, shape).astype(dtype)


def flags(*shape: int) -> Maker:
    """Booleans."""
    return lambda rng, _: rng.random(shape) < 0.5


def fixed(value: Any) -> Maker:
    """A value as it is: a number, or an array of no float dtype."""
    return lambda rng, dtype: value


def one_of(tensors: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The call that gives one of the tensors that another gives."""
    return partial(_one_of, tensors, at)


def _one_of(tensors: Callable[..., Any], at: int, *args: Any) -> Any:
    return tensors(*args)[at]
