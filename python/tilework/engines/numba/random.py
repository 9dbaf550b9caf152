"""Random numbers: Philox4x32-10 and the formulas of csrc/kernels/random/random.h, bit for bit."""

import math
from typing import Any

import numpy as np

from tilework.engines.numba.compiled import jit
from tilework.engines.numba.layout import Array

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@jit
def philox(seed: Any, block: Any, call: Any) -> Any:
    """The four 32-bit words of one counter, each in a uint64 (the products need the room)."""
    c0, c1 = block & _LOW, block >> _HALF
    c2, c3 = call & _LOW, call >> _HALF
    k0, k1 = seed & _LOW, seed >> _HALF
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@jit
def _fill_words(out: Any, seed: Any, call: Any) -> None:
    full = out.size // 4
    for block in range(full):
        words = philox(seed, np.uint64(block), call)
        for i in range(4):
            out[4 * block + i] = words[i]
    words = philox(seed, np.uint64(full), call)
    for i in range(4 * full, out.size):
        out[i] = words[i - 4 * full]


@jit
def drop(x: Any, out: Any, threshold: Any, scale: Any, seed: Any, call: Any) -> None:
    """out = x * scale where the word of its position reaches the threshold, else 0."""
    for block in range((x.size + 3) // 4):
        words = philox(seed, np.uint64(block), call)
        for i in range(4 * block, min(4 * block + 4, x.size)):
            out[i] = x[i] * scale if words[i - 4 * block] >= threshold else 0


def key(number: int) -> Any:
    """A seed or call number as the kernels take it: the low 64 bits."""
    return np.uint64(number & 0xFFFFFFFFFFFFFFFF)


def _words(count: int, seed: int, call: int) -> Array:
    words = np.empty(count, np.uint32)
    _fill_words(words, key(seed), key(call))
    return words


def _long_words(count: int, seed: int, call: int) -> Array:
    return _words(2 * count, seed, call).astype("<u4", copy=False).view("<u8")


def random_bits(shape: tuple[int, ...], seed: int, call: int) -> Array:
    return _words(math.prod(shape), seed, call).reshape(shape)


def uniform(shape: tuple[int, ...], dtype: str, seed: int, call: int) -> Array:
    n = math.prod(shape)
    if dtype == "float32":
        numbers = (_words(n, seed, call) >> 8).astype(np.float32) * np.float32(2.0**-24)
    else:
        numbers = (_long_words(n, seed, call) >> 11) * 2.0**-53
    return numbers.reshape(shape)  # last: of an array without axes NumPy's product is a number


def normal(shape: tuple[int, ...], dtype: str, seed: int, call: int) -> Array:
    n = math.prod(shape)
    pairs = (n + 1) // 2
    u: Array
    t: Array
    if dtype == "float32":
        words = _words(2 * pairs, seed, call)
        u, t = (words[::2] + 0.5) * 2.0**-32, words[1::2] * 2.0**-32
    else:
        words = _long_words(2 * pairs, seed, call)
        u, t = ((words[::2] >> 12) + 0.5) * 2.0**-52, (words[1::2] >> 11) * 2.0**-53
    # Quarter turns come off exactly: near a zero of sine or cosine the angle's rounding would show.
    quarters = np.rint(4.0 * t)
    angle = 2.0 * math.pi * (t - quarters / 4.0)
    c, s, which = np.cos(angle), np.sin(angle), quarters.astype(np.int64) % 4
    radius = np.sqrt(-2.0 * np.log(u))
    out = np.empty(2 * pairs, dtype)
    out[::2] = radius * np.choose(which, [c, -s, -c, s])
    out[1::2] = radius * np.choose(which, [s, c, -s, -c])
    return out[:n].reshape(shape)
