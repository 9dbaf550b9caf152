"""Random numbers: Philox4x32-10 (csrc/base/philox.h) and the formulas of kernels/random/random.h
over arrays of integers."""

from __future__ import annotations

import math
from typing import Any

from tilework.arrays import as_array, host
from tilework.dtypes import float32
from tilework.engines import device
from tilework.engines.cupy.base import Array, quiet, stored

__all__ = ["normal", "random_bits", "uniform"]

_LOW = 0xFFFFFFFF
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_INCREMENTS = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10


def _here() -> Any:
    """The namespace of what is made from numbers alone: the device's that serves, else NumPy."""
    return host if device.provider is None else device.provider.namespace


def philox(xp: Any, seed: int, blocks: Array, call: int) -> tuple[Array, Array, Array, Array]:
    """The four words of each block's counter, each in a uint64: the products need the room."""
    of = blocks.dtype.type
    half, low = of(32), of(_LOW)
    m0, m1 = map(of, _MULTIPLIERS)
    k0, k1 = seed & _LOW, seed >> 32 & _LOW
    c0, c1 = blocks & low, blocks >> half
    c2, c3 = (xp.full(blocks.shape, of(n), blocks.dtype) for n in (call & _LOW, call >> 32 & _LOW))
    for _ in range(_ROUNDS):
        p0, p1 = m0 * c0, m1 * c2
        c0, c1 = (p1 >> half) ^ c1 ^ of(k0), p1 & low
        c2, c3 = (p0 >> half) ^ c3 ^ of(k1), p0 & low
        k0, k1 = k0 + _INCREMENTS[0] & _LOW, k1 + _INCREMENTS[1] & _LOW
    return c0, c1, c2, c3


def words(xp: Any, count: int, seed: int, call: int) -> Array:
    """The words of the first `count` positions, uint32."""
    blocks = xp.arange(-(-count // 4), dtype="uint64")
    return xp.stack(philox(xp, seed, blocks, call), -1).reshape(-1)[:count].astype("uint32")


def words_at(xp: Any, positions: Array, seed: int, call: int) -> Array:
    """The words of any positions (uint64), in uint64."""
    of = positions.dtype.type
    four = philox(xp, seed, positions >> of(2), call)
    place = positions & of(3)
    return xp.where(
        place < of(2), xp.where(place == of(0), four[0], four[1]),
        xp.where(place == of(2), four[2], four[3]),
    )  # fmt: skip


def _long_words(xp: Any, count: int, seed: int, call: int) -> Array:
    pairs = words(xp, 2 * count, seed, call).astype("uint64")
    return pairs[::2] | pairs[1::2] << pairs.dtype.type(32)


def _shifted(x: Array, by: int) -> Array:
    """x >> by, in float64: exact, as no more than 53 bits are left."""
    return (x >> x.dtype.type(by)).astype("float64")


def random_bits(shape: tuple[int, ...], seed: int, call: int) -> Array:
    return words(_here(), math.prod(shape), seed, call).reshape(shape)


def uniform(shape: tuple[int, ...], dtype: str, seed: int, call: int) -> Array:
    xp, n = _here(), math.prod(shape)
    if dtype == "float32":
        return stored(_shifted(words(xp, n, seed, call), 8) * 2.0**-24, float32).reshape(shape)
    return as_array(_shifted(_long_words(xp, n, seed, call), 11) * 2.0**-53).reshape(shape)


@quiet
def normal(shape: tuple[int, ...], dtype: str, seed: int, call: int) -> Array:
    xp, n = _here(), math.prod(shape)
    pairs = (n + 1) // 2
    if dtype == "float32":
        drawn = words(xp, 2 * pairs, seed, call)
        u, t = (_shifted(drawn[::2], 0) + 0.5) * 2.0**-32, _shifted(drawn[1::2], 0) * 2.0**-32
    else:
        drawn = _long_words(xp, 2 * pairs, seed, call)
        u = (_shifted(drawn[::2], 12) + 0.5) * 2.0**-52
        t = _shifted(drawn[1::2], 11) * 2.0**-53
    # Quarter turns come off exactly: near a zero of sine or cosine the angle's rounding would show.
    quarters = xp.rint(4.0 * t)
    angle = 2.0 * math.pi * (t - quarters / 4.0)
    c, s = xp.cos(angle), xp.sin(angle)
    odd = (quarters == 1.0) | (quarters == 3.0)
    cosine, sine = xp.where(odd, s, c), xp.where(odd, c, s)
    radius = xp.sqrt(-2.0 * xp.log(u))
    first = radius * xp.where((quarters == 1.0) | (quarters == 2.0), -cosine, cosine)
    second = radius * xp.where((quarters == 2.0) | (quarters == 3.0), -sine, sine)
    both = xp.stack((first, second), -1).reshape(-1)[:n]
    return both.astype(dtype).reshape(shape)
