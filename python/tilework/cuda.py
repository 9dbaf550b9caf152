"""CUDA devices, as a program asks for them that runs with or without: there are none in this build.

>>> device = tw.device("cuda" if tw.cuda.is_available() else "cpu")
>>> device
device(type='cpu')
"""

from __future__ import annotations


def is_available() -> bool:
    """Whether tensors can live on a CUDA device: False.

    >>> tw.cuda.is_available()
    False
    """
    return False


def device_count() -> int:
    """How many CUDA devices tensors can live on: 0.

    >>> tw.cuda.device_count()
    0
    """
    return 0


def manual_seed_all(seed: int) -> None:
    """Seeds the generators of all CUDA devices: of none. tilework.manual_seed seeds the CPU's.

    >>> tw.cuda.manual_seed_all(1)
    """
