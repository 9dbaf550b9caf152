"""What the calls of native_calls.py are made of: arrays, and a generator that draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arguments = dict[str, Any]  # of one call, by name
Generator = np.random.Generator


@dataclass(frozen=True)
class Given:
    """An array argument; `written`: the function may write to it."""

    values: Array
    written: bool = False


@dataclass(frozen=True)
class Packed:
    """A weight, to be packed by the function of this name, and the argument that it lies in."""

    function: str
    of: str


class Maker:
    """Draws what calls are made of: arrays of one dtype, and choices."""

    def __init__(self, rng: Generator, *dtypes: Any) -> None:
        self.rng = rng
        self.dtype = self.one_of(*(dtypes or (np.float32, np.float64)))

    def one_of(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def size(self, most: int = 6) -> int:
        return int(self.rng.integers(1, most))

    def array(self, *shape: int, written: bool = False) -> Given:
        values = np.asarray(self.rng.standard_normal(shape)).astype(self.dtype)
        return Given(values, written)

    def positive(self, *shape: int, written: bool = False) -> Given:
        return Given(np.abs(self.array(*shape).values), written)

    def index(self, below: int, *shape: int) -> Given:
        return Given(np.asarray(self.rng.integers(below, size=shape)))

    def maybe(self, value: Any) -> Any:
        return self.one_of(value, None)

    def flag(self) -> bool:
        return bool(self.rng.integers(2))


def products(rng: Generator) -> Maker:
    """Arrays of what products are of."""
    return Maker(rng, np.float32, np.float64, ml_dtypes.bfloat16)


def shape_of(make: Maker) -> tuple[int, ...]:
    """Of one axis to four."""
    return tuple(make.size() for _ in range(make.one_of(1, 2, 3, 4)))


def shape_and_axis(make: Maker) -> tuple[tuple[int, ...], int]:
    """A shape, and one of its axes."""
    shape = shape_of(make)
    return shape, make.one_of(*range(len(shape)))
