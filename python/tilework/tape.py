"""Recording: grad mode, ops, and the node that a result holds.

A tensor made by a recorded op holds its node: the op, the input tensors, what the op saved, and the
storages that its backward will read, which must not have been written since. There are no closures
and no cycles: activations die with the walk, by reference count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, TypeVar

from tilework.errors import error
from tilework.storage import Aside, Storage, next_time
from tilework.tensor import PlainView, Tensor, fresh, native, view_of

F = TypeVar("F", bound=Callable[..., Any])
Array = Any
Inputs = tuple[Any, ...]
ArrayBackward = Callable[[Array, Inputs, Any], Sequence[Any]]
TensorBackward = Callable[[Tensor, Inputs, Any], Sequence[Any]]

_new = object.__new__


# --- grad mode ---


class _Mode(threading.local):
    enabled = True


mode = _mode = _Mode()  # two names: PyTorch calls an argument `mode`


def is_grad_enabled() -> bool:
    """Whether ops of this thread are recorded."""
    return mode.enabled


class set_grad_enabled:
    """Turns recording on or off for this thread: at once, and as a context manager until its end.

    >>> import tilework as tw
    >>> with tw.set_grad_enabled(False):
    ...     tw.is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        self._before = _mode.enabled
        _mode.enabled = bool(mode)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        mode.enabled = self._before


class _Switch:
    """A context manager and decorator that holds the mode at one value."""

    _value = False

    def __new__(cls, function: Any = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self, function: Any = None) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(mode.enabled)
        mode.enabled = self._value

    def __exit__(self, *_: object) -> None:
        mode.enabled = self._before.pop()

    def __call__(self, function: F) -> F:
        kind = type(self)
        if isgeneratorfunction(function):  # its body would run when the switch is off again
            raise error(
                TypeError, kind.__name__, "a function that returns", "a generator function",
                f"write `with tilework.{kind.__name__}():` in its body",
            )  # fmt: skip

        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with kind():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_Switch):
    """Stops recording in this thread; a context manager and a decorator, with brackets or without.

    >>> import tilework as tw
    >>> x = tw.ones(2, requires_grad=True)
    >>> with tw.no_grad():
    ...     (x * 2).requires_grad
    False
    """


class inference_mode(no_grad):
    """no_grad by PyTorch's other name: what is made in it is an ordinary tensor here, without a
    graph. `mode=False` changes nothing.

    >>> import tilework as tw
    >>> with tw.inference_mode():
    ...     tw.is_grad_enabled()
    False
    """

    def __new__(cls, mode: Any = True) -> Any:
        return cls()(mode) if callable(mode) else object.__new__(cls)

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        self._holds = mode is not False

    def __enter__(self) -> None:
        super().__enter__()
        if not self._holds:
            mode.enabled = self._before[-1]

    def __call__(self, function: F) -> F:
        return super().__call__(function) if self._holds else function


class enable_grad(_Switch):
    """Records in this thread, inside a no_grad too; for the rest as no_grad."""

    _value = True


# --- recording ---


class Op:
    """How gradients flow back through one op.

    `backward(grad, inputs, saved)` works on arrays and gives one array (or None) an input, each
    fresh or made of `grad`. `differentiable` does the same with tensors and recorded ops: it serves
    create_graph=True, and ordinary passes too where no `backward` is given.

    `rereads` says that `differentiable` reads the values of inputs that `backward` does not.
    `place(total, mine, grad, saved, input)`, of a view, adds `grad` to the part of the input's
    gradient that the view shows: to `total` itself if it is `mine` to write, to a copy else, to
    zeros if it is None. What the views of one tensor receive is so gathered in one array.

    `onto(grad, inputs, saved, total)` is `backward` where the first input has received `total`
    already: it adds that to the first gradient in its own pass.
    """

    __slots__ = (
        "backward", "consumed", "differentiable", "name", "onto", "place", "plain", "rereads",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        backward: ArrayBackward | None = None,
        differentiable: TensorBackward | None = None,
        *,
        rereads: bool = False,
        place: Callable[[Any, bool, Array, Any, Tensor], Array] | None = None,
        onto: Callable[[Array, Inputs, Any, Array], Sequence[Any]] | None = None,
    ) -> None:
        self.name = name
        self.differentiable = differentiable
        self.rereads = rereads
        self.place = place
        self.onto = onto
        self.plain = place is None and onto is None  # False: the walk has a way of its own with it
        self.consumed = (self, None, None, ())  # the node that a walk leaves behind
        if backward is None:
            if differentiable is None:
                raise ValueError(f"the op {name} needs a backward")
            backward = _on_arrays(differentiable)
        self.backward = backward


def _on_arrays(differentiable: TensorBackward) -> ArrayBackward:
    def backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
        with no_grad():
            grads = differentiable(fresh(grad), inputs, saved)
        return [None if g is None else g._array for g in grads]

    return backward


def wants_grad(*tensors: Tensor) -> bool:
    """Whether an op on these is to be recorded."""
    if not mode.enabled:
        return False
    return any(t._requires_grad for t in tensors)


def record(
    y: Tensor, op: Op, inputs: Inputs, saved: Any = None, reads: tuple[Storage, ...] = ()
) -> Tensor:
    """Puts `y` on the tape as the result of `op`, whose backward reads the memory of `reads`."""
    y._node = (op, inputs, saved, reads)
    y._seq = next_time()
    y._requires_grad = True
    return y


def recorded(
    array: Array, storage: Storage, op: Op, inputs: Inputs, saved: Any, reads: tuple[Storage, ...]
) -> Tensor:
    """record(Tensor(array, storage), ...) at two thirds of the price, for the ops that networks are
    made of."""
    y = _new(Tensor)
    y._array = array
    y._storage = storage
    y._requires_grad = True
    y._retain = False
    y._node = (op, inputs, saved, reads)
    y._seq = next_time()
    y._grad = None
    return y


if native is not None:
    record, recorded = native.record, native.recorded

UNRECORDED = Aside()
UNRECORDED.barred = "a view made under no_grad"


def unrecorded(y: Tensor, x: Tensor) -> None:
    """Marks `y`, a view of `x` made under no_grad: gradients can neither go past it nor be right
    through it once its memory is written."""
    y._aside = UNRECORDED
    if x._requires_grad:
        y.__class__ = PlainView


def plain_views(x: Tensor, arrays: Iterable[Array], aside: Aside) -> tuple[Tensor, ...]:
    """Views of x, none of which is to be recorded, with one `aside`."""
    views = []
    for array in arrays:
        view = view_of(x, array)
        view._aside = aside
        if view.__class__ is not PlainView:
            view.__class__ = PlainView
        views.append(view)
    return tuple(views)
