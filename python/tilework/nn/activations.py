"""Activations beside those that kernels fuse, and dropouts of channels, as modules: each holds the
settings of its function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tilework import functional as F
from tilework.errors import error
from tilework.nn.activation import Softmax
from tilework.nn.linear import Dropout
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor


class Applied(Module):
    """A function of the input and of settings, which are attributes by their names."""

    _function: Callable[..., Tensor]
    _settings: tuple[str, ...] = ()

    def _hold(self, **settings: Any) -> None:
        super().__init__()
        self._settings = tuple(settings)
        for name, value in settings.items():
            setattr(self, name, value)

    def forward(self, input: Tensor) -> Tensor:
        """The function of the input."""
        function = type(self)._function
        return function(input, **{name: getattr(self, name) for name in self._settings})

    def extra_repr(self) -> str:
        """The settings."""
        held = {name: getattr(self, name) for name in self._settings}
        shown = (f"{k}={v}" for k, v in held.items() if k != "inplace" or v)
        return ", ".join(shown)


class LeakyReLU(Applied):
    """x above 0, negative_slope * x below: F.leaky_relu. Any shape, which the result keeps; float
    dtypes, else TypeError. `inplace` writes over the input.

    >>> nn.LeakyReLU(0.5)(tw.tensor([-1.0, 2.0]))
    tensor([-0.5,  2.0])
    """

    _function = staticmethod(F.leaky_relu)

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        self._hold(negative_slope=negative_slope, inplace=inplace)


class ELU(Applied):
    """x above 0, alpha * (exp(x) - 1) below: F.elu (Clevert et al. 2016). Any shape, which the
    result keeps; float dtypes, else TypeError. `inplace` writes over the input.

    >>> nn.ELU()(tw.tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """

    _function = staticmethod(F.elu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self._hold(alpha=alpha, inplace=inplace)


class SELU(Applied):
    """ELU scaled so that means and variances keep: F.selu (Klambauer et al. 2017). Any shape, which
    the result keeps; float dtypes, else TypeError. `inplace` writes over the input.

    >>> nn.SELU()(tw.tensor([-1.0, 1.0]))
    tensor([-1.1113,  1.0507])
    """

    _function = staticmethod(F.selu)

    def __init__(self, inplace: bool = False) -> None:
        self._hold(inplace=inplace)


class CELU(Applied):
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1)): F.celu (Barron 2017). Any shape, which the
    result keeps; float dtypes, else TypeError. `inplace` writes over the input.

    >>> nn.CELU(2.0)(tw.tensor([-1.0, 1.0]))
    tensor([-0.7869,  1.0000])
    """

    _function = staticmethod(F.celu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self._hold(alpha=alpha, inplace=inplace)


class PReLU(Module):
    """F.prelu with a parameter `weight`, of one number or of `num_parameters` channels, `init` at
    first.

    >>> nn.PReLU()(tw.tensor([-1.0, 2.0])).detach()
    tensor([-0.25,  2.00])
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(F.full((num_parameters,), float(init), dtype=dtype))

    def forward(self, input: Tensor) -> Tensor:
        """F.prelu(input, weight)."""
        return F.prelu(input, self.weight)

    def reset_parameters(self) -> None:
        """All weights as they were at first."""
        self.weight.data.fill_(self.init)

    def extra_repr(self) -> str:
        """How many weights."""
        return f"num_parameters={self.num_parameters}"


class RReLU(Applied):
    """x above 0, and x times a slope below, drawn uniformly from [lower, upper] for each element
    while training, their middle in evaluation: F.rrelu (Xu et al. 2015). Any shape, float dtypes.

    >>> nn.RReLU(0.5, 0.5).eval()(tw.tensor([-1.0, 2.0]))
    tensor([-0.5,  2.0])
    """

    lower: float
    upper: float
    inplace: bool

    def __init__(
        self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False
    ) -> None:
        self._hold(lower=lower, upper=upper, inplace=inplace)

    def forward(self, input: Tensor) -> Tensor:
        """F.rrelu(input), with drawn slopes while training."""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)


class Softplus(Applied):
    """log(1 + exp(beta * x)) / beta, and x where beta * x is above `threshold`: F.softplus. Any
    shape, which the result keeps; float dtypes, else TypeError.

    >>> nn.Softplus()(tw.zeros(1))
    tensor([0.6931])
    """

    _function = staticmethod(F.softplus)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self._hold(beta=beta, threshold=threshold)


class Softsign(Applied):
    """x / (1 + |x|): F.softsign. Any shape, which the result keeps; integers give float32.

    >>> nn.Softsign()(tw.ones(1))
    tensor([0.5])
    """

    _function = staticmethod(F.softsign)


class Hardtanh(Applied):
    """x within [min_val, max_val], and the bound beyond: F.hardtanh. Any shape, which the result
    keeps. ValueError where min_val is above max_val.

    >>> nn.Hardtanh()(tw.tensor([-2.0, 0.5]))
    tensor([-1.0,  0.5])
    """

    _function = staticmethod(F.hardtanh)

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        F.hardtanh(F.zeros(1), min_val, max_val)  # checks them
        self._hold(min_val=min_val, max_val=max_val, inplace=inplace)


class ReLU6(Applied):
    """min(max(x, 0), 6): F.relu6. Any shape and dtype, which the result keeps.

    >>> nn.ReLU6()(tw.tensor([-2.0, 7.0]))
    tensor([0., 6.])
    """

    _function = staticmethod(F.relu6)

    def __init__(self, inplace: bool = False) -> None:
        self._hold(inplace=inplace)


class Hardsigmoid(Applied):
    """0 below -3, 1 above 3, x / 6 + 1 / 2 between: F.hardsigmoid. Any shape, which the result
    keeps; float dtypes, else TypeError.

    >>> nn.Hardsigmoid()(tw.zeros(1))
    tensor([0.5])
    """

    _function = staticmethod(F.hardsigmoid)

    def __init__(self, inplace: bool = False) -> None:
        self._hold(inplace=inplace)


class Hardswish(Applied):
    """x * hardsigmoid(x): F.hardswish (Howard et al. 2019). Any shape, which the result keeps;
    float dtypes, else TypeError.

    >>> nn.Hardswish()(tw.tensor([3.0]))
    tensor([3.])
    """

    _function = staticmethod(F.hardswish)

    def __init__(self, inplace: bool = False) -> None:
        self._hold(inplace=inplace)


class Mish(Applied):
    """x * tanh(softplus(x)): F.mish (Misra 2019). Any shape, which the result keeps; float dtypes,
    else TypeError.

    >>> nn.Mish()(tw.ones(1))
    tensor([0.8651])
    """

    _function = staticmethod(F.mish)

    def __init__(self, inplace: bool = False) -> None:
        self._hold(inplace=inplace)


class LogSigmoid(Applied):
    """log(1 / (1 + exp(-x))), without overflow: F.logsigmoid. Any shape, which the result keeps;
    float dtypes, else TypeError.

    >>> nn.LogSigmoid()(tw.zeros(1))
    tensor([-0.6931])
    """

    _function = staticmethod(F.logsigmoid)


class Tanhshrink(Applied):
    """x - tanh(x): F.tanhshrink. Any shape, which the result keeps; integers give float32.

    >>> nn.Tanhshrink()(tw.ones(1))
    tensor([0.2384])
    """

    _function = staticmethod(F.tanhshrink)


class Hardshrink(Applied):
    """x where |x| is above `lambd`, else 0: F.hardshrink. Any shape, which the result keeps; float
    dtypes, else TypeError.

    >>> nn.Hardshrink()(tw.tensor([0.3, 1.0]))
    tensor([0., 1.])
    """

    _function = staticmethod(F.hardshrink)

    def __init__(self, lambd: float = 0.5) -> None:
        self._hold(lambd=lambd)


class Softshrink(Applied):
    """x - lambd above lambd, x + lambd below -lambd, else 0: F.softshrink. Any shape, which the
    result keeps; float dtypes, else TypeError. ValueError on a negative lambd.

    >>> nn.Softshrink()(tw.tensor([0.3, -1.0]))
    tensor([ 0.0, -0.5])
    """

    _function = staticmethod(F.softshrink)

    def __init__(self, lambd: float = 0.5) -> None:
        self._hold(lambd=lambd)


class Threshold(Applied):
    """x where it is above `threshold`, else `value`: F.threshold. Any shape and dtype, which the
    result keeps.

    >>> nn.Threshold(1.0, -5.0)(tw.tensor([0.1, 2.0]))
    tensor([-5.,  2.])
    """

    _function = staticmethod(F.threshold)

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self._hold(threshold=threshold, value=value, inplace=inplace)


class Softmin(Softmax):
    """Softmax of the negative along `dim`: F.softmin. Any shape, which the result keeps; float
    dtypes.

    >>> nn.Softmin(dim=0)(tw.zeros(2))
    tensor([0.5, 0.5])
    """

    def forward(self, input: Tensor) -> Tensor:
        """F.softmin(input, dim)."""
        return F.softmin(input, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W). ValueError on other shapes.

    >>> nn.Softmax2d()(tw.zeros(1, 2, 1, 1)).reshape(-1)
    tensor([0.5, 0.5])
    """

    def forward(self, input: Tensor) -> Tensor:
        """F.softmax(input, -3)."""
        if input.ndim not in (3, 4):
            raise error(
                ValueError, "Softmax2d", "images (N, C, H, W) or (C, H, W)", input.shape,
                "take Softmax(dim)",
            )  # fmt: skip
        return F.softmax(input, -3)


class _Dropped(Dropout):
    """With a dropout of its own."""

    _function: Callable[..., Tensor]

    def forward(self, input: Tensor) -> Tensor:
        """The input with what is dropped."""
        return type(self)._function(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropped):
    """Zeros whole channels of (N, C, L) or (C, L) with probability `p` while training, and scales
    the rest by 1 / (1 - p); nothing in evaluation: F.dropout1d. ValueError on p outside of [0, 1].

    >>> nn.Dropout1d(0.5).eval()(tw.ones(1, 1, 2))
    tensor([[[1., 1.]]])
    """

    _function = staticmethod(F.dropout1d)


class Dropout2d(_Dropped):
    """Zeros whole channels of (N, C, H, W) with probability `p` while training, and scales the rest
    by 1 / (1 - p); nothing in evaluation: F.dropout2d (Tompson et al. 2015). ValueError on p
    outside of [0, 1].

    >>> nn.Dropout2d(0.5).eval()(tw.ones(1, 1, 1, 2))
    tensor([[[[1., 1.]]]])
    """

    _function = staticmethod(F.dropout2d)


class Dropout3d(_Dropped):
    """Zeros whole channels of (N, C, D, H, W) with probability `p` while training, and scales the
    rest by 1 / (1 - p); nothing in evaluation: F.dropout3d. ValueError on p outside of [0, 1].

    >>> nn.Dropout3d(0.5).eval()(tw.ones(1, 1, 1, 1, 2)).sum()
    tensor(2.)
    """

    _function = staticmethod(F.dropout3d)


class AlphaDropout(_Dropped):
    """Drops elements of SELU's outputs to the value that keeps mean and variance while training,
    nothing in evaluation: F.alpha_dropout (Klambauer et al. 2017). Any shape. ValueError on p
    outside of [0, 1].

    >>> nn.AlphaDropout(0.5).eval()(tw.ones(2))
    tensor([1., 1.])
    """

    _function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(_Dropped):
    """AlphaDropout of whole channels of (N, C, ...) while training, nothing in evaluation:
    F.feature_alpha_dropout. ValueError on p outside of [0, 1].

    >>> nn.FeatureAlphaDropout(0.5).eval()(tw.ones(1, 1, 2))
    tensor([[[1., 1.]]])
    """

    _function = staticmethod(F.feature_alpha_dropout)
