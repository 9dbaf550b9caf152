"""Where elements lie, and where a program may take them to lie.

Kernels lay images channels last and weights in the order in which they read them. A program sees
none of it: to it every result is in C order, as in PyTorch. So strides are asked of a Layout, which
knows both orders, and memory goes over to C order where a view, or NumPy, needs it there.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import ref

from tilework import dtypes
from tilework.arrays import address, ndarray, set_writeable, strided, writeable
from tilework.engines import ops
from tilework.errors import error

Array = Any
Strides = tuple[int, ...]

# A storage that lies as it shows: a NumPy array's, or one in C order.
NATURAL: Any = "natural"


class MemoryFormat:
    """An order of axes in memory, for programs that name one: PyTorch's words, as they show."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"tilework.{self._name}"

    def __reduce__(self) -> str:
        return self._name  # by name: formats are compared by identity


contiguous_format = MemoryFormat("contiguous_format")
channels_last = MemoryFormat("channels_last")
preserve_format = MemoryFormat("preserve_format")


def check_format(op: str, memory_format: Any, ndim: int, preserved: bool = True) -> None:
    """TypeError on what is no memory format, ValueError on one that does not suit."""
    if not isinstance(memory_format, MemoryFormat):
        raise error(
            TypeError, op, "a memory format", memory_format, "give tilework.channels_last, say"
        )
    if memory_format is channels_last and ndim != 4:
        raise error(
            ValueError, op, "four axes for channels_last", f"{ndim}", "leave memory_format out"
        )
    if memory_format is preserve_format and not preserved:
        raise error(
            ValueError, op, "contiguous_format or channels_last", memory_format, "name one of them"
        )


class _Moving:
    """A lock: memory moves in one thread, while no other tensor comes to it."""

    def __init__(self) -> None:
        self.unlock()

    def unlock(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


MOVING = _Moving()
if hasattr(os, "register_at_fork"):  # another thread may have been inside when the process forked
    os.register_at_fork(after_in_child=MOVING.unlock)


class Layout:
    """A storage whose elements lie in another dense order than the C order that they show.

    Made of the whole of it, in the shape whose C order it shows; `tensors` are the tensors on it,
    by id, as weak references.
    """

    def __init__(self, array: Array) -> None:
        self._array = array  # until it has moved
        self._shape, self._strides, self._itemsize = array.shape, array.strides, array.itemsize
        self._begin = 0
        self._base: Array = None  # where it has moved to
        self.tensors: dict[int, Any] = {}
        self._room = 16  # so many are held before those that died are looked for
        self._steps: list[tuple[int, int]] | None = None

    def hold(self, tensor: Any) -> None:
        """Notes that `tensor` is on this storage, as long as it lives."""
        if len(self.tensors) >= self._room:
            for key, held in list(self.tensors.items()):
                if held() is None:
                    self.tensors.pop(key, None)
            self._room = 2 * len(self.tensors) + 16
        self.tensors[id(tensor)] = ref(tensor)

    def is_whole(self, array: Array) -> bool:
        """Whether `array` is all of the storage, in its own shape."""
        return bool(array.strides == self._strides and array.shape == self._shape)

    def strides(self, array: Array) -> Strides:
        """The strides, in elements, that a view of the storage shows."""
        if self.is_whole(array):
            return c_strides(array.shape)
        item = array.itemsize
        return with_new_axes(array.shape, [self._shown(step // item) for step in array.strides])

    def _shown(self, distance: int) -> int:
        """How far apart two elements show that lie `distance` apart.

        A step along several axes (a diagonal's) has a digit for each of them.
        """
        rest, shown = abs(distance), 0
        for lies, shows in self._steps or self._measure():
            digit, rest = divmod(rest, lies)
            shown += digit * shows
        return shown if distance >= 0 else -shown

    def _measure(self) -> list[tuple[int, int]]:
        """Each axis' step as it lies and as it shows, widest first.

        An axis of length 1 steps nowhere, and its stride may be another's: but not the outermost.
        """
        shape, size = self._shape, math.prod(self._shape)
        lies = [step // self._itemsize for step in self._strides]
        axes = zip(lies, c_strides(shape), shape, strict=True)
        self._steps = sorted(
            ((a, b) for a, b, length in axes if length > 1 or a >= size), reverse=True
        )
        return self._steps

    def move(self, base: Array = None) -> None:
        """Goes over to `base`, which has the elements as they show; to a copy where none is given.

        Of the old memory nothing is kept but where it was.
        """
        self._base = ops.copy(self._array, False) if base is None else base
        self._begin = address(self._array)
        self._array = None

    def moved(self, array: Array) -> Array:
        """The part of the new memory that `array` is of the old; itself where it is there."""
        item, base = array.itemsize, self._base
        distance = (address(array) - self._begin) // item
        if not 0 <= distance < base.size:
            return array
        steps = [self._shown(s // item) * item for s in array.strides]
        part = strided(
            base.reshape(-1), array.shape, array.dtype, self._shown(distance) * item, steps
        )
        if not writeable(array):
            set_writeable(part, False)
        return part


def entering(array: Any, op: str) -> Any:
    """What a user's array is to a tensor: itself wherever its memory can be shared."""
    if not isinstance(array, ndarray):
        raise error(TypeError, op, "a numpy.ndarray", type(array).__name__, "use tilework.tensor")
    if type(array) is not ndarray:  # a matrix indexes otherwise, a masked array hides elements
        array = array.view(ndarray)
    return dtypes.canonical(_aligned(array), op)


def _aligned(array: Any) -> Any:
    """The array, or a copy where its elements lie as no kernel reads them: at odd addresses, or
    steps that are no whole number of elements."""
    whole = array.flags.aligned and not any(step % array.itemsize for step in array.strides)
    return array if whole else array.copy()


def layout_of(array: Array) -> Any:
    """The Layout of an array that shows C order: NATURAL where it lies so, or is no dense array."""
    if array.flags.c_contiguous:
        return NATURAL
    order = sorted(range(array.ndim), key=lambda i: -array.strides[i])
    return Layout(array) if array.transpose(order).flags.c_contiguous else NATURAL


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    """The order of axes that undoes one, whose axes may count from the end.

    >>> inverse((2, 0, 1))
    (1, 2, 0)
    """
    back = [0] * len(axes)
    for i, at in enumerate(axes):
        back[at] = i
    return tuple(back)


def c_strides(shape: Sequence[int]) -> Strides:
    """The strides, in elements, of C order.

    >>> c_strides((2, 3, 4))
    (12, 4, 1)
    """
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= max(length, 1)
    return tuple(reversed(strides))


def natural_strides(array: Array) -> Strides:
    """The strides of an array, in elements."""
    return with_new_axes(array.shape, [step // array.itemsize for step in array.strides])


def with_new_axes(shape: Sequence[int], strides: list[int]) -> Strides:
    """Strides as PyTorch has them: NumPy gives new axes 0, PyTorch what would be next.

    >>> with_new_axes((2, 1, 3), [3, 0, 1])
    (3, 3, 1)
    """
    for i in reversed(range(len(shape))):
        if shape[i] == 1 and not strides[i]:
            strides[i] = shape[i + 1] * strides[i + 1] if i + 1 < len(shape) else 1
    return tuple(strides)


def is_c_order(shape: Sequence[int], strides: Strides) -> bool:
    """Whether elements with these strides are in C order without gaps."""
    if 0 in shape:
        return True
    step = 1
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1:
            if stride != step:
                return False
            step *= length
    return True


def is_channels_last(shape: Sequence[int], strides: Strides) -> bool:
    """Whether images (N, C, H, W) have their channels innermost, by PyTorch's rule for lengths 1.

    >>> is_channels_last((2, 3, 4, 4), (48, 1, 12, 3))
    True
    """
    if len(shape) != 4 or 0 in shape or not strides[1]:
        return False
    least = 0
    for axis in (1, 3, 2, 0):
        if strides[axis] < least or (axis == 0 and least == strides[1]):
            return False
        least = strides[axis] * shape[axis]
    return True


def can_view(shape: Sequence[int], strides: Strides, wanted: Sequence[int]) -> bool:
    """Whether strides can show these elements in the shape `wanted`: PyTorch's rule.

    Axes that continue each other are one run; each run is cut by itself.

    >>> can_view((2, 3, 4), (12, 4, 1), (6, 4)), can_view((3, 2), (1, 3), (6,))
    (True, False)
    """
    if 0 in shape or not shape:
        return True
    at, have, want, step = len(wanted) - 1, 1, 1, strides[-1]
    for axis in reversed(range(len(shape))):
        have *= shape[axis]
        if axis and (shape[axis - 1] == 1 or strides[axis - 1] == have * step):
            continue
        while at >= 0 and (want < have or wanted[at] == 1):
            want *= wanted[at]
            at -= 1
        if want != have:
            return False
        have, want, step = 1, 1, strides[axis - 1]
    return at < 0


def preserved_order(
    shape: Sequence[int], operands: Iterable[tuple[Sequence[int], Strides]]
) -> list[int]:
    """The axes, outermost first, of an elementwise result of this shape on `operands` (their shapes
    and strides): PyTorch's rule, the first operand that tells two axes apart deciding."""
    aligned = []
    for lengths, strides in operands:
        new = len(shape) - len(lengths)
        spread = (
            0 if n == 1 != shape[i] else step
            for i, (n, step) in enumerate(zip(lengths, strides, strict=True), new)
        )
        aligned.append(((0,) * new) + tuple(spread))
    order = list(range(len(shape)))
    for i in reversed(range(len(shape) - 1)):  # insertion, from the innermost
        at = i
        for j in range(i + 1, len(shape)):
            verdict = _is_inside(order[at], order[j], aligned, shape)
            if verdict is None:
                continue
            if not verdict:
                break
            order[at], order[j] = order[j], order[at]
            at = j
    return order


def _is_inside(a: int, b: int, operands: list[Strides], shape: Sequence[int]) -> bool | None:
    """Whether axis `a` belongs inside of `b`; None where no operand tells."""
    for strides in operands:
        if strides[a] and strides[b]:
            if strides[a] != strides[b]:
                return strides[a] < strides[b]
            if shape[a] < shape[b]:
                return True
    return None


def resolved(wanted: Sequence[int], count: int) -> tuple[int, ...] | None:
    """A shape of `count` elements with its -1 replaced; None where there is none."""
    unknown = [i for i, n in enumerate(wanted) if n == -1]
    rest = math.prod(n for n in wanted if n != -1)
    if len(unknown) > 1 or any(n < -1 for n in wanted):
        return None
    if not unknown:
        return tuple(wanted) if rest == count else None
    if not rest or count % rest:
        return None
    return tuple(count // rest if n == -1 else n for n in wanted)
