"""LeNet-5."""

from __future__ import annotations

from tilework import nn
from tilework.tensor import Tensor


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) as it is built today: ReLU, max-pooling, a linear output.

    Takes (N, in_channels, 28, 28), gives (N, num_classes). Its state_dict is that of the same
    torch.nn.Sequential under the name `layers`.

    >>> LeNet5()(tw.zeros(2, 1, 28, 28)).shape
    (2, 10)
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result
