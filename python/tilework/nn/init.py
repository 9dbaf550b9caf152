"""Initialisers, written in place and returned; PyTorch's names and defaults."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from tilework.autograd import no_grad
from tilework.errors import error, word
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
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b)."""
    return tensor if drawing.skipped else tensor.uniform_(a, b)


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with mean and std."""
    return tensor if drawing.skipped else tensor.normal_(mean, std)


@no_grad()
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Normal under the condition of lying in [a, b], wherever that is.

    ValueError where a is above b, std below 0, or mean or std not finite.
    """
    if not (a <= b and 0 <= std < math.inf and math.isfinite(mean)):
        raise error(
            ValueError, "trunc_normal_", "a <= b, std >= 0 and a finite mean", (mean, std, a, b),
            "swap the bounds, or mend the others",
        )  # fmt: skip
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
    return tensor.copy_(fresh(np.eye(*tensor.shape, dtype=tensor.dtype)))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform with variance gain^2 * 2 / (fan in + fan out) (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with variance gain^2 * 2 / (fan in + fan out) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans("xavier_normal_", tensor))))


def _kaiming_std(op: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan_in, fan_out = _fans(op, tensor)
    if mode not in ("fan_in", "fan_out"):
        raise error(ValueError, op, 'mode "fan_in" or "fan_out"', word(mode), "name one of them")
    fan = fan_in if mode == "fan_in" else fan_out
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform with variance gain^2 / fan (He et al. 2015)."""
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal with variance gain^2 / fan (He et al. 2015)."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))
