"""Whether a CUDA device can be used here, asked of the driver alone: silent, and in a tenth of a
millisecond, before anything heavy is imported."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache

_FIX = "pip install 'tilework[cuda]'"


@cache
def driver_devices() -> int | None:
    """How many devices the driver counts; None where there is no driver.

    Asked once: a process does not gain a card.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def missing() -> str:
    """What is missing for tensors on a CUDA device, and what helps; empty where nothing is.

    >>> missing() == "" or ":" in missing()
    True
    """
    devices = driver_devices()
    if devices is None:
        return "no NVIDIA driver (libcuda.so.1): install the card's driver, or stay with 'cpu'"
    if not devices:
        return "the driver finds no CUDA device: nvidia-smi tells why, or stay with 'cpu'"
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy, which holds the arrays of a device, is not installed: {_FIX}"
    if importlib.util.find_spec("tilework._cuda") is None:
        from tilework.engines.cuda import nvrtc  # kernels come of the sources

        return nvrtc.missing()
    return ""
