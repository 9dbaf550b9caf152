"""Initialisers, written in place and returned; PyTorch's names and defaults."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from tilework import functional as F
from tilework.autograd import no_grad
from tilework.dtypes import float64
from tilework.errors import error, word
from tilework.functional.generator import Generator, takes_generator
from tilework.functional.truncated import truncated_normal
from tilework.tensor import Tensor, fresh

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}


class _Drawing(threading.local):
    """Whether a thread draws the numbers that it is asked for: see nn.utils.skip_init."""

    skipped = False


drawing = _Drawing()


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """The factor that keeps the variance through a nonlinearity. ValueError on an unknown one.

    >>> round(nn.init.calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1.0 + slope * slope))
    if nonlinearity not in _GAINS:
        known = ", ".join((*_GAINS, "leaky_relu"))
        raise error(ValueError, "calculate_gain", f"one of {known}", nonlinearity, "name one")
    return _GAINS[nonlinearity]


def _fans(op: str, tensor: Tensor) -> tuple[int, int]:
    """(fan in, fan out) of a weight (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise error(ValueError, op, "a weight of at least 2 axes", tensor.shape, "use uniform_")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


@no_grad()
@takes_generator
def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Uniform in [a, b)."""
    return tensor if drawing.skipped else tensor.uniform_(a, b)


@no_grad()
@takes_generator
def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Normal with mean and std."""
    return tensor if drawing.skipped else tensor.normal_(mean, std)


@no_grad()
@takes_generator
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Normal under the condition of lying in [a, b], wherever that is.

    ValueError where a is above b, std below 0, or mean or std not finite.
    """
    if not (a <= b and 0 <= std < math.inf and math.isfinite(mean)):
        raise error(
            ValueError, "trunc_normal_", "a <= b, std >= 0 and a finite mean", (mean, std, a, b),
            "swap the bounds, or mend the others",
        )  # fmt: skip
    if drawing.skipped:
        return tensor
    values = truncated_normal(tensor.numel(), mean, std, a, b).reshape(tensor.shape)
    # Between the bounds as the dtype holds them: rounding may have crossed one.
    return tensor.copy_(fresh(values)).clamp_(a, b)


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """One number everywhere."""
    return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros everywhere."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones everywhere."""
    return constant_(tensor, 1.0)


@no_grad()
def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix. ValueError unless there are two axes."""
    if tensor.ndim != 2:
        raise error(ValueError, "eye_", "two axes", tensor.shape, "initialise a matrix")
    return tensor.copy_(F.eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


@takes_generator
def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Uniform with variance gain^2 * 2 / (fan in + fan out) (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -bound, bound)


@takes_generator
def xavier_normal_(
    tensor: Tensor, gain: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Normal with variance gain^2 * 2 / (fan in + fan out) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans("xavier_normal_", tensor))))


def _kaiming_std(op: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan_in, fan_out = _fans(op, tensor)
    if mode not in ("fan_in", "fan_out"):
        raise error(ValueError, op, 'mode "fan_in" or "fan_out"', word(mode), "name one of them")
    fan = fan_in if mode == "fan_in" else fan_out
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


@takes_generator
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform with variance gain^2 / fan (He et al. 2015)."""
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


@takes_generator
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Normal with variance gain^2 / fan (He et al. 2015)."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))


@no_grad()
@takes_generator
def orthogonal_(tensor: Tensor, gain: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Rows, or columns where they are the fewer, at right angles to each other and of length
    `gain`; a weight of more axes counts as (out, the rest) (Saxe et al. 2014). ValueError on fewer
    than two axes."""
    if tensor.ndim < 2:
        raise error(ValueError, "orthogonal_", "at least two axes", tensor.shape, "use normal_")
    if drawing.skipped or not tensor.numel():
        return tensor
    rows = tensor.shape[0]
    wide = F.randn(rows, tensor.numel() // rows, dtype=float64, device="cpu").numpy()
    q, r = np.linalg.qr(wide if wide.shape[0] >= wide.shape[1] else wide.T)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # so that all rotations are as likely
    q = q if wide.shape[0] >= wide.shape[1] else q.T
    return tensor.copy_(fresh(np.ascontiguousarray(q * gain).reshape(tensor.shape)))


@no_grad()
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The weight of a convolution that passes its channels on: a one in the middle of each kernel
    from a channel to itself, in each group. ValueError unless there are 3 to 5 axes and groups
    divide the first."""
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        raise error(
            ValueError, "dirac_", "a weight of 3, 4 or 5 axes, and groups that divide the first",
            f"{tensor.shape} and {groups}", "initialise a convolution's",
        )  # fmt: skip
    values = np.zeros(tensor.shape, np.float32)
    middle: Any = tuple(n // 2 for n in tensor.shape[2:])
    each = tensor.shape[0] // groups
    for i in range(min(each, tensor.shape[1])):
        values[(slice(i, None, each), i, *middle)] = 1.0
    return tensor.copy_(fresh(values))


@no_grad()
@takes_generator
def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, *, generator: Generator | None = None
) -> Tensor:
    """Normal with std, and the part `sparsity` of each column zero, at random places (Martens
    2010). ValueError unless there are two axes."""
    if tensor.ndim != 2:
        raise error(ValueError, "sparse_", "two axes", tensor.shape, "initialise a matrix")
    if drawing.skipped:
        return tensor
    rows, columns = tensor.shape
    values = F.randn(rows, columns, device="cpu").numpy() * std
    for j in range(columns):
        values[F.randperm(rows, device="cpu").numpy()[: math.ceil(sparsity * rows)], j] = 0.0
    return tensor.copy_(fresh(values))
