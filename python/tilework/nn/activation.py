"""Activations as modules.

`fused` is the name under which F.linear applies an activation in its own pass.
"""

from __future__ import annotations

from tilework import functional as F
from tilework.nn.module import Module
from tilework.tensor import Tensor


class Activation(Module):
    """What all activations share."""

    fused: str

    def forward(self, input: Tensor) -> Tensor:
        """The activation of each element."""
        raise NotImplementedError


class ReLU(Activation):
    """max(x, 0). `inplace` writes over the input, as in PyTorch; it saves nothing here.

    >>> nn.ReLU()(tw.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    fused = "relu"

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """max(x, 0)."""
        return F.relu(input, self.inplace)

    def extra_repr(self) -> str:
        """Whether it was asked to work in place."""
        return "inplace=True" if self.inplace else ""


class GELU(Activation):
    """x times the normal distribution function of x: F.gelu (Hendrycks and Gimpel 2016). Any shape,
    which the result keeps. `approximate` is "none" or "tanh" (else ValueError).

    >>> nn.GELU(approximate="tanh")
    GELU(approximate='tanh')
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        F.gelu(F.zeros(1), approximate)  # checks the word
        self.approximate = approximate

    @property
    def fused(self) -> str:  # type: ignore[override]
        """The name of the formula in use."""
        return "gelu" if self.approximate == "none" else "gelu_tanh"

    def forward(self, input: Tensor) -> Tensor:
        """F.gelu(input, approximate)."""
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """The formula."""
        return f"approximate={self.approximate!r}"


class SiLU(Activation):
    """x * sigmoid(x), also called swish: F.silu (Elfwing et al. 2018). Any shape, which the result
    keeps; integers give float32.

    >>> nn.SiLU()(tw.zeros(1))
    tensor([0.])
    """

    fused = "silu"

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """F.silu(input)."""
        return F.silu(input, self.inplace)


class Tanh(Activation):
    """The hyperbolic tangent: F.tanh. Any shape, which the result keeps; integers give float32.

    >>> nn.Tanh()(tw.zeros(1))
    tensor([0.])
    """

    fused = "tanh"

    def forward(self, input: Tensor) -> Tensor:
        """F.tanh(input)."""
        return F.tanh(input)


class Sigmoid(Activation):
    """1 / (1 + exp(-x)): F.sigmoid. Any shape, which the result keeps; integers give float32.

    >>> nn.Sigmoid()(tw.zeros(1))
    tensor([0.5])
    """

    fused = "sigmoid"

    def forward(self, input: Tensor) -> Tensor:
        """F.sigmoid(input)."""
        return F.sigmoid(input)


class GLU(Module):
    """F.glu: the first half along `dim` times the sigmoid of the second.

    >>> nn.GLU()(tw.ones(3, 8)).shape
    (3, 4)
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """F.glu(input, dim), half as long along dim."""
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"


class SwiGLU(GLU):
    """F.swiglu of the halves along `dim`: silu of the first times the second.

    >>> nn.Sequential(nn.Linear(6, 16), nn.SwiGLU(), nn.Linear(8, 6))(tw.ones(3, 6)).shape
    (3, 6)
    """

    def forward(self, input: Tensor) -> Tensor:
        """F.swiglu(input, dim=dim), half as long along dim."""
        return F.swiglu(input, dim=self.dim)


class GEGLU(GLU):
    """F.geglu of the halves along `dim`: gelu of the first times the second.

    `approximate` is "none" or "tanh" (else ValueError).

    >>> nn.GEGLU(approximate="tanh")(tw.ones(3, 8)).shape
    (3, 4)
    """

    def __init__(self, dim: int = -1, *, approximate: str = "none") -> None:
        super().__init__(dim)
        F.geglu(F.zeros(2), approximate=approximate)  # checks the word
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """F.geglu(input, dim=dim, approximate=approximate), half as long along dim."""
        return F.geglu(input, dim=self.dim, approximate=self.approximate)

    def extra_repr(self) -> str:
        """The axis and the formula."""
        return f"dim={self.dim}, approximate={self.approximate!r}"


class Softmax(Module):
    """exp(x) over its sum along `dim`, without overflow: F.softmax. Any shape, which the result
    keeps; float dtypes.

    >>> nn.Softmax(dim=0)(tw.zeros(2))
    tensor([0.5, 0.5])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """F.softmax(input, dim)."""
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """The logarithm of softmax along `dim`, without overflow: F.log_softmax. Any shape, which the
    result keeps; float dtypes.

    >>> nn.LogSoftmax(dim=0)(tw.zeros(2))
    tensor([-0.6931, -0.6931])
    """

    def forward(self, input: Tensor) -> Tensor:
        """F.log_softmax(input, dim)."""
        return F.log_softmax(input, self.dim)
