"""Autoencoders: a few numbers from an image, and the image again from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tilework import nn
from tilework.models.mlp import MLP
from tilework.tensor import Tensor


def perceptron(sizes: Sequence[int], last: nn.Module | None = None) -> nn.Sequential:
    """Linear layers of these widths, ReLU between them, and `last` behind them."""
    layers = MLP(sizes).layers
    return layers if last is None else layers.append(last)


class Autoencoder(nn.Module):
    """A multilayer perceptron to a code and its mirror image back (Hinton and Salakhutdinov 2006).

    `sizes` are the widths from an image's pixels to the code's, at least two. Takes images (N, ...)
    of pixels in [0, 1], gives such images.

    >>> model = Autoencoder([784, 128, 16])
    >>> x = tw.zeros(2, 1, 28, 28)
    >>> model(x).shape, model.encode(x).shape
    ((2, 1, 28, 28), (2, 16))
    """

    def __init__(self, sizes: Sequence[int], code: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = perceptron(sizes, code)
        self.decoder = perceptron(sizes[::-1], nn.Sigmoid())

    def encode(self, x: Tensor) -> Tensor:
        result: Tensor = self.encoder(x.flatten(1))
        return result

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.encode(x)).reshape(x.shape)
        return result


class SparseAutoencoder(Autoencoder):
    """An autoencoder whose code a loss can ask to be mostly near 0; it gives image and code.

    `activation` "sigmoid" makes the code's numbers shares, for a penalty by their mean (Ng 2011);
    "relu" lets them be 0, for a penalty by their size.

    >>> image, code = SparseAutoencoder([784, 128, 16])(tw.zeros(2, 1, 28, 28))
    >>> image.shape, code.shape
    ((2, 1, 28, 28), (2, 16))
    """

    def __init__(
        self, sizes: Sequence[int], activation: Literal["sigmoid", "relu"] = "relu"
    ) -> None:
        super().__init__(sizes, nn.Sigmoid() if activation == "sigmoid" else nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        code = self.encode(x)
        return self.decoder(code).reshape(x.shape), code


class ConvAutoencoder(nn.Module):
    """Two convolutions of stride 2 and a linear layer to the code, and their mirror image back
    (Masci et al. 2011).

    Takes images (N, 1, size, size) of pixels in [0, 1], `size` a multiple of 4, gives such images.

    >>> model = ConvAutoencoder(28, code=16)
    >>> x = tw.zeros(2, 1, 28, 28)
    >>> model(x).shape, model.encode(x).shape
    ((2, 1, 28, 28), (2, 16))
    """

    def __init__(self, size: int, code: int, width: int = 16) -> None:
        super().__init__()
        flat = 2 * width * (size // 4) ** 2
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(flat, code),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(code, flat), nn.ReLU(), nn.Unflatten(1, (2 * width, size // 4, size // 4)),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def encode(self, x: Tensor) -> Tensor:
        result: Tensor = self.encoder(x)
        return result

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.encode(x))
        return result


class AnomalyDetector(nn.Module):
    """How strange images (N, ...) are: the mean squared errors (N,) of what an autoencoder, which
    has learnt from ordinary ones, makes of them.

    >>> AnomalyDetector([784, 32])(tw.zeros(2, 1, 28, 28)).shape
    (2,)
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.autoencoder = Autoencoder(sizes)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = ((self.autoencoder(x) - x) ** 2).flatten(1).mean(1)
        return result
