"""What the weights of convolutional networks are before training, for `Module.apply`."""

from __future__ import annotations

from tilework import nn


def initialise_convolution(module: nn.Module) -> None:
    """A convolution's weight suits ReLU behind it, by its outputs (He et al. 2015); the bias
    is 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def initialise_classifier(module: nn.Module) -> None:
    """A convolution so; a linear layer's weight is normal, of a deviation of 0.01, the bias 0."""
    initialise_convolution(module)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
