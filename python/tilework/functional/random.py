"""Random numbers: Philox (Salmon et al. 2011), keyed by a seed and a count of calls.

A number depends on the seed, the call's number and the position alone: neither threads nor ISA nor
engine change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.arrays import as_array, broadcast_shapes, errstate, namespace
from tilework.autograd import Op, mode, record
from tilework.devices import CPU, Device, resolved
from tilework.engines import ops, ops_on
from tilework.errors import error
from tilework.functional.cast import cast, in_float32
from tilework.functional.common import need_float, number, operand, whole
from tilework.functional.creation import converted, finish, shape_of
from tilework.functional.generator import Generator, default_generator, next_call, takes_generator
from tilework.layout import inverse
from tilework.tensor import Tensor, fresh


def manual_seed(seed: int) -> None:
    """Starts the random numbers of all functions anew, from a seed of up to 64 bits.

    ValueError outside [-2**63, 2**64).

    >>> tw.manual_seed(1); a = tw.rand(3)
    >>> tw.manual_seed(1); tw.equal(a, tw.rand(3))
    True
    """
    default_generator.manual_seed(seed)


def initial_seed() -> int:
    """The seed in use.

    >>> tw.manual_seed(7); tw.initial_seed()
    7
    """
    return default_generator.initial_seed()


@takes_generator
def random_seed(*, generator: Generator | None = None) -> int:
    """A number of 63 bits from the stream, to seed another generator with.

    >>> tw.manual_seed(0); first = tw.random_seed()
    >>> tw.manual_seed(0); tw.random_seed() == first
    True
    """
    low, high = ops.random_bits((2,), *next_call()).tolist()
    return int(low | (high & 0x7FFFFFFF) << 32)


def get_rng_state() -> Tensor:
    """The seed and the number of calls so far, for set_rng_state.

    >>> state = tw.get_rng_state(); a = tw.rand(3)
    >>> tw.set_rng_state(state); tw.equal(a, tw.rand(3))
    True
    """
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Goes on from a state of get_rng_state. ValueError on another thing.

    >>> tw.set_rng_state(tw.get_rng_state())
    """
    default_generator.set_state(new_state)


def _drawn(
    op: str, shape: tuple[int, ...], dtype: Any, device: Device, requires_grad: bool
) -> Tensor:
    wanted = dtypes.float32 if dtype is None else dtypes.check(dtype, op)
    if wanted is not dtypes.float32 and not dtypes.is_float(wanted):
        raise error(TypeError, op, "a float dtype", wanted, "use randint for integers")
    compute = "float64" if wanted is dtypes.float64 else "float32"
    at = resolved(op, device)
    draw = ops_on(at).uniform if op == "rand" else ops_on(at).normal
    seed, call = next_call()
    array = draw(shape, compute, seed, call)
    if wanted is dtypes.bfloat16:
        # To the nearest, one uniform number in 512 would become the 1 that is excluded.
        array = _rounded_down(array) if op == "rand" else ops.narrow(array)
    return finish(array, requires_grad)


def _rounded_down(array: Any) -> Any:
    """float32 numbers of 0 and above as bfloat16, none of them larger than it was."""
    upper_half = array.view("uint32") >> 16
    return upper_half.astype("uint16").view(dtypes.bfloat16)


def uniform_between(shape: Any, dtype: Any, low: float, high: float, at: Any = CPU) -> Any:
    """An array on a device, of uniform numbers in [low, high), both as `dtype` holds them, rounding
    included.

    TypeError on integers, ValueError where low is above high, or too far below it for the dtype.
    """
    low, high = number("uniform_", "low", low), number("uniform_", "high", high)
    if not dtypes.is_float(dtype):
        raise error(TypeError, "uniform_", "a float dtype", dtype, "use randint for integers")
    with errstate(over="ignore"):
        first, end = dtype.type(low), dtype.type(high)
        if not (low <= high and np.isfinite(first) and np.isfinite(dtype.type(high - low))):
            raise error(
                ValueError, "uniform_", f"low <= high, and both and their distance in {dtype}",
                (low, high), "move the bounds",
            )  # fmt: skip
    wide = np.float64 if dtype is dtypes.float64 else np.float32
    array = ops_on(at).uniform(shape, np.dtype(wide).name, *next_call())
    array *= wide(high - low)
    array += wide(low)
    if dtype is dtypes.bfloat16:
        array = ops.narrow(array)
    # Far from 0 the sum may be rounded up, to the bound that is excluded.
    last = max(np.nextafter(end, first), first)
    return namespace(array).minimum(array, last, out=array)


@takes_generator
def rand(
    *lengths: Any, size: Any = None, generator: Generator | None = None, dtype: Any = None,
    device: Device = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform in [0, 1), of a float dtype.

    >>> tw.rand(2, 3).shape
    (2, 3)
    """
    return _drawn("rand", shape_of("rand", lengths, size), dtype, device, requires_grad)


@takes_generator
def randn(
    *lengths: Any, size: Any = None, generator: Generator | None = None, dtype: Any = None,
    device: Device = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal with mean 0 and variance 1, of a float dtype.

    >>> tw.randn(2, 3).shape
    (2, 3)
    """
    return _drawn("randn", shape_of("randn", lengths, size), dtype, device, requires_grad)


def rand_like(
    input: Tensor, *, dtype: Any = None, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """Uniform in [0, 1), in the shape and dtype of `input`.

    >>> tw.rand_like(tw.zeros(2)).shape
    (2,)
    """
    x = operand(input, "rand_like")
    wanted, at = x.dtype if dtype is None else dtype, x.device if device is None else device
    return _drawn("rand", x.shape, wanted, at, requires_grad)._keep_order(x)


def randn_like(
    input: Tensor, *, dtype: Any = None, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """Normal with mean 0 and variance 1, in the shape and dtype of `input`.

    >>> tw.randn_like(tw.zeros(2)).shape
    (2,)
    """
    x = operand(input, "randn_like")
    wanted, at = x.dtype if dtype is None else dtype, x.device if device is None else device
    return _drawn("randn", x.shape, wanted, at, requires_grad)._keep_order(x)


@takes_generator
def randint(
    low: Any = 0, high: Any = None, size: Any = None, *, generator: Generator | None = None,
    dtype: Any = None, device: Device = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Integers in [low, high), int64 where no dtype is given: `randint(high, size)` or
    `randint(low, high, size)`.

    ValueError where the range is empty, wider than 2**32, or not all of it in the dtype.

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
    least, most = _whole_numbers(wanted)
    if first < least or end - 1 > most:
        raise error(
            ValueError, "randint", f"a range within the whole numbers of {wanted}", (first, end),
            f"stay between {least} and {most}, or take a wider dtype",
        )  # fmt: skip
    shape, at = shape_of("randint", (), size), resolved("randint", device)
    bits = ops_on(at).random_bits(shape, *next_call()).astype("uint64")
    # The high half of the product: even to within 2**-32, with no modulo's bias to small numbers.
    drawn = (bits * np.uint64(end - first)) >> np.uint64(32)
    return finish(converted(as_array(drawn.astype(dtypes.int64) + first), wanted), requires_grad)


def _whole_numbers(dtype: dtypes.DType) -> tuple[int, int]:
    """The range in which a dtype holds every whole number."""
    if dtype is dtypes.bool:
        return 0, 1
    if dtypes.is_float(dtype):
        most = 2 ** (dtypes.finfo(dtype).nmant + 1)
        return -most, most
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


@takes_generator
def randperm(
    n: int, *, generator: Generator | None = None, dtype: Any = None, device: Device = None
) -> Tensor:
    """The integers below n in random order, int64 where no dtype is given.

    >>> sorted(tw.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    (count,) = shape_of("randperm", (n,))
    draw = ops_on(resolved("randperm", device)).random_bits
    keys = draw((2 * count,), *next_call()).astype(np.uint64)
    order = namespace(keys).argsort((keys[:count] << np.uint64(32)) | keys[count:], kind="stable")
    wanted = dtypes.int64 if dtype is None else dtypes.check(dtype, "randperm")
    return finish(converted(order, wanted), False)


@takes_generator
def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None,
    dtype: Any = None, device: Device = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal with the mean and standard deviation given: numbers with a `size`, or tensors, whose
    shapes broadcast.

    >>> tw.normal(0.0, 2.0, (3,)).shape
    (3,)
    """
    given = [v for v in (mean, std) if isinstance(v, Tensor)]
    if not given and size is None:
        raise error(TypeError, "normal", "size beside numbers", "none", "give size=(...)")
    shape = broadcast_shapes(*(t.shape for t in given)) if size is None else size
    wanted = dtypes.result_type(*given) if given and dtype is None else dtype
    at = given[0].device if given and device is None else device
    drawn = _drawn("normal", shape_of("normal", (), shape), wanted, at, False)
    made: Tensor = (drawn * std + mean).detach()
    return made.requires_grad_() if requires_grad else made


@takes_generator
def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element of `input` gives, else 0.

    TypeError on integers, ValueError on what is no probability.

    >>> tw.bernoulli(tw.ones(2))
    tensor([1., 1.])
    """
    x = operand(input, "bernoulli")
    need_float("bernoulli", x)
    if not ((x >= 0) & (x <= 1)).all():
        raise error(
            ValueError, "bernoulli", "probabilities in [0, 1]", "others", "clamp or scale them"
        )
    return cast(rand_like(x.detach()) < x.detach(), x.dtype)


# --- dropout ---


def _laid_out(array: Any, strides: tuple[int, ...]) -> Any:
    """`array` in a dense layout of these strides: the mask goes by the order in memory."""
    if array.strides == strides:
        return array
    order = sorted(range(array.ndim), key=lambda i: -strides[i])
    shape = [array.shape[i] for i in order]
    laid = namespace(array).empty(shape, array.dtype).transpose(inverse(order))
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
    return _dropped(x, float(p), *next_call())
