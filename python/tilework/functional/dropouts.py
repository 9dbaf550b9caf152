"""Dropout of whole channels, and the one that keeps mean and variance."""

from __future__ import annotations

from typing import Any

from tilework.arrays import namespace
from tilework.errors import error
from tilework.functional.activations import SELU_ALPHA, SELU_SCALE
from tilework.functional.cast import widening
from tilework.functional.common import need_float, operand
from tilework.functional.random import dropout
from tilework.tensor import Tensor, fresh


def _checked(op: str, input: Any, p: float, ranks: tuple[int, ...] = ()) -> Tensor:
    x = operand(input, op)
    need_float(op, x)
    if not 0.0 <= p <= 1.0:
        raise error(ValueError, op, "p in [0, 1]", p, "it is the probability of a zero")
    if ranks and x.ndim not in ranks:
        raise error(ValueError, op, f"an input of {ranks} axes", x.shape, "reshape it")
    return x


def _mask(x: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """Zeros with probability p, and 1 / (1 - p)."""
    return dropout(fresh(namespace(x._array).ones(shape, dtype=x.dtype)), p)


@widening
def _masked(x: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    return x * _mask(x, shape, p)


def _channels(op: str, input: Any, p: float, training: bool, inplace: bool, axes: int) -> Tensor:
    """Dropout of channels of `axes` axes: of (N, C, ...), or of (C, ...)."""
    x = _checked(op, input, p, (axes + 1, axes + 2))
    if not training or p == 0.0:
        return x
    # Three axes are (N, C, L) to dropout2d, as in PyTorch.
    lead = 2 if x.ndim == axes + 2 or op == "dropout2d" else 1
    y = _masked(x, (*x.shape[:lead], *(1,) * (x.ndim - lead)), p)
    return x.copy_(y) if inplace else y


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Whole channels of (N, C, L) or (C, L) zeroed with probability p, the rest scaled by
    1 / (1 - p); the input itself unless `training`. ValueError where p is outside [0, 1].

    >>> F.dropout1d(tw.ones(1, 2, 3), 0.5, training=False).sum()
    tensor(6.)
    """
    return _channels("dropout1d", input, p, training, inplace, 1)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Whole channels of (N, C, H, W), or of (N, C, L), zeroed with probability p, the rest scaled
    by 1 / (1 - p); the input itself unless `training` (Tompson et al. 2015).

    >>> F.dropout2d(tw.ones(1, 2, 3, 3), 0.5, training=False).sum()
    tensor(18.)
    """
    return _channels("dropout2d", input, p, training, inplace, 2)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Whole channels of (N, C, D, H, W) or (C, D, H, W) zeroed with probability p, the rest scaled
    by 1 / (1 - p); the input itself unless `training`.

    >>> F.dropout3d(tw.ones(1, 2, 2, 2, 2), 0.5, training=False).sum()
    tensor(16.)
    """
    return _channels("dropout3d", input, p, training, inplace, 3)


@widening
def _alpha_masked(x: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    if p == 1.0:
        return x * 0.0
    low = -SELU_ALPHA * SELU_SCALE  # what selu gives far below 0
    scale = ((low * low * p + 1.0) * (1.0 - p)) ** -0.5
    kept = _mask(x, shape, p) * (1.0 - p)
    return x * (kept * scale) + ((1.0 - kept) * (low * scale) - low * scale * p)  # type: ignore[no-any-return]


def _alpha(
    op: str, input: Any, p: float, training: bool, inplace: bool, shape: tuple[int, ...]
) -> Tensor:
    x = _checked(op, input, p)
    if not training or p == 0.0:
        return x
    y = _alpha_masked(x, shape, p)
    return x.copy_(y) if inplace else y


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Elements set to what selu tends to, with probability p, and all scaled and moved so that mean
    and variance stay (Klambauer et al. 2017); the input itself unless `training`.

    >>> F.alpha_dropout(tw.ones(3))
    tensor([1., 1., 1.])
    """
    shape = operand(input, "alpha_dropout").shape
    return _alpha("alpha_dropout", input, p, training, inplace, shape)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """alpha_dropout of whole channels of (N, C, ...).

    >>> F.feature_alpha_dropout(tw.ones(1, 1, 3))
    tensor([[[1., 1., 1.]]])
    """
    op = "feature_alpha_dropout"
    x = operand(input, op)
    if x.ndim < 2:
        raise error(ValueError, op, "input (N, C, ...)", x.shape, "reshape it")
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    return _alpha(op, x, p, training, inplace, shape)
