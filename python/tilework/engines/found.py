"""Whether a CUDA device can be used here, asked of the driver alone: silent, and in a tenth of a
millisecond, before anything heavy is imported."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from typing import Any

_FIX = "pip install 'tilework[cuda]'"


@cache
def _driver() -> tuple[Any, int] | None:
    """The driver and what its cuInit answers, 0 where all is well; None where there is no driver.

    Asked once: a process does not gain a card.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return driver, driver.cuInit(0)


def driver_devices() -> int | None:
    """How many devices the driver counts; None where there is no driver."""
    found = _driver()
    if found is None:
        return None
    driver, status = found
    count = ctypes.c_int(0)
    if status or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def device_name() -> str:
    """What the driver calls the first device; empty where it finds none."""
    found = _driver()
    if found is None or not driver_devices():
        return ""
    name = ctypes.create_string_buffer(256)
    found[0].cuDeviceGetName(name, len(name), 0)
    return name.value.decode()


def missing() -> str:
    """What is missing for tensors on a CUDA device, and what helps; empty where nothing is.

    >>> missing() == "" or ":" in missing()
    True
    """
    devices = driver_devices()
    if devices is None:
        return "no NVIDIA driver (libcuda.so.1): install the card's driver, or stay with 'cpu'"
    if not devices:
        found = _driver()
        status = f" (cuInit answers {found[1]})" if found and found[1] else ""
        return f"the driver finds no CUDA device{status}: nvidia-smi tells why, or stay with 'cpu'"
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy, which holds the arrays of a device, is not installed: {_FIX}"
    if importlib.util.find_spec("tilework._cuda") is None:
        from tilework.engines.cuda import nvrtc  # kernels come of the sources

        return nvrtc.missing()
    return ""
