"""What a user may set: threads, ISA, precision, engine, memory. Each has an environment variable.

| variable | twin |
|---|---|
| TILEWORK_ENGINE | use_engine() |
| TILEWORK_NUM_THREADS | set_num_threads() |
| TILEWORK_ISA | set_isa() |
| TILEWORK_PRECISION | set_float32_matmul_precision() |
| TILEWORK_CONV_ROUTINE | set_conv_routine() |
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from tilework import engines
from tilework._version import __version__
from tilework.errors import error

ENVIRONMENT: dict[str, str] = {
    "TILEWORK_ENGINE": "use_engine",
    "TILEWORK_NUM_THREADS": "set_num_threads",
    "TILEWORK_ISA": "set_isa",
    "TILEWORK_PRECISION": "set_float32_matmul_precision",
    "TILEWORK_CONV_ROUTINE": "set_conv_routine",
}
NOT_SET = "(not set)"  # what settings() says of such a variable
PRECISIONS = ("highest", "high", "medium")

_precision = "highest"


def _native() -> ModuleType | None:
    """The compiled engine's module while it is in use."""
    return engines.engine_module() if engines.current_engine() == "native" else None


def _need_native(what: str) -> ModuleType:
    module = _native()
    if module is None:
        raise error(
            ValueError, what, "the native engine", engines.current_engine(), 'use_engine("native")'
        )
    return module


def get_num_threads() -> int:
    """The number of threads that kernels may use, the caller's included."""
    module = _native()
    if module is not None:
        return int(module.num_threads())
    import numba

    return int(numba.get_num_threads())


def set_num_threads(n: int) -> None:
    """Sets the number of threads that kernels may use; results do not depend on it (native).

    ValueError below 1. The default is what affinity and the container's quota leave;
    TILEWORK_NUM_THREADS overrides it.
    """
    if not isinstance(n, int) or n < 1:
        raise error(ValueError, "set_num_threads", "a whole number from 1", n, "raise it")
    module = _native()
    if module is not None:
        module.set_num_threads(n)
        return
    import numba

    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def get_isa() -> str:
    """The instruction set that kernels are chosen for: "generic", "avx2", "avx512", "avx512bf16",
    "amx"; "numba" where that engine is in use."""
    module = _native()
    return "numba" if module is None else str(module.active_isa())


def set_isa(name: str) -> None:
    """Forces an instruction set, or with "auto" takes the fastest again. ValueError where this
    processor cannot run it, or on the numba engine.

    TILEWORK_ISA does the same at import.
    """
    _need_native("set_isa").set_isa(name)
    engines.changed()


def get_conv_routine() -> str | None:
    """The routine that all convolutions are held to; None where each takes what suits it best."""
    module = _native()
    return None if module is None else module.conv_routine()


def set_conv_routine(name: str | None) -> None:
    """Holds all convolutions to one routine of the compiled engine ("blocked", "lanes"), or with
    None lets each take what suits it best again: tilework.explain_conv2d() says which that is.

    ValueError on another name, or on the numba engine; convolutions that the routine does not suit
    raise it too. TILEWORK_CONV_ROUTINE does the same at import.
    """
    if name is not None or _native() is not None:
        _need_native("set_conv_routine").set_conv_routine(name or "")


def get_float32_matmul_precision() -> str:
    """ "highest", "high" or "medium"."""
    return _precision


def set_float32_matmul_precision(precision: str) -> None:
    """How exact float32 products are, in convolutions too: "highest" (no worse than plain float32),
    "high" (three bfloat16 products may stand for one, and 3x3 convolutions may lose two bits by
    minimal filtering of 4x4 pixels), "medium" (one bfloat16 product may). On CUDA, as in PyTorch,
    "high" rounds factors to tf32 (eleven bits of the 24) and "medium" to bfloat16 (eight).

    ValueError on another word. TILEWORK_PRECISION does the same at import.
    """
    global _precision
    if precision not in PRECISIONS:
        known = ", ".join(repr(p) for p in PRECISIONS)
        raise error(
            ValueError, "set_float32_matmul_precision", f"one of {known}", repr(precision),
            "name one of them",
        )  # fmt: skip
    _precision = precision
    module = _native()
    if module is not None:
        module.set_matmul_precision(precision)
    engines.changed()


def empty_cache() -> None:
    """Gives the memory that the pool keeps for later outputs back to the system."""
    module = _native()
    if module is not None:
        module.pool_trim()


def memory_stats() -> dict[str, int]:
    """The memory pool's figures, in bytes and counts; empty on an engine without a pool."""
    module = _native()
    return {} if module is None else dict(module.pool_stats())


def set_memory_limit(bytes: int) -> None:
    """Bounds what the pool keeps for later outputs. ValueError below 0."""
    if bytes < 0:
        raise error(ValueError, "set_memory_limit", "0 or more bytes", bytes, "raise it")
    module = _native()
    if module is not None:
        module.pool_set_limit(bytes)


def settings() -> dict[str, Any]:
    """All of the above, as show_config prints it."""
    return {
        "version": __version__,
        "engine": engines.current_engine(),
        "engines": ", ".join(engines.available_engines()),
        "isa": get_isa(),
        "threads": get_num_threads(),
        "float32 matmul precision": get_float32_matmul_precision(),
        "convolution routine": get_conv_routine() or "by shape",
        **{name: os.environ.get(name, NOT_SET) for name in ENVIRONMENT},
    }


def show_config() -> None:
    """Prints the settings in force, a line each."""
    for name, value in settings().items():
        print(f"{name}: {value}")


def from_environment() -> None:
    """Applies what the environment asks for where the engine does not do that itself."""
    if os.environ.get("TILEWORK_PRECISION"):
        set_float32_matmul_precision(os.environ["TILEWORK_PRECISION"])
    if os.environ.get("TILEWORK_CONV_ROUTINE"):
        set_conv_routine(os.environ["TILEWORK_CONV_ROUTINE"])
    threads = os.environ.get("TILEWORK_NUM_THREADS")
    if not threads:
        return
    module = _native()
    if module is not None:
        module.num_threads()  # reads the variable: a wrong one fails now, not in the first kernel
    elif threads.isdigit() and int(threads):
        set_num_threads(int(threads))
    else:
        raise error(
            ValueError, "TILEWORK_NUM_THREADS", "a whole number from 1", repr(threads), "set one"
        )
