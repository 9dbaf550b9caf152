"""Which ISA variants of the compiled kernels this machine can run: tests go over all of them."""

from __future__ import annotations

from tilework import engines


def runnable(family: str) -> list[str]:
    """The names of a family's variants that run here, the slowest first; for `tilework.set_isa`.

    Empty without the compiled engine. A build with AMX's tiles in software (the CMake preset
    `twin`) lists "twin" for the families that have them, gemm and conv.

    >>> "amx" in runnable("softmax")  # tiles compute products alone
    False
    """
    if "native" not in engines.available_engines():
        return []
    from tilework import _native

    return [variant["name"] for variant in _native.variants()[family] if variant["runs"]]
