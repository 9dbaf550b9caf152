"""A product of two inputs."""

from __future__ import annotations

from tilework.autocasting import unlowered
from tilework.errors import error
from tilework.functional.cast import widening
from tilework.functional.common import operand
from tilework.functional.gemm import matmul
from tilework.tensor import Tensor


@unlowered
@widening
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1 A_k input2 + bias_k for each matrix A_k of weight (K, M, N): of (..., M) and (..., N)
    to (..., K).

    Inputs have the same axes before the last. ValueError where shapes disagree.

    >>> F.bilinear(tw.ones(5, 2), tw.ones(5, 3), tw.ones(1, 2, 3))[0]
    tensor([6.])
    """
    a, b = operand(input1, "bilinear", "input1"), operand(input2, "bilinear", "input2")
    w = operand(weight, "bilinear", "weight")
    wanted = (*a.shape[-1:], *b.shape[-1:])
    if w.ndim != 3 or len(wanted) < 2 or w.shape[1:] != wanted or a.shape[:-1] != b.shape[:-1]:
        raise error(
            ValueError, "bilinear", "input1 (..., M), input2 (..., N) and weight (K, M, N)",
            f"{a.shape}, {b.shape} and {w.shape}", "match their last axes",
        )  # fmt: skip
    if bias is not None and bias.shape != w.shape[:1]:
        raise error(ValueError, "bilinear", f"bias {w.shape[:1]}", bias.shape, "one for each of K")
    k, m, n = w.shape
    y = matmul(a, w.permute(1, 0, 2).reshape(m, k * n)).reshape(*a.shape[:-1], k, n)
    y = matmul(y, b.unsqueeze(-1)).squeeze(-1)
    return y if bias is None else y + bias
