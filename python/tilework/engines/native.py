"""The compiled engine: the extension's own functions, and nothing between."""

from importlib import import_module
from typing import Any

from tilework._native import *  # noqa: F403


def _borrowed(name: str) -> Any:
    """A function that the extension lacks, from the fallback engine: imported at its first call."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module("tilework.engines.numba.conv"), name)(*arguments)

    return call


conv_forward = _borrowed("conv_forward")
conv_backward = _borrowed("conv_backward")
conv_transpose_forward = _borrowed("conv_transpose_forward")
conv_transpose_backward = _borrowed("conv_transpose_backward")
