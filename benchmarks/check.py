"""No time counts before its answer does."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilework.testing.case import Case, as_float64
from tilework.testing.tolerance import assert_close, eps

Array = np.ndarray[Any, Any]


def check_answer(
    case: Case, inputs: tuple[Any, ...], grad: Array, answer: list[Array], ours: bool
) -> None:
    """AssertionError where the output or a gradient is wrong."""
    expected = case.expected(inputs)
    if case.family == "random" and not ours:  # the peers' generators give other numbers
        assert answer[0].shape == expected.shape, f"{case}: shape {answer[0].shape}"
        return
    dtype = case.bench.dtype if case.bench else "float32"
    bound = case.tolerance(dtype, expected, *as_float64(inputs))
    assert_close(answer[0], expected, bound * (_loosened() if ours else 1.0), str(case))
    for position, gradient in zip(case.differentiable, answer[1:], strict=False):
        check_gradient(case, inputs, grad, position, gradient, _loosened() if ours else 1.0)


def _loosened() -> float:
    """What "high" (16 bits of each number) and "medium" (8) give up beside float32's 24."""
    import tilework as tw

    return {"highest": 1.0, "high": 2.0**8, "medium": 2.0**16}[tw.get_float32_matmul_precision()]


def check_gradient(
    case: Case,
    inputs: tuple[Any, ...],
    grad: Array,
    position: int,
    gradient: Array,
    loosened: float = 1.0,
) -> None:
    """Holds the gradient along one random direction against a central difference in float64.

    A direction of normal numbers leaves a wrong gradient no room but chance, at the price of two
    evaluations of the reference. The step h balances the difference's own errors: h^2 of the third
    derivative against the float64 rounding over h.
    """
    wide = list(as_float64(inputs))
    x = wide[position]
    direction = np.random.default_rng(position).standard_normal(x.shape)
    h = float(np.finfo(np.float64).eps ** (1 / 3))
    sides = []
    for sign in (1.0, -1.0):
        wide[position] = x + sign * h * direction
        sides.append(case.reference(*wide))
    terms = (sides[0] - sides[1]) / (2 * h) * grad
    actual = gradient.astype(np.float64) * direction
    # Both sides are sums with random signs: each term errs by eps of a magnitude near its own, the
    # gradient's by a product's length more. Ten standard deviations of that.
    scale = np.sqrt(np.sum(actual**2)) + np.sqrt(np.sum(terms**2))
    bound = (
        10 * loosened * eps(str(gradient.dtype)) * np.sqrt(max(x.shape, default=1)) * scale
        + h * scale
    )
    difference = abs(float(actual.sum() - terms.sum()))
    if not difference <= bound:
        raise AssertionError(
            f"{case}: the gradient of input {position} is off by {difference:.3g} along a random "
            f"direction, where {bound:.3g} is allowed"
        )
