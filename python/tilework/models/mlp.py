"""The multilayer perceptron."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tilework import nn
from tilework.tensor import Tensor


class MLP(nn.Module):
    """Linear layers with ReLU and, where `dropout` is not 0, dropout between them.

    `sizes` are the widths from input to output, at least two. Takes (N, ...) and flattens all axes
    but the first, gives (N, sizes[-1]). Its state_dict is that of the same torch.nn.Sequential
    under the name `layers`.

    >>> import tilework as tw
    >>> MLP([784, 512, 10])(tw.zeros(2, 1, 28, 28)).shape
    (2, 10)
    """

    def __init__(self, sizes: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            if i:
                layers.append(nn.ReLU())
            if i and dropout:
                layers.append(nn.Dropout(dropout))
            layers.append(nn.Linear(inputs, outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x.flatten(1))
        return result
