"""Whether a CUDA device can be used here, asked of the driver alone: silent, and in a tenth of a
millisecond, before anything heavy is imported."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from typing import Any

OLDEST = (8, 0)  # the compute capability from which cp.async and bfloat16's products are there
_FIX = "pip install 'tilework[cuda]'"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_CUDA = 13  # what cupy-cuda13x and _cuda are built of: an older driver runs neither


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


def capability() -> tuple[int, int] | None:
    """The first card's compute capability: (9, 0). None where the driver does not say."""
    found = _driver()
    if found is None or found[1]:
        return None
    ask, major, minor = found[0].cuDeviceGetAttribute, ctypes.c_int(0), ctypes.c_int(0)
    failed = ask(ctypes.byref(major), _MAJOR, 0) or ask(ctypes.byref(minor), _MINOR, 0)
    return None if failed else (major.value, minor.value)


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the driver runs: (13, 0). None where it does not say."""
    found, version = _driver(), ctypes.c_int(0)
    if found is None or found[0].cuDriverGetVersion(ctypes.byref(version)):
        return None
    return version.value // 1000, version.value % 1000 // 10


def _installed(distribution: str) -> bool:
    import importlib.metadata as metadata  # which costs milliseconds, and is seldom asked

    try:
        return bool(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return False


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
    if (card := capability()) is not None and card < OLDEST:
        said = f"compute capability 8.0 or later (2020) is wanted, and the card's is {card[0]}"
        return f"{said}.{card[1]}: stay with 'cpu'"
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy, which holds the arrays of a device, is not installed: {_FIX}"
    built = importlib.util.find_spec("tilework._cuda") is not None
    newest = driver_cuda()
    if newest and newest[0] < _CUDA and (built or _installed(f"cupy-cuda{_CUDA}x")):
        said = f"the driver runs CUDA {newest[0]}.{newest[1]}, and what is installed is of {_CUDA}"
        return f"{said}: install a driver of 580 or later, or stay with 'cpu'"
    if not built:
        from tilework.engines.cuda import nvrtc  # kernels come of the sources

        return nvrtc.missing()
    return ""
