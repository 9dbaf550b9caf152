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
    """F.leaky_relu.

    >>> nn.LeakyReLU(0.5)(tw.tensor([-1.0, 2.0]))
    tensor([-0.5,  2.0])
    """

    _function = staticmethod(F.leaky_relu)

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        self._hold(negative_slope=negative_slope, inplace=inplace)


class ELU(Applied):
    """F.elu.

    >>> nn.ELU()(tw.tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """

    _function = staticmethod(F.elu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self._hold(alpha=alpha, inplace=inplace)


class SELU(Applied):
    """F.selu.

    >>> nn.SELU()(tw.tensor([-1.0, 1.0]))
    tensor([-1.1113,  1.0507])
    """

    _function = staticmethod(F.selu)

    def __init__(self, inplace: bool = False) -> None:
        self._hold(inplace=inplace)


class CELU(Applied):
    """F.celu.

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
    """F.rrelu: slopes are drawn while training.

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
    """F.softplus.

    >>> nn.Softplus()(tw.zeros(1))
    tensor([0.6931])
    """

    _function = staticmethod(F.softplus)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self._hold(beta=beta, threshold=threshold)


class Softsign(Applied):
    """F.softsign.

    >>> nn.Softsign()(tw.ones(1))
    tensor([0.5])
    """

    _function = staticmethod(F.softsign)


class Hardtanh(Applied):
    """F.hardtanh. ValueError where min_val is above max_val.

    >>> nn.Hardtanh()(tw.tensor([-2.0, 0.5]))
    tensor([-1.0,  0.5])
    """

    _function = staticmethod(F.hardtanh)

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        F.hardtanh(F.zeros(1), min_val, max_val)  # checks them
        self._hold(min_val=min_val, max_val=max_val, inplace=inplace)


class ReLU6(Applied):
    """F.relu6.

    >>> nn.ReLU6()(tw.tensor([-2.0, 7.0]))
    tensor([0., 6.])
    """

    _function = staticmethod(F.relu6)

    def __init__(self, inplace: bool = False) -> None:
        self._hold(inplace=inplace)


class Hardsigmoid(Applied):
    """F.hardsigmoid.

    >>> nn.Hardsigmoid()(tw.zeros(1))
    tensor([0.5])
    """

    _function = staticmethod(F.hardsigmoid)

    def __init__(self, inplace: bool = False) -> None:
        self._hold(inplace=inplace)


class Hardswish(Applied):
    """F.hardswish.

    >>> nn.Hardswish()(tw.tensor([3.0]))
    tensor([3.])
    """

    _function = staticmethod(F.hardswish)

    def __init__(self, inplace: bool = False) -> None:
        self._hold(inplace=inplace)


class Mish(Applied):
    """F.mish.

    >>> nn.Mish()(tw.ones(1))
    tensor([0.8651])
    """

    _function = staticmethod(F.mish)

    def __init__(self, inplace: bool = False) -> None:
        self._hold(inplace=inplace)


class LogSigmoid(Applied):
    """F.logsigmoid.

    >>> nn.LogSigmoid()(tw.zeros(1))
    tensor([-0.6931])
    """

    _function = staticmethod(F.logsigmoid)


class Tanhshrink(Applied):
    """F.tanhshrink.

    >>> nn.Tanhshrink()(tw.ones(1))
    tensor([0.2384])
    """

    _function = staticmethod(F.tanhshrink)


class Hardshrink(Applied):
    """F.hardshrink.

    >>> nn.Hardshrink()(tw.tensor([0.3, 1.0]))
    tensor([0., 1.])
    """

    _function = staticmethod(F.hardshrink)

    def __init__(self, lambd: float = 0.5) -> None:
        self._hold(lambd=lambd)


class Softshrink(Applied):
    """F.softshrink.

    >>> nn.Softshrink()(tw.tensor([0.3, -1.0]))
    tensor([ 0.0, -0.5])
    """

    _function = staticmethod(F.softshrink)

    def __init__(self, lambd: float = 0.5) -> None:
        self._hold(lambd=lambd)


class Threshold(Applied):
    """F.threshold.

    >>> nn.Threshold(1.0, -5.0)(tw.tensor([0.1, 2.0]))
    tensor([-5.,  2.])
    """

    _function = staticmethod(F.threshold)

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self._hold(threshold=threshold, value=value, inplace=inplace)


class Softmin(Softmax):
    """Softmax of the negative along `dim`.

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


class Dropout1d(Dropout):
    """F.dropout1d while training, nothing in evaluation.

    >>> nn.Dropout1d(0.5).eval()(tw.ones(1, 1, 2))
    tensor([[[1., 1.]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input with channels dropped."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(Dropout):
    """F.dropout2d while training, nothing in evaluation.

    >>> nn.Dropout2d(0.5).eval()(tw.ones(1, 1, 1, 2))
    tensor([[[[1., 1.]]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input with channels dropped."""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(Dropout):
    """F.dropout3d while training, nothing in evaluation.

    >>> nn.Dropout3d(0.5).eval()(tw.ones(1, 1, 1, 1, 2)).sum()
    tensor(2.)
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input with channels dropped."""
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(Dropout):
    """F.alpha_dropout while training, nothing in evaluation.

    >>> nn.AlphaDropout(0.5).eval()(tw.ones(2))
    tensor([1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input with elements dropped."""
        return F.alpha_dropout(input, self.p, self.training, self.inplace)


class FeatureAlphaDropout(Dropout):
    """F.feature_alpha_dropout while training, nothing in evaluation.

    >>> nn.FeatureAlphaDropout(0.5).eval()(tw.ones(1, 1, 2))
    tensor([[[1., 1.]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input with channels dropped."""
        return F.feature_alpha_dropout(input, self.p, self.training, self.inplace)
