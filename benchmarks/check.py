"""No time counts before its answer does."""

from __future__ import annotations

from typing import Any

import numpy as np

import tilework as tw
from tilework.testing.case import Case, as_float64
from tilework.testing.tolerance import assert_close, eps

Array = np.ndarray[Any, Any]

# A peer may be less accurate than we are (PyTorch's gelu is); another function must not pass.
PEERS_ALLOWANCE = 64.0

# What "high" and "medium" give up beside float32's 24 bits of each number: they keep 16 and 8 on a
# CPU, 11 (tf32) and 8 on tensor cores, for everybody.
PRECISIONS = {
    "CPU": {"highest": 1.0, "high": 2.0**8, "medium": 2.0**16},
    "CUDA": {"highest": 1.0, "high": 2.0**13, "medium": 2.0**16},
}


class Judge:
    """The right answer to one case at one set of inputs, worked out once for all contestants."""

    def __init__(self, case: Case, inputs: tuple[Any, ...]) -> None:
        assert case.bench is not None
        self._case = case
        self._wide = as_float64(inputs)
        self._expected = case.expected(inputs)
        self._bound = case.tolerance(case.bench.dtype, self._expected, *self._wide)
        rng = np.random.default_rng(0)
        self.grad = np.asarray(rng.standard_normal(self._expected.shape), case.bench.dtype)
        self._along: dict[int, tuple[Array, Array]] = {}

    def check(self, answer: list[Array], ours: bool, on: str = "CPU") -> None:
        """AssertionError where the output, answer[0], or a gradient, the rest, is wrong, as
        computed on a device, "CPU" or "CUDA"."""
        output, *gradients = answer
        if self._case.family == "random" and not ours:  # the peers' generators give other numbers
            assert output.shape == self._expected.shape, f"{self._case}: shape {output.shape}"
            return
        loosened = PRECISIONS[on][tw.get_float32_matmul_precision()]
        if not ours:
            loosened = PEERS_ALLOWANCE if on == "CPU" else max(PEERS_ALLOWANCE, loosened)
        assert_close(output, self._expected, self._bound * loosened, str(self._case))
        for position, gradient in zip(self._case.differentiable, gradients, strict=False):
            self._check_gradient(position, gradient, loosened)

    def _check_gradient(self, position: int, gradient: Array, loosened: float) -> None:
        """Holds the gradient along one random direction against a central difference in float64.

        A direction of normal numbers leaves a wrong gradient no room but chance, at the price of
        two evaluations of the reference. Both sides are sums with random signs: each term errs by
        eps of a magnitude near its own, times the growth of a sum as long as the longest axis, and
        ten standard deviations of that are allowed.
        """
        direction, terms = self._difference(position)
        actual = gradient.astype(np.float64) * direction
        scale = np.sqrt(np.sum(actual**2)) + np.sqrt(np.sum(terms**2))
        growth = np.sqrt(max(gradient.shape, default=1))
        bound = (10 * loosened * eps(str(gradient.dtype)) * growth + _STEP) * scale
        off = abs(float(actual.sum() - terms.sum()))
        if not off <= bound:
            raise AssertionError(
                f"{self._case}: the gradient of input {position} is off by {off:.3g} along a "
                f"random direction, where {bound:.3g} is allowed"
            )

    def _difference(self, position: int) -> tuple[Array, Array]:
        """A direction, and the terms of the output's derivative along it times the gradient."""
        if position not in self._along:
            wide = list(self._wide)
            direction = np.random.default_rng(position).standard_normal(wide[position].shape)
            sides = []
            for sign in (1.0, -1.0):
                wide[position] = self._wide[position] + sign * _STEP * direction
                sides.append(self._case.reference(*wide))
            self._along[position] = direction, (sides[0] - sides[1]) / (2 * _STEP) * self.grad
        return self._along[position]


# Balances the central difference's own errors: h^2 of the third derivative, rounding over h.
_STEP = float(np.finfo(np.float64).eps ** (1 / 3))
