"""The perceptron: one neuron with a threshold."""

from __future__ import annotations

from tilework import nn
from tilework.tensor import Tensor


class Perceptron(nn.Module):
    """Which side of a plane points lie on (Rosenblatt 1958): from (N, features) to scores (N,),
    above 0 for class 1.

    >>> Perceptron(4)(tw.zeros(2, 4)).shape
    (2,)
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.plane = nn.Linear(features, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.plane(x).squeeze(1)
        return result
