"""Random numbers: Philox (Salmon et al. 2011), keyed by a seed and a count of calls.

A number depends on the seed, the call's number and the position alone: neither threads nor ISA nor
engine change it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import cast, in_float32
from tilework.functional.common import need_float, operand, whole
from tilework.functional.creation import finish, shape_of
from tilework.tensor import Tensor, fresh


class _Generator:
    """The process's seed, and how many calls have drawn from it."""

    def __init__(self) -> None:
        self.restart(0, 0)

    def restart(self, seed: int, calls: int) -> None:
        self._state = (seed, itertools.count(calls))

    def next(self) -> tuple[int, int]:
        """(seed, call): one for each drawing; atomic, so threads never share one."""
        seed, calls = self._state
        return seed, next(calls)

    def peek(self) -> tuple[int, int]:
        seed, calls = self._state
        call = next(calls)
        self.restart(seed, call)
        return seed, call


_generator = _Generator()


def manual_seed(seed: int) -> None:
    """Starts the random numbers of all functions anew, from a seed of up to 64 bits.

    ValueError outside [-2**63, 2**64).

    >>> tw.manual_seed(1); a = tw.rand(3)
    >>> tw.manual_seed(1); tw.equal(a, tw.rand(3))
    True
    """
    if not -(2**63) <= seed < 2**64:
        raise error(ValueError, "manual_seed", "a seed of 64 bits", seed, "take it modulo 2**64")
    _generator.restart(int(seed) % 2**64, 0)


def initial_seed() -> int:
    """The seed in use.

    >>> tw.manual_seed(7); tw.initial_seed()
    7
    """
    return _generator.peek()[0]


def random_seed() -> int:
    """A number of 63 bits from the stream, to seed another generator with.

    >>> tw.manual_seed(0); first = tw.random_seed()
    >>> tw.manual_seed(0); tw.random_seed() == first
    True
    """
    low, high = ops.random_bits((2,), *_generator.next()).tolist()
    return int(low | (high & 0x7FFFFFFF) << 32)


def get_rng_state() -> Tensor:
    """The seed and the number of calls so far, for set_rng_state.

    >>> state = tw.get_rng_state(); a = tw.rand(3)
    >>> tw.set_rng_state(state); tw.equal(a, tw.rand(3))
    True
    """
    return fresh(np.array(_generator.peek(), np.uint64).view(np.int64))


def set_rng_state(new_state: Tensor) -> None:
    """Goes on from a state of get_rng_state. ValueError on another thing.

    >>> tw.set_rng_state(tw.get_rng_state())
    """
    state = operand(new_state, "set_rng_state", "new_state")
    if state.shape != (2,) or state.dtype != dtypes.int64:
        raise error(
            ValueError, "set_rng_state", "a state of get_rng_state", state.shape, "pass one on"
        )
    seed, calls = state._array.view(np.uint64).tolist()
    _generator.restart(seed, calls)


def _drawn(
    op: str, shape: tuple[int, ...], dtype: Any, device: str | None, requires_grad: bool
) -> Tensor:
    wanted = dtypes.float32 if dtype is None else dtypes.check(dtype, op)
    if not dtypes.is_float(wanted):
        raise error(TypeError, op, "a float dtype", wanted, "use randint for integers")
    compute = dtypes.float32 if wanted is dtypes.bfloat16 else wanted
    engine = ops.uniform if op == "rand" else ops.normal
    array = engine(shape, compute.name, *_generator.next())
    return finish(cast(fresh(array), wanted)._array, requires_grad, device, op)


def rand(
    *lengths: Any, size: Any = None, dtype: Any = None, device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform in [0, 1), of a float dtype.

    >>> tw.rand(2, 3).shape
    (2, 3)
    """
    return _drawn("rand", shape_of("rand", lengths, size), dtype, device, requires_grad)


def randn(
    *lengths: Any, size: Any = None, dtype: Any = None, device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal with mean 0 and variance 1, of a float dtype.

    >>> tw.randn(2, 3).shape
    (2, 3)
    """
    return _drawn("randn", shape_of("randn", lengths, size), dtype, device, requires_grad)


def rand_like(
    input: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Uniform in [0, 1), in the shape and dtype of `input`.

    >>> tw.rand_like(tw.zeros(2)).shape
    (2,)
    """
    x = operand(input, "rand_like")
    wanted = x.dtype if dtype is None else dtype
    return _drawn("rand", x.shape, wanted, device, requires_grad)._keep_order(x)


def randn_like(
    input: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Normal with mean 0 and variance 1, in the shape and dtype of `input`.

    >>> tw.randn_like(tw.zeros(2)).shape
    (2,)
    """
    x = operand(input, "randn_like")
    wanted = x.dtype if dtype is None else dtype
    return _drawn("randn", x.shape, wanted, device, requires_grad)._keep_order(x)


def randint(
    low: Any = 0, high: Any = None, size: Any = None, *, dtype: Any = None,
    device: str | None = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Integers in [low, high), int64 where no dtype is given: `randint(high, size)` or
    `randint(low, high, size)`.

    ValueError where the range is empty or wider than 2**32.

    >>> bool((tw.randint(3, (100,)) < 3).all())
    True
    >>> tw.randint(5, size=(2,)).shape
    (2,)
    """
    if size is None:  # randint(high, size)
        low, high, size = 0, low, high
    elif high is None:  # randint(high, size=size)
        low, high = 0, low
    first, end = whole("randint", "low", low), whole("randint", "high", high)
    if not 0 < end - first <= 2**32:
        raise error(
            ValueError, "randint", "low < high, at most 2**32 apart", (first, end),
            "widen the range",
        )  # fmt: skip
    wanted = dtypes.int64 if dtype is None else dtypes.check(dtype, "randint")
    shape = shape_of("randint", (), size)
    bits = ops.random_bits(shape, *_generator.next()).astype(np.uint64)
    # The high half of the product: even to within 2**-32, with no modulo's bias to small numbers.
    drawn = (bits * np.uint64(end - first)) >> np.uint64(32)
    array = np.asarray((drawn.astype(np.int64) + first).astype(wanted))
    return finish(array, requires_grad, device, "randint")


def randperm(n: int, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """The integers below n in random order, int64 where no dtype is given.

    >>> sorted(tw.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    (count,) = shape_of("randperm", (n,))
    keys = ops.random_bits((2 * count,), *_generator.next()).astype(np.uint64)
    order = np.argsort((keys[:count] << np.uint64(32)) | keys[count:], kind="stable")
    wanted = dtypes.int64 if dtype is None else dtypes.check(dtype, "randperm")
    return finish(order.astype(wanted, copy=False), False, device, "randperm")


def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, dtype: Any = None,
    device: str | None = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal with the mean and standard deviation given: numbers with a `size`, or tensors, whose
    shapes broadcast.

    >>> tw.normal(0.0, 2.0, (3,)).shape
    (3,)
    """
    given = [v for v in (mean, std) if isinstance(v, Tensor)]
    if not given and size is None:
        raise error(TypeError, "normal", "size beside numbers", "none", "give size=(...)")
    shape = np.broadcast_shapes(*(t.shape for t in given)) if size is None else size
    wanted = dtypes.result_type(*given) if given and dtype is None else dtype
    drawn = _drawn("normal", shape_of("normal", (), shape), wanted, device, False)
    made: Tensor = (drawn * std + mean).detach()
    return made.requires_grad_() if requires_grad else made


def bernoulli(input: Tensor) -> Tensor:
    """1 with the probability that each element of `input` gives, else 0.

    >>> tw.bernoulli(tw.ones(2))
    tensor([1., 1.])
    """
    x = operand(input, "bernoulli")
    need_float("bernoulli", x)
    return cast(rand_like(x.detach()) < x.detach(), x.dtype)


# --- dropout ---


def _laid_out(array: Any, strides: tuple[int, ...]) -> Any:
    """`array` in a dense layout of these strides: the mask goes by the order in memory."""
    if array.strides == strides:
        return array
    order = np.argsort([-s for s in strides], kind="stable")
    laid = np.empty([array.shape[i] for i in order], array.dtype).transpose(np.argsort(order))
    laid[...] = array
    return laid


def _dropout_backward(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    strides, p, seed, call = saved
    return (ops.dropout_backward(_laid_out(grad, strides), p, seed, call),)


def _dropout_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    strides, p, seed, call = saved
    return (_dropped(grad, p, seed, call, strides),)


_DROPOUT = Op("dropout", _dropout_backward, _dropout_recorded)


def _dropped(x: Tensor, p: float, seed: int, call: int, strides: Any = None) -> Tensor:
    array = x._array if strides is None else _laid_out(x._array, strides)
    y = fresh(ops.dropout_forward(array, p, seed, call))._keep_order(x)
    if mode.enabled and x._requires_grad:
        record(y, _DROPOUT, (x,), (y._array.strides, p, seed, call))
    return y


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeros with probability p, the rest scaled by 1 / (1 - p); the input itself unless `training`.

    `inplace` writes the result over the input, which saves memory only where nothing is recorded.
    The mask is made of random numbers in the kernel, and again in the backward: it takes no memory.
    ValueError where p is outside [0, 1], TypeError on integers. (Srivastava et al. 2014.)

    >>> F.dropout(tw.ones(3), 0.5, training=False)
    tensor([1., 1., 1.])
    """
    x = operand(input, "dropout")
    if not 0.0 <= p <= 1.0:
        raise error(ValueError, "dropout", "p in [0, 1]", p, "it is the probability of a zero")
    need_float("dropout", x)
    if not training or p == 0.0:
        return x
    if inplace:
        result: Tensor = x.copy_(dropout(x, p))
        return result
    if x.dtype is dtypes.bfloat16:
        result = in_float32(dropout, x, p)
        return result
    return _dropped(x, float(p), *_generator.next())
