"""Writing to tensors: every write raises the storage's version, and the tape follows it.

A recorded write is the ordinary op on what the tensor was, whose result then takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tilework import dtypes
from tilework.arrays import address, broadcast_shapes, namespace, scalar, writeable
from tilework.autograd import mode, no_grad
from tilework.devices import moved_beside
from tilework.engines import ops
from tilework.errors import error
from tilework.functional import compare, order, pointwise, unary
from tilework.functional.cast import cast, number_beside, on_device
from tilework.functional.common import number_of, operand, values_of
from tilework.functional.generator import Generator, takes_generator
from tilework.functional.indexing import (
    is_basic,
    is_whole_mask,
    kept,
    numbers_first,
    outside,
    places_of,
    plain_key,
)
from tilework.functional.pointwise import ADD, add, div, mul, sub
from tilework.functional.random import randn, uniform_between
from tilework.states import Write, barred, rewrite, root_of
from tilework.storage import next_time
from tilework.tensor import PlainView, Tensor, fresh, tensor_method


def check_writable(op: str, x: Tensor, *sources: Any) -> bool:
    """Whether a write to `x`, of values made of `sources`, is for the tape; RuntimeError where `x`
    may not be written."""
    if x._storage.frozen or not writeable(x._array):
        raise error(
            RuntimeError, op, "a tensor that may be written", "a frozen or expanded one",
            "nn.utils.unfreeze(model), or clone()",
        )  # fmt: skip
    if not mode.enabled or not dtypes.is_float(x._array.dtype):
        return False
    root = root_of(x)
    if not any(isinstance(t, Tensor) and t._requires_grad for t in (x, root, *sources)):
        return False
    reason = barred(x)
    if reason:
        raise error(
            RuntimeError, op, "a tensor or a view that was recorded by itself", reason,
            "clone() it, or write to what it is a view of",
        )  # fmt: skip
    for t, name in ((x, "a leaf"), (root, "a view of a leaf")):
        if t._requires_grad and t._node is None:
            raise error(
                RuntimeError, op, f"no write to {name} that requires grad",
                "one, while ops are recorded", "write under tilework.no_grad()",
            )  # fmt: skip
    return True


def written(x: Tensor) -> None:
    """Says that the memory of `x` was just written."""
    x._storage.version = next_time()


def write_over(
    op: str, x: Tensor, function: Callable[[Tensor], Tensor], *sources: Any, keeps: bool = True
) -> Tensor:
    """Replaces x's values by those of function(x); `sources`: what else gradients may flow to;
    `keeps`: whether the backward of the function reads what x was."""
    if not check_writable(op, x, *sources):
        with no_grad():
            _store(op, x, function(x))
        written(x)
        return x
    write = Write(x)
    before = write.before(x._array.copy(order="K") if keeps else x._array)
    now = function(before)
    _store(op, x, now)
    if not keeps:
        written(before)  # its values are lost
    write.commit(_as_written(now, x.shape, x.dtype))
    return x


def _as_written(x: Tensor, shape: tuple[int, ...], dtype: Any) -> Tensor:
    """`x` cast and broadcast as a write does it, which also drops leading axes of length 1."""
    x = cast(x, dtype)
    if x.ndim > len(shape):
        x = x.reshape(x.shape[x.ndim - len(shape) :])
    return x if x.shape == shape else x.expand(shape)


def _store(op: str, x: Tensor, now: Tensor) -> None:
    if dtypes.result_type(x, now) != x.dtype and not dtypes.is_float(x.dtype):
        raise error(
            TypeError,
            op,
            f"values that fit {x.dtype}",
            now.dtype,
            "use the op that is not in place",
        )
    if broadcast_shapes(x.shape, now.shape) != x.shape:
        raise error(
            ValueError, op, f"values that broadcast to {x.shape}", now.shape,
            "use the op that is not in place",
        )  # fmt: skip
    x._array[...] = now._array


def _added_at_once(x: Tensor, other: Any) -> bool:
    """x += other where that is one call of the engine's, and the tape needs no more than to know
    of it: both float32 or float64 of one shape, and x no view. False where nothing was done."""
    if not isinstance(other, Tensor):
        return False
    array, term, storage = x._array, other._array, x._storage
    dtype = array.dtype
    if dtype is not term.dtype or dtype.kind != "f" or array.shape != term.shape or storage.frozen:
        return False
    if array.__class__ is not term.__class__:
        return False
    taped = False
    if mode.enabled:
        if x.__class__ is PlainView:
            return False
        taped = x._requires_grad or other._requires_grad
        if taped and (
            (x._requires_grad and x._node is None)
            or other._storage is storage
            or getattr(x, "_base", None) is not None
        ):
            return False
    try:
        ops.accumulate_(array, term)
    except ValueError:  # read-only, which the other way tells
        return False
    if taped:
        rewrite(x, ADD, other)
    else:
        storage.version = next_time()
    return True


@tensor_method()
def add_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """self += alpha * other, in place.

    >>> tw.zeros(2).add_(1)
    tensor([1., 1.])
    """
    if alpha.__class__ is int and alpha == 1 and _added_at_once(self, other):
        return self
    return write_over("add_", self, lambda x: add(x, other, alpha=alpha), other, keeps=False)


@tensor_method("sub_", "subtract_")
def sub_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """self -= alpha * other, in place."""
    return write_over("sub_", self, lambda x: sub(x, other, alpha=alpha), other, keeps=False)


@tensor_method("mul_", "multiply_")
def mul_(self: Tensor, other: Any) -> Tensor:
    """self *= other, in place."""
    return write_over("mul_", self, lambda x: mul(x, other), other, keeps=_wants(other))


@tensor_method("div_", "divide_", "true_divide_")
def div_(self: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """self /= other, in place, perhaps rounded as div rounds. TypeError on a tensor of integers
    where it is not."""
    return write_over(
        "div_", self, lambda x: div(x, other, rounding_mode=rounding_mode), other,
        keeps=_wants(other),
    )  # fmt: skip


@tensor_method("clamp_", "clip_")
def clamp_(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Brings each element into [min, max], in place."""
    return write_over("clamp_", self, lambda x: x.clamp(min, max), min, max)


@tensor_method()
def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Puts `value` where `mask` is true, in place."""
    return write_over(
        "masked_fill_", self, lambda x: x.masked_fill(mask, value), value, keeps=False
    )


@tensor_method()
def masked_scatter_(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Puts the elements of `source`, in order, where `mask` is true, in place."""
    return write_over(
        "masked_scatter_", self, lambda x: x.masked_scatter(mask, source), source, keeps=False
    )


@tensor_method()
def zero_(self: Tensor) -> Tensor:
    """Zeros everywhere, in place."""
    return fill_(self, 0)


@tensor_method()
def fill_(self: Tensor, value: Any) -> Tensor:
    """One number everywhere, in place."""
    filler = (
        number_beside(value, self)
        if isinstance(value, Tensor)
        else fresh(number_of("fill_", self.dtype, value, xp=namespace(self._array)))
    )
    return write_over("fill_", self, lambda x: filler.expand(x.shape), filler, keeps=False)


@tensor_method()
def copy_(self: Tensor, src: Any) -> Tensor:
    """The values of `src`, broadcast and converted, in place; from another device too.

    >>> tw.zeros(2).copy_(tw.tensor([1, 2]))
    tensor([1., 2.])
    """
    source = operand(src, "copy_", "src")
    if isinstance(self, Tensor):
        source = on_device(source, self.device)
    return write_over("copy_", self, lambda x: cast(source, x.dtype), source, keeps=False)


@tensor_method()
@takes_generator
def uniform_(
    self: Tensor, low: float = 0.0, high: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Uniform random numbers in [low, high), in place. ValueError where low is above high."""
    return write_over(
        "uniform_", self, lambda x: fresh(uniform_between(x.shape, x.dtype, low, high, x.device)),
        keeps=False,
    )  # fmt: skip


@tensor_method()
@takes_generator
def normal_(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Normal random numbers, in place."""
    return write_over(
        "normal_",
        self,
        lambda x: randn(x.shape, dtype=x.dtype, device=x.device) * std + mean,
        keeps=False,
    )


# --- methods that write what another gives ---


def _twin(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method `name` that writes what `function` gives over its first argument."""

    @wraps(function)
    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        return write_over(name, self, lambda x: function(x, *args, **options), *args)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{function.__name__}` in place."
    return method


for _function in (
    unary.abs, compare.ceil, order.cumsum, compare.eq, unary.exp, compare.floor,
    compare.floor_divide, compare.ge, compare.gt, compare.le, unary.log, compare.logical_and,
    compare.logical_not, compare.logical_or, compare.logical_xor, compare.lt, compare.ne, unary.neg,
    pointwise.pow, compare.remainder, compare.round, unary.rsqrt, unary.sigmoid, compare.sign,
    unary.sqrt, unary.square, unary.tanh,
):  # fmt: skip
    tensor_method(f"{_function.__name__}_")(_twin(f"{_function.__name__}_", _function))


def _operator(name: str) -> None:
    """`x NAME= y`, which writes what `x NAME y` gives."""
    outer = getattr(Tensor, f"__{name}__")

    def method(self: Tensor, other: Any) -> Tensor:
        if not isinstance(other, (int, float, scalar)):
            other = operand(other, name, "other")
        return write_over(name, self, lambda x: outer(x, other), other)

    tensor_method(f"__i{name}__")(method)


for _name in ("and", "floordiv", "mod", "or", "pow", "xor"):
    _operator(_name)


@tensor_method()
def clamp_min_(self: Tensor, min: Any) -> Tensor:
    """Brings what is less than `min` there, in place."""
    return clamp_(self, min)


@tensor_method()
def clamp_max_(self: Tensor, max: Any) -> Tensor:
    """Brings what is more than `max` there, in place."""
    return clamp_(self, None, max)


@tensor_method()
def relu_(input: Tensor) -> Tensor:
    """`relu` in place.

    >>> F.relu_(tw.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return write_over("relu_", operand(input, "relu_"), unary.relu)


@tensor_method("__iadd__")
def _iadd(self: Tensor, other: Any) -> Tensor:
    return self if _added_at_once(self, other) else self.add_(other)


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
    """NumPy's assignment to an index, recorded where gradients flow. Numbers and slices take what
    lies on another device, as copy_ does."""
    plain = plain_key(key, namespace(self._array))
    two = numbers_first(plain)
    if two is not None:
        _setitem(self[two[0]], two[1], value)
        return
    if isinstance(value, Tensor) and _is_part(value, self, plain):
        return  # the end of `x[key] += y`, which has written to the view x[key] by now
    source = (
        value
        if isinstance(value, Tensor)
        else fresh(values_of("setitem", self.dtype, value, namespace(self._array)))
    )
    if not source.ndim or is_basic(plain):
        source = on_device(source, self.device)
    if source._array.size == 1 and source._array.ndim:
        source = source.reshape(())  # NumPy puts nothing with axes into one element
    taped = check_writable("setitem", self, source)
    write = Write(self, kept(plain)) if taped else None
    try:
        _put(self._array, plain, source._array)
    except (IndexError, ValueError) as reason:
        raise error(
            type(reason), "setitem", f"an index within {self.shape} and values that fit it",
            reason, "check both shapes",
        ) from None  # fmt: skip
    if write is None:
        written(self)
    else:
        write.commit(_as_written(source, self._array[plain].shape, self.dtype))


@tensor_method()
def index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """self[indices] = values, in place, of a tuple of index tensors; with `accumulate` values are
    added, those of one place all of them. IndexError outside of the tensor, ValueError where adding
    is asked of what are no whole numbers."""
    key = tuple(indices)
    source = operand(values, "index_put_", "values")
    if not accumulate:
        _setitem(self, key, source)
        return self
    source = number_beside(source, self)
    arrays = tuple(moved_beside(k._array, self._array) if isinstance(k, Tensor) else k for k in key)
    found = places_of(arrays, self.shape)
    if found is None or not key:
        raise error(
            ValueError, "index_put_", "tensors of whole numbers, to accumulate",
            f"others, or more than {self.ndim}",
            "take mask.nonzero(as_tuple=True)",
        )  # fmt: skip
    for array, n in zip(arrays, self.shape, strict=False):
        if array.size and not (-n <= array.min() and array.max() < n):
            raise outside("index_put_", "indices", array, n, wraps=True)
    places, axes = found
    rest = self.shape[axes:]
    wide = source.expand(*places.shape, *rest).reshape(-1, *rest)
    at = fresh(places.reshape(-1))

    def added(x: Tensor) -> Tensor:
        total: Tensor = x.reshape(-1, *rest).index_add(0, at, wide).reshape(x.shape)
        return total

    return write_over("index_put_", self, added, source, keeps=False)


def _put(array: Any, key: Any, source: Any) -> None:
    """array[key] = source."""
    alike = not source.ndim and array.ndim and source.dtype == array.dtype
    if alike and is_whole_mask(key, array.shape):
        array[...] = ops.where(key, source, array)  # no branch is missed
    else:
        array[key] = source


def _is_part(view: Tensor, x: Tensor, key: Any) -> bool:
    """Whether `view` is x[key], on the same memory."""
    if view._storage is not x._storage or root_of(view) is not root_of(x) or not is_basic(key):
        return False
    key = key if isinstance(key, tuple) else (key,)
    there = x._array[key if ... in key else (*key, ...)]
    return _same_place(view._array, there)


def _same_place(a: Any, b: Any) -> bool:
    same = a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype
    return bool(same and address(a) == address(b))


def _wants(other: Any) -> bool:
    return isinstance(other, Tensor) and other._requires_grad
