"""Writing to tensors: every write raises the storage's version, and the tape follows it.

A recorded write is the ordinary op on what the tensor was, whose result then takes its place, and
its elements' places in the tensors that this one is a view of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.autograd import mode, no_grad, overwrite
from tilework.errors import error
from tilework.functional.alias import bases, held_beside, is_part, positions
from tilework.functional.cast import cast
from tilework.functional.common import operand
from tilework.functional.indexing import numbers_first, plain_key
from tilework.functional.pointwise import add, div, mul, sub
from tilework.functional.random import rand, randn
from tilework.tensor import Tensor, fresh, next_time, tensor_method


def check_writable(op: str, x: Tensor) -> None:
    """RuntimeError where `x` may not be written."""
    if x._storage.frozen or not x._array.flags.writeable:
        raise error(
            RuntimeError, op, "a tensor that may be written", "a frozen or expanded one",
            "nn.utils.unfreeze(model), or clone()",
        )  # fmt: skip
    if mode.enabled and x._requires_grad and x._node is None:
        raise error(
            RuntimeError, op, "no write to a leaf that requires grad",
            "one, while ops are recorded", "write under tilework.no_grad()",
        )  # fmt: skip


def written(x: Tensor) -> None:
    """Says that the memory of `x` was just written."""
    x._storage.version = next_time()


def _write(op: str, x: Tensor, function: Callable[[Tensor], Tensor], *sources: Any) -> Tensor:
    """Replaces x's values by those of function(x); `sources`: what else gradients may flow to."""
    check_writable(op, x)
    if not _recorded(x, *sources):
        with no_grad():
            now = function(x)
        _store(op, x, now)
        return x
    above = bases(x)
    _check_family(op, x, above)
    before = _as_it_is(x, x._array.copy(order="K"))
    now = function(before)
    _store(op, x, now)
    now = cast(now, x.dtype).expand(x.shape)
    overwrite(x, before, now)
    for base in above:
        was = _as_it_is(base, base._array)
        overwrite(base, was, _patched(was, positions(x._array, base._array), now))
    return x


def _recorded(x: Tensor, *sources: Any) -> bool:
    """Whether a write to `x` is for the tape."""
    if not mode.enabled:
        return False
    return any(isinstance(t, Tensor) and t._requires_grad for t in (x, *sources, *bases(x)))


def _as_it_is(x: Tensor, array: Any) -> Tensor:
    """A tensor in the place on the tape that `x` has now."""
    twin = fresh(array)
    twin._node, twin._seq, twin._requires_grad = x._node, x._seq, x._requires_grad
    return twin


def _check_family(op: str, x: Tensor, above: list[Tensor]) -> None:
    """RuntimeError where a recorded write to `x` would miss somebody who sees its memory."""
    for base in above:
        check_writable(op, base)
        if base._requires_grad and not x._requires_grad:
            raise error(
                RuntimeError, op, "a view that was made while ops were recorded, as its base was",
                "one made under no_grad", "take the view anew",
            )  # fmt: skip
    if held_beside(x, [x, *above]):
        raise error(
            RuntimeError, op, "memory that no view shares but x and what x is a view of",
            "memory that another view, a detached twin or a saved result shares",
            "use the op that is not in place, or clone() first",
        )  # fmt: skip


def _store(op: str, x: Tensor, now: Tensor) -> None:
    if dtypes.result_type(x, now) != x.dtype and not dtypes.is_float(x.dtype):
        raise error(
            TypeError,
            op,
            f"values that fit {x.dtype}",
            now.dtype,
            "use the op that is not in place",
        )
    if np.broadcast_shapes(x.shape, now.shape) != x.shape:
        raise error(
            ValueError, op, f"values that broadcast to {x.shape}", now.shape,
            "use the op that is not in place",
        )  # fmt: skip
    x._array[...] = now._array
    written(x)


@tensor_method()
def add_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """self += alpha * other, in place.

    >>> tw.zeros(2).add_(1)
    tensor([1., 1.])
    """
    return _write("add_", self, lambda x: add(x, other, alpha=alpha), other)


@tensor_method()
def sub_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """self -= alpha * other, in place."""
    return _write("sub_", self, lambda x: sub(x, other, alpha=alpha), other)


@tensor_method()
def mul_(self: Tensor, other: Any) -> Tensor:
    """self *= other, in place."""
    return _write("mul_", self, lambda x: mul(x, other), other)


@tensor_method()
def div_(self: Tensor, other: Any) -> Tensor:
    """self /= other, in place. TypeError on a tensor of integers."""
    return _write("div_", self, lambda x: div(x, other), other)


@tensor_method()
def clamp_(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Brings each element into [min, max], in place."""
    return _write("clamp_", self, lambda x: x.clamp(min, max), min, max)


@tensor_method()
def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Puts `value` where `mask` is true, in place."""
    return _write("masked_fill_", self, lambda x: x.masked_fill(mask, value), value)


@tensor_method()
def zero_(self: Tensor) -> Tensor:
    """Zeros everywhere, in place."""
    return fill_(self, 0)


@tensor_method()
def fill_(self: Tensor, value: Any) -> Tensor:
    """One number everywhere, in place."""
    filler = value if isinstance(value, Tensor) else fresh(np.asarray(value, self.dtype))
    return _write("fill_", self, lambda x: filler.expand(x.shape), filler)


@tensor_method()
def copy_(self: Tensor, src: Any) -> Tensor:
    """The values of `src`, broadcast and converted, in place.

    >>> tw.zeros(2).copy_(tw.tensor([1, 2]))
    tensor([1., 2.])
    """
    source = operand(src, "copy_", "src")
    return _write("copy_", self, lambda x: cast(source, x.dtype), source)


@tensor_method()
def uniform_(self: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform random numbers in [low, high), in place."""
    return _write(
        "uniform_", self, lambda x: rand(x.shape, dtype=x.dtype) * (high - low) + low
    )  # fmt: skip


@tensor_method()
def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal random numbers, in place."""
    return _write("normal_", self, lambda x: randn(x.shape, dtype=x.dtype) * std + mean)


@tensor_method("__iadd__")
def _iadd(self: Tensor, other: Any) -> Tensor:
    return add_(self, other)


@tensor_method("__isub__")
def _isub(self: Tensor, other: Any) -> Tensor:
    return sub_(self, other)


@tensor_method("__imul__")
def _imul(self: Tensor, other: Any) -> Tensor:
    return mul_(self, other)


@tensor_method("__itruediv__")
def _idiv(self: Tensor, other: Any) -> Tensor:
    return div_(self, other)


@tensor_method("__setitem__")
def _setitem(self: Tensor, key: Any, value: Any) -> None:
    """NumPy's assignment to an index, recorded where gradients flow."""
    plain = plain_key(key)
    two = numbers_first(plain)
    if two is not None:
        _setitem(self[two[0]], two[1], value)
        return
    if isinstance(value, Tensor) and is_part(value, self, plain):
        return  # the end of `x[key] += y`, which has written to the view x[key] by now
    source = value if isinstance(value, Tensor) else fresh(np.asarray(value, self.dtype))
    if not _recorded(self, source):
        check_writable("setitem", self)
        try:
            self._array[plain] = source._array
        except (IndexError, ValueError) as reason:
            raise error(
                type(reason), "setitem", f"an index within {self.shape} and values that fit it",
                reason, "check both shapes",
            ) from None  # fmt: skip
        written(self)
        return
    _write("setitem", self, lambda x: _assigned(x, plain, source), source)


def _assigned(x: Tensor, key: Any, source: Tensor) -> Tensor:
    """`x` with `source` at `key`, as recorded ops."""
    return _patched(x, np.asarray(np.arange(x.numel()).reshape(x.shape)[key]), source)


def _patched(x: Tensor, places: Any, source: Tensor) -> Tensor:
    """`x` with `source` (broadcast) at `places`, counted in C order, as recorded ops."""
    spread = cast(source, x.dtype).expand(places.shape)
    if not places.size:
        return x.clone()
    chosen, origin = np.zeros(x.numel(), bool), np.zeros(x.numel(), np.int64)
    chosen[places.reshape(-1)] = True
    origin[places.reshape(-1)] = np.arange(places.size)  # the position in `spread`
    values = spread.reshape(-1)[fresh(origin)].reshape(x.shape)
    result: Tensor = values.where(fresh(chosen.reshape(x.shape)), x)
    return result
