"""Functions that NumPy lacks, in float64: what the kernels are held against."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_erf = np.frompyfunc(math.erf, 1, 1)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def erf(x: Array) -> Array:
    return np.asarray(_erf(x), np.float64)


def erfc(x: Array) -> Array:
    return np.asarray(_erfc(x), np.float64)


def sigmoid(x: Array) -> Array:
    # Each side by the form that does not overflow.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def _gated(x: Array, gate: Array) -> Array:
    """x * gate, and its limit at -inf, where the gate vanishes faster than x grows."""
    return np.where(x == -np.inf, 0.0, x * gate)


def gelu(x: Array) -> Array:
    return _gated(x, 0.5 * erfc(-x / math.sqrt(2.0)))  # 1 + erf(x) would cancel for negative x


def gelu_tanh(x: Array) -> Array:
    return _gated(x, sigmoid(2.0 * math.sqrt(2.0 / math.pi) * x * (1.0 + 0.044715 * x * x)))


def silu(x: Array) -> Array:
    return _gated(x, sigmoid(x))


def log_softmax(x: Array, axis: int) -> Array:
    if x.shape[axis] == 0:
        return x
    shifted = x - x.max(axis=axis, keepdims=True)
    total: Array = np.exp(shifted).sum(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(total))


def softmax(x: Array, axis: int) -> Array:
    if x.shape[axis] == 0:
        return x
    e: Array = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


# --- random numbers, after csrc/base/philox.h and csrc/kernels/random/random.h ---


def philox_words(count: int, seed: int, call: int) -> Array:
    """The first `count` words (uint32) of Philox4x32-10 for a seed and a call number."""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    counter = [blocks & low, blocks >> half]
    counter += [np.full_like(blocks, call & 0xFFFFFFFF), np.full_like(blocks, call >> 32)]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        left, right = counter[0] * np.uint64(0xD2511F53), counter[2] * np.uint64(0xCD9E8D57)
        counter = [
            (right >> half) ^ counter[1] ^ np.uint64(key[0]),
            right & low,
            (left >> half) ^ counter[3] ^ np.uint64(key[1]),
            left & low,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(counter, axis=1).reshape(-1)[:count].astype(np.uint32)


def _pairs_of_words(count: int, seed: int, call: int) -> Array:
    words = philox_words(2 * count, seed, call).astype(np.uint64)
    return np.asarray(words[::2] | words[1::2] << np.uint64(32))


def philox_uniform(count: int, dtype: str, seed: int, call: int) -> Array:
    """Numbers in [0, 1): 24 bits of a word in float32, 53 of two in float64."""
    if dtype == "float32":
        return np.asarray((philox_words(count, seed, call) >> 8) * 2.0**-24)
    return np.asarray((_pairs_of_words(count, seed, call) >> np.uint64(11)) * 2.0**-53)


def philox_normal(count: int, dtype: str, seed: int, call: int) -> Array:
    """Box and Muller's pairs."""
    even = count + count % 2
    u: Array
    t: Array
    if dtype == "float32":
        words = philox_words(even, seed, call)
        u, t = (words[::2] + 0.5) * 2.0**-32, words[1::2] * 2.0**-32
    else:
        words = _pairs_of_words(even, seed, call)
        u = ((words[::2] >> np.uint64(12)) + 0.5) * 2.0**-52
        t = (words[1::2] >> np.uint64(11)) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(u))
    cosine, sine = _of_turns(t)
    return np.stack([radius * cosine, radius * sine], axis=1).reshape(-1)[:count]


def _of_turns(t: Array) -> tuple[Array, Array]:
    """cos and sin of 2 pi t: quarter turns come off exactly, for accuracy beside the zeros."""
    quarters = np.rint(4.0 * t)
    angle = 2.0 * math.pi * (t - quarters / 4.0)
    c, s = np.cos(angle), np.sin(angle)
    which = quarters.astype(np.int64) % 4
    return np.choose(which, [c, -s, -c, s]), np.choose(which, [s, c, -s, -c])


def in_memory_order_of(x: Array, values: Array) -> Array:
    """`values`, one an element, laid over `x` in the order of its memory, C order if not dense."""
    axes = sorted(range(x.ndim), key=lambda i: -x.strides[i] if x.shape[i] != 1 else -math.inf)
    if not x.transpose(axes).flags.c_contiguous:
        return values.reshape(x.shape)
    ordered = values.reshape([x.shape[i] for i in axes])
    return np.asarray(ordered.transpose(np.argsort(axes)))


def local_response(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """Each value of (N, C, ...) over a power of the squares' mean in the channels around."""
    framed = np.pad(np.square(x), ((0, 0), (size // 2, size), *((0, 0),) * (x.ndim - 2)))
    total = sum(framed[:, i : i + x.shape[1]] for i in range(size))
    return np.asarray(x / (k + alpha / size * total) ** beta)
