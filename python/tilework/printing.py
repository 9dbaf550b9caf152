"""Tensors in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilework import dtypes
from tilework.devices import CPU, moved


def describe(x: Any, word: str) -> str:
    """The repr of a tensor: its numbers as PyTorch prints them, and what is not the default."""
    array = moved(x._array, CPU)
    if array.dtype == dtypes.bfloat16:
        array = array.astype(np.float32)
    numbers = np.array2string(
        array, separator=", ", prefix=word + "(", precision=4, threshold=1000, edgeitems=3,
        floatmode="maxprec_equal",
    )  # fmt: skip
    parts = [numbers]
    if array.size == 0 and array.ndim != 1:
        parts.append(f"size={x.shape}")
    if x.is_cuda:
        parts.append(f"device='{x.device}'")
    if x.dtype not in (dtypes.float32, dtypes.int64, dtypes.bool):
        parts.append(f"dtype={x.dtype}")
    if x._node is not None:
        parts.append(f"grad_fn=<{x.grad_fn}>")
    elif x._requires_grad:
        parts.append("requires_grad=True")
    return f"{word}({', '.join(parts)})"
