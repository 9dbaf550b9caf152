"""Tensor: an array, its storage's version, and its place on the tape.

The tensor is the node of the tape, and knows no op by name: `functional` attaches the methods, and
`autograd` walks the nodes. The methods' types stand in tensor.pyi.
"""

from __future__ import annotations

import copy
import operator
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tilework import dtypes
from tilework.arrays import ndarray, writeable
from tilework.devices import CPU, CUDA, device, moved, restored
from tilework.engines.device import apart
from tilework.errors import error
from tilework.layout import (
    MOVING,
    NATURAL,
    MemoryFormat,
    c_strides,
    channels_last,
    check_format,
    contiguous_format,
    entering,
    inverse,
    is_c_order,
    is_channels_last,
    layout_of,
    natural_strides,
    preserve_format,
    preserved_order,
)
from tilework.printing import describe
from tilework.storage import NOTHING, Storage, next_time

F = TypeVar("F", bound=Callable[..., Any])

_new = object.__new__


class Tensor:
    """An n-dimensional array that remembers how it was made.

    Made by `tilework.tensor` and by every function; the constructor wraps an ndarray as it stands,
    as from_numpy does: writes to it show here, and nothing is cached for its memory.
    """

    __slots__ = (
        "__dict__",  # made at the first attribute that a user sets
        "__weakref__",
        "_array",
        "_aside",
        "_base",
        "_grad",
        "_node",
        "_requires_grad",
        "_retain",
        "_seq",
        "_storage",
    )
    __array_priority__ = 1000  # `ndarray + tensor` comes to Tensor.__radd__
    __hash__ = object.__hash__

    def __init__(self, array: Any, storage: Storage | None = None) -> None:
        if storage is None:
            array, storage = entering(array, "Tensor"), new_storage()
            storage.exposed = True
            storage.layout = NATURAL
        elif type(array) is int:
            raise error(
                TypeError, "Tensor", "a numpy.ndarray", f"sizes, {array} and {storage}",
                "use tilework.empty(sizes), or tilework.tensor(values)",
            )  # fmt: skip
        self._array = array
        self._storage = storage
        self._requires_grad = False
        self._retain = False
        self._node = None  # autograd.Node; None for a leaf
        self._seq = 0  # the time of recording; 0 for a leaf
        # _base, what a view was taken of, is set in views alone; _aside where there is something.
        self._grad = None  # an ndarray until somebody asks for `grad`, then a Tensor

    # --- what it is ---

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self._array.shape

    @property
    def dtype(self) -> Any:
        """The NumPy dtype (tilework.float32 and its like are NumPy dtypes)."""
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def device(self) -> device:
        """Where the array lives: `device(type='cpu')`, or `device(type='cuda', index=0)`."""
        return CPU if self._array.__class__ is ndarray else CUDA

    @property
    def is_cuda(self) -> bool:
        """Whether the array lives on a CUDA device."""
        return self._array.__class__ is not ndarray

    @property
    def is_cpu(self) -> bool:
        """Whether the array lives in the CPU's memory."""
        return self._array.__class__ is ndarray

    def get_device(self) -> int:
        """The number of the CUDA device that the array lives on; -1 on the CPU."""
        return 0 if self.is_cuda else -1

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._array.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._array.nbytes

    def dim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        shape = self._array.shape
        return shape if dim is None else shape[self._axis("size", dim)]

    def numel(self) -> int:
        """The number of elements."""
        return self._array.size

    def nelement(self) -> int:
        """numel by PyTorch's other name."""
        return self._array.size

    def ndimension(self) -> int:
        """dim by PyTorch's other name."""
        return self._array.ndim

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._array.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """The steps in memory, in elements, of all axes or of one."""
        steps = self._strides()
        return steps if dim is None else steps[self._axis("stride", dim)]

    def _axis(self, op: str, dim: Any) -> int:
        """`dim` as an index of the shape."""
        try:
            at = operator.index(dim)
        except TypeError:
            raise error(
                TypeError, op, "dim as a whole number", type(dim).__name__, "give an int"
            ) from None
        if not -self.ndim <= at < self.ndim:
            raise error(
                IndexError, op, f"dim between {-self.ndim} and {self.ndim - 1}", at,
                f"the tensor has {self.ndim} axes",
            )  # fmt: skip
        return at

    def is_contiguous(self, memory_format: MemoryFormat = contiguous_format) -> bool:
        """Whether the elements show C order without gaps, or the order of a memory format."""
        if memory_format is not contiguous_format:
            check_format("is_contiguous", memory_format, 4, preserved=False)
            return self._array.ndim == 4 and self.permute(0, 2, 3, 1).is_contiguous()
        layout, array = self._storage.layout, self._array
        if layout is NATURAL or (layout is None and array.flags.c_contiguous):
            return bool(array.flags.c_contiguous)
        return is_c_order(array.shape, self._strides())

    def is_floating_point(self) -> bool:
        """Whether the dtype is a float one."""
        return dtypes.is_float(self._array.dtype)

    def __len__(self) -> int:
        if not self._array.ndim:
            raise error(TypeError, "len", "a tensor with an axis", "a 0-d tensor", "use x.numel()")
        return len(self._array)

    def __bool__(self) -> bool:
        return bool(self._one("bool"))

    def __float__(self) -> float:
        return float(self._one("float"))

    def __int__(self) -> int:
        return int(self._one("int"))

    def __index__(self) -> int:
        if dtypes.is_float(self.dtype):
            raise error(
                TypeError, "index", "an integer tensor", self.dtype, "convert it with x.long()"
            )
        return int(self._one("index"))

    def _one(self, op: str) -> Any:
        if self._array.size != 1:
            raise error(
                ValueError, op, "a tensor of one element", f"shape {self.shape}", "reduce it first"
            )
        return moved(self._array, CPU).item()

    def item(self) -> Any:
        """The only element, as a Python number."""
        array = self._array
        plain = array.size == 1 and array.__class__ is ndarray
        return array.item() if plain else self._one("item")

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return moved(self._array, CPU).tolist()

    # --- to and from arrays ---

    def numpy(self, *, force: bool = False) -> Any:
        """An array on the tensor's memory; a tensor that requires grad must be detached first, and
        one of a device copied to the CPU: `force` does both.

        It has PyTorch's strides: what the engine laid otherwise goes over to C order, once. From
        here on writes may come that tilework does not see: nothing is cached for this memory.
        """
        if force:
            return self.detach().cpu().numpy()  # type: ignore[attr-defined]
        if self._requires_grad:
            raise error(
                RuntimeError, "numpy", "a tensor without grad", "one that requires grad",
                "use x.detach().numpy()",
            )  # fmt: skip
        self._need_cpu("numpy")
        return self._exposed()

    def _need_cpu(self, op: str) -> None:
        """TypeError where the array is a device's: a copy to the host is asked for by name."""
        if self._array.__class__ is not ndarray:
            raise error(
                TypeError, op, "a tensor on the CPU", f"one on {self.device}", "use x.cpu() first"
            )

    def _exposed(self) -> Any:
        self._lay_naturally()
        if writeable(self._array):
            self._storage.exposed = True
            self._storage.packed = None
        return self._array.view()  # a shape set there must not be this tensor's

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        self._need_cpu("__array__")
        if copy or (dtype is not None and np.dtype(dtype) != self._array.dtype):
            if copy is False:
                raise error(
                    ValueError, "__array__", f"dtype {self.dtype} where nothing is copied", dtype,
                    "allow the copy",
                )  # fmt: skip
            return np.array(self._array, dtype, order="C" if self.is_contiguous() else "K")
        return self.numpy()

    def __dlpack__(self, **options: Any) -> Any:
        shared = self.numpy() if self.is_cpu else self._array
        return shared.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    # --- its place on the tape ---

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor. Assignable on leaves."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Asks for (or refuses) gradients of this leaf, and returns it."""
        if self._node is not None and not requires_grad:
            raise error(
                RuntimeError, "requires_grad_", "a leaf", "a result of an op", "use x.detach()"
            )
        if requires_grad and not dtypes.is_float(self._array.dtype):
            raise error(
                RuntimeError, "requires_grad_", "a float tensor", self._array.dtype,
                "convert it with x.float()",
            )  # fmt: skip
        self._requires_grad = bool(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op made this tensor."""
        return self._node is None

    @property
    def grad_fn(self) -> Any:
        """The name of the op that made this tensor, None for a leaf."""
        return None if self._node is None else self._node[0].name

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward() accumulated here. Assignable."""
        held = self._grad
        if held is not None and not isinstance(held, Tensor):
            self._grad = held = fresh(held)._keep_order(self)
        return held

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise error(TypeError, "grad", "a Tensor or None", type(value).__name__, "wrap it")
            if value.shape != self.shape or value.dtype != self.dtype:
                raise error(
                    ValueError, "grad", f"{self.shape} of {self.dtype}",
                    f"{value.shape} of {value.dtype}", "give the tensor's own shape and dtype",
                )  # fmt: skip
            if value._array.__class__ is not self._array.__class__:
                raise apart("grad")
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    def retain_grad(self) -> None:
        """Keeps this tensor's gradient in `grad` though it is no leaf."""
        if not self._requires_grad:
            raise error(
                RuntimeError, "retain_grad", "a tensor that requires grad", "one that does not",
                "compute it from a leaf with requires_grad=True",
            )  # fmt: skip
        held: Any = self._retain
        if isinstance(held, bool):
            self._retain = self._node is not None
        else:  # its hooks
            held.retains = self._node is not None

    @property
    def data(self) -> Tensor:
        """The same memory, outside the tape. Assignable: takes the other tensor's memory."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise error(TypeError, "data", "a Tensor", type(value).__name__, "wrap it")
        self._array, self._storage = value._array, value._storage
        value._share(self)

    def detach(self) -> Tensor:
        """The same memory, and the same version of it, outside the tape."""
        twin = Tensor(self._array, self._storage)
        self._share(twin)
        return twin

    # --- how its memory lies ---

    def _share(self, twin: Tensor) -> None:
        """Says that `twin` too is on this storage."""
        storage = self._storage
        storage.shared = True
        if storage.layout is None and self._array.flags.c_contiguous:
            storage.layout = NATURAL
        if storage.layout is not NATURAL:
            with MOVING:
                layout = self._layout()
                if layout is not NATURAL:
                    layout.hold(twin)
                    return
        if storage.moved is not None:  # perhaps by another thread, since twin's array was taken
            twin._array = storage.moved.moved(twin._array)

    def _layout(self) -> Any:
        """The storage's Layout, or NATURAL. To be asked while MOVING is held: two threads would
        each hold tensors on a layout of their own."""
        layout = self._storage.layout
        if layout is None:
            layout = self._storage.layout = layout_of(self._array)
            if layout is not NATURAL:
                layout.hold(self)
        return layout

    def _strides(self) -> tuple[int, ...]:
        """The strides that show, in elements."""
        layout, array = self._storage.layout, self._array
        if layout is None and array.flags.c_contiguous:
            return c_strides(array.shape)
        if layout is not NATURAL:
            with MOVING:
                layout, array = self._layout(), self._array
                if layout is not NATURAL:
                    return layout.strides(array)  # type: ignore[no-any-return]
        return natural_strides(array)

    def _lay_naturally(self) -> None:
        """Brings the storage into the order that shows, all tensors on it with it."""
        storage = self._storage
        layout = storage.layout
        if layout is NATURAL or (layout is None and self._array.flags.c_contiguous):
            return
        with MOVING:
            layout = self._layout()
            if layout is NATURAL:
                return
            layout.move()
            for held in layout.tensors.values():
                t = held()
                if t is not None and t._storage is storage:
                    t._array = layout.moved(t._array)
            layout.tensors.clear()
            storage.moved, storage.packed = layout, None
            storage.layout = NATURAL  # last: who sees it finds all of them in their new place

    def _keep_order(self, *operands: Tensor) -> Tensor:
        """Gives this fresh result the order of axes that PyTorch gives an elementwise op's on
        `operands`; where all of them show C order, as they mostly do, that is C order."""
        for t in operands:
            if not t._is_plain():
                break
        else:
            return self
        shown = [(t._array.shape, t._strides()) for t in operands]
        order = preserved_order(self._array.shape, shown)
        if order != sorted(order):
            self._show_in(order)
        return self

    def _show_format(self, memory_format: MemoryFormat, model: Tensor) -> Tensor:
        """Lets this fresh tensor show a memory format, `model`'s where that is to be preserved."""
        if memory_format is preserve_format:
            return self._keep_order(model)
        if memory_format is channels_last:
            self._show_in([0, 2, 3, 1])
        return self

    def _keep_channels(self, image: Tensor) -> Tensor:
        """Gives this fresh result channels last where `image` (N, C, H, W) shows them so: PyTorch's
        convolutions, pools and norms do."""
        if not image._is_plain() and is_channels_last(image.shape, image._strides()):
            self._show_in([0, 2, 3, 1])
        return self

    def _is_plain(self) -> bool:
        """Whether this shows C order, as most tensors do: a quick look, which may miss some."""
        layout, array = self._storage.layout, self._array
        if layout is None:
            return True
        return array.flags.c_contiguous if layout is NATURAL else layout.is_whole(array)

    def _show_in(self, order: list[int]) -> None:
        """Lets this fresh tensor show its axes in this order of memory, outermost first."""
        layout = self._storage.layout = layout_of(self._array.transpose(order))
        if layout is not NATURAL:
            layout.hold(self)

    @property
    def _version(self) -> int:
        return self._storage.version

    # --- copies ---

    def __copy__(self) -> Tensor:
        """A leaf on the same memory, and the same version of it."""
        twin = _rebuild(_kind(self), self._array, self._requires_grad)
        twin._storage = self._storage
        self._share(twin)
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        twin = deep_copy(self, memo)
        if self._grad is not None:
            twin.grad = copy.deepcopy(self.grad, memo)
        return twin

    def __reduce__(self) -> Any:
        if self._node is not None:
            raise error(
                RuntimeError, "pickle", "a leaf", "a result of an op", "pickle x.detach() instead"
            )
        # NumPy pickles in C order: so the axes go in the order of memory, and come back.
        array = moved(self._array, CPU)
        order = sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))
        ordered = array.transpose(order)
        shown = preserved_order(self.shape, [(self.shape, self._strides())])
        back = inverse(order)
        where = () if self.is_cpu else (str(self.device),)
        made_of = (_kind(self), ordered, self._requires_grad, back, shown, *where)
        return _rebuild, made_of, self.__dict__ or None

    def __repr__(self) -> str:
        return describe(self, "tensor")

    def __format__(self, spec: str) -> str:
        return repr(self) if self._array.ndim else format(self.item(), spec)


class PlainView(Tensor):
    """A view that no gradient flows to: until a write to its memory is recorded. No tensor knows
    its views, so they look for themselves, and are plain no longer."""

    __slots__ = ()

    @property
    def _requires_grad(self) -> bool:  # type: ignore[override]
        op = self._storage.taped
        return op is not None and self._joins(op)

    @_requires_grad.setter
    def _requires_grad(self, value: bool) -> None:
        self.__class__ = Tensor  # type: ignore[assignment]
        self._requires_grad = value

    def _joins(self, op: Any) -> bool:
        root: Tensor = self
        while (base := getattr(root, "_base", None)) is not None and base._storage is self._storage:
            root = base
        if not getattr(root, "_aside", NOTHING).past:  # the write was to a detached twin
            return False
        self._requires_grad = True
        self._node = (op, (root,), None, ())  # stale from the start: states.as_at looks further
        return True


def deep_copy(x: Tensor, memo: dict[int, Any]) -> Tensor:
    """copy.deepcopy of a leaf, but for its gradient."""
    if x._node is not None:
        raise error(
            RuntimeError, "deepcopy", "a leaf", "a result of an op", "copy x.detach() instead"
        )
    twin = _rebuild(_kind(x), x._array.copy(order="K"), x._requires_grad)
    twin._keep_order(x)
    memo[id(x)] = twin
    twin.__dict__.update(copy.deepcopy(x.__dict__, memo))
    return twin


def fresh(array: Any) -> Tensor:
    """A tensor on an array that nobody else holds, of a dtype of ours: what engines and NumPy's
    functions return. No checks, and half the constructor's price."""
    x = _new(Tensor)
    x._array = array
    x._storage = Storage()
    x._requires_grad = False
    x._retain = False
    x._node = None
    x._seq = 0
    x._grad = None
    return x


def view_of(x: Tensor, array: Any) -> Tensor:
    """A tensor on `array`, which shares the memory of `x`: a PlainView unless `x` requires grad,
    and the view is to be recorded."""
    view: Tensor
    if x._requires_grad:
        view = _new(Tensor)
        view._requires_grad = False  # until it is recorded
    else:
        view = _new(PlainView)
    view._array = array
    view._storage = storage = x._storage
    view._base = x
    view._retain = False
    view._node = None
    view._seq = 0
    view._grad = None
    if storage.layout is NATURAL and storage.moved is None:  # as mostly: _share() in short
        storage.shared = True
    else:
        x._share(view)
    return view


new_storage: Callable[[], Storage] = Storage

# The extension makes the same objects, slot by slot, at a third of the price.
native: Any = sys.modules.get("tilework._native")
if native is not None:
    native.tensor_classes(Tensor, PlainView, Storage, NATURAL, next_time)
    fresh, view_of, new_storage = native.fresh, native.view_of, native.new_storage


_PICKLED = "pickle x.cpu(), or tilework.save it and load it with map_location='cpu'"


def _kind(x: Tensor) -> type[Tensor]:
    """The class of a copy, which is no view."""
    return Tensor if isinstance(x, PlainView) else type(x)


def _rebuild(
    kind: type[Tensor],
    array: Any,
    requires_grad: bool,
    axes: tuple[int, ...] | None = None,
    shown: list[int] | None = None,
    where: str = "cpu",
) -> Tensor:
    twin = kind.__new__(kind)
    array = dtypes.canonical(array, "pickle")
    array = array if axes is None else array.transpose(axes)
    if where != "cpu":
        array = moved(array, restored("unpickle", where, _PICKLED))
    Tensor.__init__(twin, array, new_storage())
    twin._requires_grad = requires_grad
    if shown is not None and shown != list(range(array.ndim)):
        twin._show_in(shown)
    return twin


def tensor_method(*names: str) -> Callable[[F], F]:
    """Attaches a function, whose first argument is the tensor, to Tensor under each name.

    Without a name, under the function's own.
    """

    def attach(function: F) -> F:
        for name in names or (function.__name__,):
            setattr(Tensor, name, function)
        return function

    return attach
