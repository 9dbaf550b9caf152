"""Who multiplies: tilework's kernels, or cuBLAS through the array library's matmul.

    set_gemm_variant("kernel")      always the one; "cublas" always the other, where it can
    set_gemm_variant("auto")        whichever was quicker when such a product was first met

A trial runs both a few times, between two events of the device, and waits for them: once for each
shape, dtype and layout. Nothing is tried where time is not a device's (the simulated one), nor for
products that are done before a clock would tell: those are the kernels'. So are all where cuBLAS
is not installed, or has no memory for its work.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from typing import Any

from tilework.engines import device
from tilework.errors import error

VARIANTS = ("kernel", "cublas")
SHORTEST_TRIAL = 2**21  # multiplications
_RUNS = 3

_wanted = "auto"
_found: dict[Hashable, str] = {}
_lock = threading.Lock()


def get_gemm_variant() -> str:
    """ "auto", "kernel" or "cublas"."""
    return _wanted


def set_gemm_variant(name: str) -> None:
    """Who multiplies on a CUDA device from now on: "kernel" (tilework's), "cublas" (CuPy's matmul,
    for float32 at precision "highest" and float64), or "auto": by a trial, which is forgotten here.

    ValueError on another word.

    >>> set_gemm_variant("kernel")
    >>> get_gemm_variant()
    'kernel'
    >>> set_gemm_variant("auto")
    """
    global _wanted
    if name not in ("auto", *VARIANTS):
        raise error(
            ValueError, "set_gemm_variant", "'auto', 'kernel' or 'cublas'", repr(name),
            "name one of them",
        )  # fmt: skip
    _wanted = name
    _found.clear()


def found() -> dict[Hashable, str]:
    """What the trials so far have chosen, by product."""
    return dict(_found)


def chosen(key: Hashable, work: int, ways: dict[str, Callable[[], None]]) -> str:
    """The variant for the product `key` of `work` multiplications; `ways` run it, and may be run
    for a trial."""
    if _wanted != "auto":
        return _wanted
    if work < SHORTEST_TRIAL or not _has_clock():
        return "kernel"
    with _lock:
        if key not in _found:
            _found[key] = min(VARIANTS, key=lambda name: _tried(name, ways[name]))
        return _found[key]


def _has_clock() -> bool:
    served = device.provider
    return served is not None and served.namespace.__name__ == "cupy"


def _tried(name: str, way: Callable[[], None]) -> float:
    """What a trial takes: for ever, of another's library that cannot run here."""
    try:
        return _milliseconds(way)
    except (ImportError, MemoryError):
        if name == "kernel":
            raise
        return math.inf


def _milliseconds(way: Callable[[], None]) -> float:
    served: Any = device.provider
    way()  # what is compiled or found out at a first call is no part of it
    start, end = served.event(True), served.event(True)
    start.record()
    for _ in range(_RUNS):
        way()
    end.record()
    end.synchronize()
    taken: float = start.elapsed_time(end)
    return taken
