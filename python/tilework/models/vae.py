"""The variational autoencoder: an autoencoder whose codes can be drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

from tilework import functional as F
from tilework import nn
from tilework.models.autoencoder import perceptron
from tilework.tensor import Tensor


class VAE(nn.Module):
    """A perceptron to a normal distribution over codes, and its mirror image from a code to an
    image (Kingma and Welling 2014).

    `sizes` are the widths from an image's pixels to the code's, at least two. Takes images (N, ...)
    of pixels in [0, 1] and the noise (N, code), standard normal, that says which code of the
    distribution is meant: with none, its mean. Gives images, means and log variances.

    >>> model = VAE([784, 128, 8])
    >>> images, mean, log_variance = model(tw.zeros(2, 1, 28, 28), tw.randn(2, 8))
    >>> images.shape, mean.shape, model.decode(tw.randn(5, 8)).shape
    ((2, 1, 28, 28), (2, 8), (5, 784))
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.encoder = perceptron([*sizes[:-1], 2 * sizes[-1]])
        self.decoder = perceptron(sizes[::-1], nn.Sigmoid())

    def decode(self, code: Tensor) -> Tensor:
        result: Tensor = self.decoder(code)
        return result

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x.flatten(1)).chunk(2, 1)
        code = mean if noise is None else mean + F.exp(0.5 * log_variance) * noise
        return self.decode(code).reshape(x.shape), mean, log_variance
