"""Cases of local response normalisation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case
from tilework.testing.inputs import LAYOUTS, Shape, laid_out, normal
from tilework.testing.reference import local_response
from tilework.testing.tolerance import eps, growth, tiny

SHAPES: tuple[Shape, ...] = (
    (2, 5, 3), (1, 1, 4), (2, 8, 3, 5), (3, 17, 2, 2, 2), (2, 0, 3), (0, 4, 3),
)  # fmt: skip


def _case(label: str, shape: Shape, how: dict[str, Any], layout: str = "contiguous") -> Case:
    def bound(dtype: str, expected: Array, x: Array) -> Array:
        """The mean, the power (whose argument's relative error it multiplies by beta) and the
        quotient round."""
        relative = growth(how["size"]) + 8.0
        return np.asarray(eps(dtype) * relative * np.abs(expected) + tiny(dtype))

    usual = {"alpha": 1e-4, "beta": 0.75, "k": 1.0, **how}
    return Case(
        family="norm",
        op="local_response_norm",
        label=label,
        inputs=lambda rng, t: (laid_out(normal(rng, t, *shape), layout),),
        call=lambda tw, F, x: F.local_response_norm(x, **how),
        reference=lambda x: local_response(x, **usual),
        tolerance=bound,
        differentiable=(0,) if math.prod(shape) else (),
    )


def _cases() -> Iterator[Case]:
    for shape, size in itertools.product(SHAPES, (1, 2, 3, 5)):
        yield _case(f"{shape} by {size}", shape, {"size": size, "alpha": 0.7, "k": 2.0})
    for layout in LAYOUTS[:-1]:
        yield _case(layout, (2, 6, 3, 7), {"size": 3, "alpha": 0.5, "beta": 0.5}, layout)
    yield _case("as usual", (2, 6, 3, 3), {"size": 5})


CASES: tuple[Case, ...] = tuple(_cases())
