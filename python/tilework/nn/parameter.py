"""Parameter: a tensor that modules register and optimisers update."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilework.errors import error
from tilework.printing import describe
from tilework.tensor import Tensor, deep_copy, fresh


class Parameter(Tensor):
    """A leaf on the memory of `data` (a Tensor), with requires_grad set; TypeError on another
    thing.

    >>> nn.Parameter(tw.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        if data is None:
            data = fresh(np.empty(0, np.float32))
        if not isinstance(data, Tensor):
            raise error(
                TypeError, "Parameter", "a Tensor", type(data).__name__, "wrap it: tilework.tensor"
            )
        super().__init__(data._array, data._storage)
        data._share(self)
        if requires_grad:
            self.requires_grad_()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """A copy without the gradient, as in PyTorch: a copied model begins with none."""
        twin: Parameter = deep_copy(self, memo)
        return twin

    def __repr__(self) -> str:
        return "Parameter containing:\n" + describe(self, "tensor")
