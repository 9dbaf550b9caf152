"""The tape: grad mode, recording, and the walk back.

A tensor made by a recorded op holds its node: the op, the input tensors, what the op saved, and the
storages that its backward will read, which must not have been written since. There are no closures
and no cycles: activations die with the walk, by reference count.

The walk is iterative. It goes in the order of recording, backwards, and clears each node as it is
consumed. An in-place op gives its tensor a newer node; an op recorded earlier reaches the older one
by comparing times (`_rewind`).
"""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from inspect import isgeneratorfunction
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from tilework.engines import ops
from tilework.errors import error
from tilework.tensor import Storage, Tensor, fresh, next_time, tensor_method

F = TypeVar("F", bound=Callable[..., Any])
Array = Any
Inputs = tuple[Any, ...]
ArrayBackward = Callable[[Array, Inputs, Any], Sequence[Any]]
TensorBackward = Callable[[Tensor, Inputs, Any], Sequence[Any]]

_time = attrgetter("_seq")
_new = object.__new__


# --- grad mode ---


class _Mode(threading.local):
    enabled = True


mode = _Mode()


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

    def __init__(self, enabled: bool) -> None:
        self._before = mode.enabled
        mode.enabled = bool(enabled)

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


class enable_grad(_Switch):
    """Records in this thread, inside a no_grad too; for the rest as no_grad."""

    _value = True


# --- recording ---


class Op:
    """How gradients flow back through one op.

    `backward(grad, inputs, saved)` works on arrays and gives one array (or None) an input, each
    fresh or made of `grad`. `differentiable` does the same with tensors and recorded ops: it serves
    create_graph=True, and ordinary passes too where no `backward` is given.
    """

    __slots__ = ("backward", "consumed", "differentiable", "name")

    def __init__(
        self,
        name: str,
        backward: ArrayBackward | None = None,
        differentiable: TensorBackward | None = None,
    ) -> None:
        self.name = name
        self.differentiable = differentiable
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


def _overwritten(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return None, grad


def _overwritten_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return None, grad


_OVERWRITE = Op("overwrite", _overwritten, _overwritten_recorded)


def overwrite(x: Tensor, before: Tensor, now: Tensor) -> None:
    """Puts `x` on the tape once more, its memory just overwritten by the values of `now`; `before`
    is what it was, for the ops recorded until here."""
    record(x, _OVERWRITE, (before, now))


# --- the walk ---


def _rewind(tensor: Tensor, time: int, consumed: dict[Tensor, Tensor]) -> Tensor:
    """The tensor as it was at `time`: before the in-place ops recorded since. `consumed` says what
    was before those that the walk itself has consumed."""
    while tensor._seq > time:
        inputs = tensor._node[1]
        if inputs is not None:
            tensor = inputs[0]
        elif tensor in consumed:
            tensor = consumed[tensor]
        else:
            raise _consumed(tensor)
    return tensor


def _consumed(tensor: Tensor) -> RuntimeError:
    return error(
        RuntimeError, "backward", "a graph that is still there",
        f"one whose {tensor.grad_fn} was already consumed by a backward pass",
        "pass retain_graph=True to the first backward, or compute the result again",
    )  # fmt: skip


def _written(op: Op) -> RuntimeError:
    return error(
        RuntimeError, "backward", f"the tensors that {op.name} saved as they were",
        "one that an in-place operation has modified since",
        "clone() it before the write, or write before the forward pass",
    )  # fmt: skip


def _made_of(t: Tensor) -> Inputs:
    """The inputs of the op that made `t`, as they were when it was recorded."""
    inputs = t._node[1]
    if inputs is None:
        raise _consumed(t)
    time = t._seq
    return tuple(p if p is None else _rewind(p, time, {}) for p in inputs)


def _reach(roots: Sequence[Tensor]) -> list[Tensor]:
    """Every recorded tensor under `roots`, oldest first."""
    nodes = list(dict.fromkeys(t for t in roots if t._node is not None))
    seen = set(nodes)
    for t in nodes:
        for p in _made_of(t):
            if p is not None and p._node is not None and p not in seen:
                seen.add(p)
                nodes.append(p)
    nodes.sort(key=_time)
    return nodes


def _prune(nodes: list[Tensor], targets: set[Tensor]) -> list[Tensor]:
    """The nodes, oldest first, from which some target can be reached."""
    useful = set(targets)
    kept = []
    for t in nodes:
        if any(p in useful for p in _made_of(t)):
            useful.add(t)
            kept.append(t)
    return kept


def _walk(
    due: list[Tensor],
    pending: dict[Tensor, Any],
    retain: bool | None,
    held: set[Tensor] | None = None,
    kept: frozenset[Tensor] = frozenset(),
) -> None:
    """Carries the gradients in `pending` to the leaves, in arrays.

    `due` are the recorded tensors among them, oldest first. The newest is always the next: what it
    was made of is older, so by the time of its turn all of its gradient has arrived.

    Without `held` the leaves' gradients go to their `grad`. With it the walk goes over the tensors
    in `kept` alone, and the gradients of `held` stay in `pending`.
    """
    owned: set[Tensor] = set()  # their pending array is a sum made here: it may be written
    before: dict[Tensor, Tensor] = {}  # what tensors were before an overwrite consumed here
    while due:
        t = due.pop()
        grad = pending[t] if held and t in held else pending.pop(t)
        op, inputs, saved, reads = t._node
        if inputs is None:
            raise _consumed(t)
        time = t._seq
        for storage in reads:
            if storage.version > time:
                raise _written(op)
        if t._retain:
            _accumulate(t, grad.copy())
        grads = op.backward(grad, inputs, saved)
        if not retain:
            t._node = op.consumed
            if op is _OVERWRITE:
                before[t] = inputs[0]
        for p, g in zip(inputs, grads):  # noqa: B905 (strict costs a tenth of the loop)
            if g is None:
                continue
            if held is None and p._node is None:
                if not p._requires_grad:
                    continue
                # A leaf's gradient is the user's to write: no alias of another's.
                if g is grad or g.base is not None:
                    g = g.copy("K")  # the layout may be the leaf's own
                if p._grad is None:
                    p._grad = g
                else:
                    _accumulate(p, g)
                continue
            if p._seq > time:
                p = _rewind(p, time, before)
            if not p._requires_grad or (held is not None and p not in held and p not in kept):
                continue
            if p not in pending:
                pending[p] = g
                if p._node is None or (held is not None and p not in kept):
                    continue
                if not due or p._seq > due[-1]._seq:
                    due.append(p)
                else:
                    insort(due, p, key=_time)
            elif p in owned:
                ops.accumulate_(pending[p], g)
            else:
                pending[p] = add_arrays(pending[p], g)
                if not (held and p in held):
                    owned.add(p)


def add_arrays(a: Array, b: Array) -> Array:
    """The sum of two gradients, in a fresh array."""
    if a.dtype.kind == "f":
        return ops.binary_forward("add", a, b)
    return np.add(a, b)


def _walk_recorded(nodes: list[Tensor], pending: dict[Tensor, Any], held: set[Tensor]) -> None:
    """Carries gradients from `nodes` (oldest first) in tensors, every step of it recorded
    (create_graph=True): they all stay in `pending` but those of nodes that are not in `held`."""
    while nodes:
        t = nodes.pop()
        if t not in pending:
            continue
        grad = pending[t] if t in held else pending.pop(t)
        op, _, saved, reads = t._node
        if op.differentiable is None:
            raise error(
                RuntimeError, "backward", "ops whose backward can be recorded (create_graph=True)",
                op.name, "build the function from matmul, pointwise ops and reductions",
            )  # fmt: skip
        if any(storage.version > t._seq for storage in reads):
            raise _written(op)
        with enable_grad():
            if t._retain:
                t.grad = grad if t.grad is None else t.grad + grad
            made_of = _made_of(t)
            grads = op.differentiable(grad, made_of, saved)
            for p, g in zip(made_of, grads, strict=True):
                if g is not None and p._requires_grad:
                    pending[p] = pending[p] + g if p in pending else g


def _accumulate(leaf: Tensor, grad: Array) -> None:
    """Adds an array, owned by the caller, to a tensor's gradient."""
    before = leaf._grad
    if before is None:
        leaf._grad = grad
    elif isinstance(before, Tensor):
        leaf._grad = add_arrays(before._array, grad)
    else:
        leaf._grad = add_arrays(before, grad)


_ONES = {np.dtype(t): np.ones((), t) for t in (np.float32, np.float64)}


def _seed(root: Tensor, gradient: Any) -> Array:
    """The array that a walk starts from at `root`."""
    array = root._array
    if gradient is None:
        one = None if array.ndim else _ONES.get(array.dtype)
        if one is not None:
            return one
        if array.size != 1:
            raise error(
                RuntimeError, "backward", "a result of one element where no gradient is given",
                f"shape {root.shape}", "reduce it (y.sum()), or pass gradient=",
            )  # fmt: skip
        return np.ones(root.shape, array.dtype)
    seed = gradient._array if isinstance(gradient, Tensor) else np.asarray(gradient)
    if seed.shape != root.shape:
        raise error(
            ValueError, "backward", f"gradient of the result's shape {root.shape}", seed.shape,
            "reshape or broadcast it",
        )  # fmt: skip
    return seed if seed.dtype == array.dtype else seed.astype(array.dtype)


def _needs_grad() -> RuntimeError:
    return error(
        RuntimeError, "backward", "a tensor that requires grad", "one that does not",
        "make an input with requires_grad=True, outside no_grad",
    )  # fmt: skip


@tensor_method("backward")
def backward(
    self: Tensor,
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Adds the gradient of this tensor to the `grad` of every leaf under it that requires one.

    `gradient` (this tensor's shape) may be left out where it has one element. The graph is consumed
    unless `retain_graph`; with `create_graph` the gradients are on the tape themselves.

    Raises RuntimeError where nothing requires grad, where the graph was consumed, where a saved
    tensor was written since, and (create_graph) where an op's backward cannot be recorded.

    >>> import tilework as tw
    >>> x = tw.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """
    if not self._requires_grad:
        raise _needs_grad()
    seed = _seed(self, gradient)
    if self._node is None:
        _accumulate(self, seed.copy())
        return
    if create_graph:
        start = gradient if isinstance(gradient, Tensor) else fresh(seed)
        on_tape: dict[Tensor, Any] = {self: start}
        _walk_recorded(_reach((self,)), on_tape, set())
        for leaf, g in on_tape.items():
            leaf.grad = g if leaf.grad is None else leaf.grad + g
        return
    _walk([self], {self: seed}, retain_graph)


def _as_tuple(tensors: Tensor | Iterable[Tensor]) -> tuple[Tensor, ...]:
    return (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`; no `grad` attribute is touched.

    `create_graph` records the gradients, so that they can be differentiated again. An input that
    the outputs do not depend on is a RuntimeError, or None with `allow_unused`.

    >>> import tilework as tw
    >>> x = tw.tensor(3.0, requires_grad=True)
    >>> (dx,) = tw.autograd.grad(x * x * x, x, create_graph=True)
    >>> tw.autograd.grad(dx, x)
    (tensor(18.),)
    """
    roots, targets = _as_tuple(outputs), _as_tuple(inputs)
    if grad_outputs is None or isinstance(grad_outputs, Tensor):
        gradients: Sequence[Any] = (grad_outputs,) * len(roots)
    else:
        gradients = tuple(grad_outputs)
    if not all(t._requires_grad for t in (*roots, *targets)):
        raise _needs_grad()
    pending: dict[Tensor, Any] = {}
    for root, gradient in zip(roots, gradients, strict=True):
        seed: Any = _seed(root, gradient)
        if create_graph:
            seed = gradient if isinstance(gradient, Tensor) else fresh(seed)
        held_seed = pending.get(root)
        pending[root] = seed if held_seed is None else held_seed + seed
    held = set(targets)
    kept = _prune(_reach(roots), held)
    if create_graph:
        _walk_recorded(kept, pending, held)
    else:
        due = [t for t in kept if t in pending]
        _walk(due, pending, retain_graph, held, frozenset(kept))
    results: list[Tensor | None] = []
    for t in targets:
        found = pending.get(t)
        if found is None and not allow_unused:
            raise error(
                RuntimeError, "grad", "inputs that the outputs depend on",
                f"an unrelated input of shape {t.shape}", "pass allow_unused=True",
            )  # fmt: skip
        results.append(found if found is None or isinstance(found, Tensor) else fresh(found.copy()))
    return tuple(results)
