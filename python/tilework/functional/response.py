"""Local response normalisation: each value beside those of the channels around it."""

from __future__ import annotations

from tilework.errors import error
from tilework.functional.cast import widening
from tilework.functional.common import need_float, operand
from tilework.functional.pool import avg_pool2d
from tilework.tensor import Tensor


@widening
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha * mean(x^2))^beta, the mean over the `size` channels around, zeros outside.

    input (N, C, ...), float (else TypeError), of the same shape as the result. Of an even size one
    channel more lies before than behind. ValueError where there are fewer axes than three, or size
    is below 1. Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional
    neural networks", 2012; alpha is divided by the size, as in PyTorch.

    >>> F.local_response_norm(tw.tensor([[[3.0], [4.0]]]), 3, alpha=3.0, beta=0.5, k=0.0)
    tensor([[[0.6],
             [0.8]]])
    """
    x = operand(input, "local_response_norm")
    need_float("local_response_norm", x)
    if x.ndim < 3:
        raise error(
            ValueError, "local_response_norm", "input (N, C, ...) of 3 axes or more", x.shape,
            "add the axis that is missing",
        )  # fmt: skip
    if size < 1:
        raise error(ValueError, "local_response_norm", "size of at least 1", size, "raise it")
    if not x.numel():
        return x * 1.0
    # Channels as the height of a plane: a window's mean along them is a pooling's.
    planes = x.square().reshape(x.shape[0], 1, x.shape[1], -1)
    mean = avg_pool2d(planes, (size, 1), 1, (size // 2, 0))[:, :, : x.shape[1]]
    scale: Tensor = (mean * alpha + k) ** beta
    return x / scale.reshape(x.shape)
