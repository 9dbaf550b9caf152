"""The tape: recording (tape.py), what tensors were at a time (states.py), and the walk back.

The walk is iterative. It goes in the order of recording, backwards, and clears each node as it is
consumed. An in-place op gives its tensor a newer node; an op recorded earlier reaches the older one
by comparing times (`as_at`).
"""

from __future__ import annotations

import operator
import os
import threading
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

from tilework.arrays import as_array, host, namespace, ndarray, writeable
from tilework.autocasting import unlowered
from tilework.custom import Function
from tilework.dtypes import float32, float64
from tilework.engines import ops
from tilework.engines.device import apart
from tilework.errors import error
from tilework.hooks import hooks_of
from tilework.states import WRITE, as_at, by_time, parted
from tilework.storage import NOTHING, next_time
from tilework.tape import (
    Op,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    mode,
    no_grad,
    record,
    recorded,
    set_grad_enabled,
    unrecorded,
    wants_grad,
)
from tilework.tensor import Tensor, fresh, tensor_method

__all__ = [
    "Function",
    "Op",
    "backward",
    "enable_grad",
    "grad",
    "gradients_through",
    "inference_mode",
    "is_grad_enabled",
    "mode",
    "no_grad",
    "record",
    "recorded",
    "set_grad_enabled",
    "unrecorded",
    "wants_grad",
]

Array = Any
Inputs = tuple[Any, ...]

# Held while a gradient is added to one that is there. A leaf's first gradient needs none.
_LOCKS: tuple[threading.Lock, ...] = ()


def _new_locks() -> None:
    """Makes them: in a forked child too, where a thread that held one is no more."""
    global _LOCKS
    _LOCKS = tuple(threading.Lock() for _ in range(64))


_new_locks()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_new_locks)


# --- the walk ---


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
    return tuple(p if p is None or p._storage.version <= p._seq else as_at(p, time) for p in inputs)


def _reach(roots: Sequence[Tensor]) -> list[Tensor]:
    """Every recorded tensor under `roots`, oldest first."""
    nodes = list(dict.fromkeys(t for t in roots if t._node is not None))
    seen = set(nodes)
    for t in nodes:
        for p in _made_of(t):
            if p is not None and p._node is not None and p not in seen:
                seen.add(p)
                nodes.append(p)
    nodes.sort(key=by_time)
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
    owned: set[Tensor] = set()  # their pending array was made here: it may be written
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
            grad = _passed(t, grad)
            owned.discard(t)  # a hook may have kept it
            if held and t in held:
                pending[t] = grad
        if op.plain:
            grads = op.backward(grad, inputs, saved)
        elif op.onto is not None:
            grads = _added(op, grad, inputs, saved, pending, owned)
        elif op is not WRITE:
            _place(t, grad, due, pending, owned, held, kept)
            if not retain:
                t._node = op.consumed
            continue
        else:
            before = inputs[0]
            grads = parted(saved.laid(grad, t in owned and t not in (held or ())), inputs, saved)
            if before not in pending:
                owned.add(before)
        if not retain:
            t._node = op.consumed
        for p, g in zip(inputs, grads):  # noqa: B905 (strict costs a tenth of the loop)
            if g is None or not p._requires_grad:
                continue
            if held is None and p._node is None and not p._retain:
                # A leaf's gradient is the user's to write: no alias of another's.
                if g is grad or g.base is not None:
                    # The layout may be the leaf's own. NumPy's copies lie in fresh pages.
                    g = g.copy("K") if g.size < 4096 else ops.copy(g, True)
                # No call stands between the look and the store: other threads wait.
                if p._grad is None:
                    p._grad = g
                else:
                    _accumulate(p, g)
                continue
            if p._storage.version > p._seq:
                p = as_at(p, time)
                if not p._requires_grad:
                    continue
            if held is not None and p not in held and p not in kept:
                continue
            if p not in pending:
                pending[p] = g
                if p._node is None or (held is not None and p not in kept):
                    continue
                if not due or p._seq > due[-1]._seq:
                    due.append(p)
                else:
                    insort(due, p, key=by_time)
            elif p in owned:
                ops.accumulate_(pending[p], g)
            else:
                pending[p] = add_arrays(pending[p], g)
                owned.add(p)
    if held is None and pending:  # leaves with hooks, which see the sum
        for leaf, total in pending.items():
            _arrive(leaf, total)


def _passed(t: Tensor, grad: Any) -> Any:
    """The gradient of a recorded tensor, array or tensor, after its hooks; kept where retain_grad
    asked for it."""
    hooks = hooks_of(t)
    if hooks is not None:
        grad = hooks.passed(grad)
    if hooks is None or hooks.retains:
        _add(_keeper(t), grad)
    return grad


def _arrive(leaf: Tensor, grad: Any) -> None:
    """Adds a gradient, array or tensor, to that of a leaf, between its hooks."""
    hooks = hooks_of(leaf)
    _add(leaf, grad if hooks is None else hooks.passed(grad))
    if hooks is not None:
        hooks.arrived(leaf)


def _added(
    op: Op, grad: Array, inputs: Inputs, saved: Any, pending: dict[Tensor, Any], owned: set[Tensor]
) -> Sequence[Any]:
    """The gradients of an op that adds its first to what that input has received already."""
    p = inputs[0]
    total = pending.get(p) if p._storage.version <= p._seq else None
    if total is None:
        return op.backward(grad, inputs, saved)
    pending[p], *others = op.onto(grad, inputs, saved, total)  # type: ignore[misc]
    owned.add(p)
    return (None, *others)


def _place(
    t: Tensor,
    grad: Array,
    due: list[Tensor],
    pending: dict[Tensor, Any],
    owned: set[Tensor],
    held: set[Tensor] | None,
    kept: frozenset[Tensor],
) -> None:
    """Adds the gradient of a view to its part of the gradient of what it was taken of, so that all
    the views of one tensor cost what they hold."""
    op, inputs, saved, _ = t._node
    p, place = inputs[0], op.place
    if p._requires_grad and p._storage.version > p._seq:
        p = as_at(p, t._seq)
    if not p._requires_grad:
        return
    if held is None and p._node is None and not p._retain:
        if p._grad is None:
            first = place(None, True, grad, saved, p)
            if p._grad is not None:
                _accumulate(p, first)
            else:
                p._grad = first
            return
        with _LOCKS[id(p) >> 5 & 63]:
            total = _array_to_add_to(p._grad)
            now = place(total, writeable(total), grad, saved, p)
            if now is not total:
                p._grad = now
        return
    if held is not None and p not in held and p not in kept:
        return
    new = p not in pending
    pending[p] = place(pending.get(p), p in owned, grad, saved, p)
    owned.add(p)
    if new and p._node is not None and (held is None or p in kept):
        insort(due, p, key=by_time)


def add_arrays(a: Array, b: Array) -> Array:
    """The sum of two gradients, in a fresh array."""
    if a.dtype.kind == "f":
        return ops.binary_forward("add", a, b)
    return as_array(a + b)  # of arrays without axes NumPy makes a number


def _walk_recorded(nodes: list[Tensor], pending: dict[Tensor, Any], held: set[Tensor]) -> None:
    """Carries gradients from `nodes` (oldest first) in tensors, every step of it recorded
    (create_graph=True): they all stay in `pending` but those of nodes that are not in `held`."""
    while nodes:
        t = nodes.pop()
        if t not in pending:
            continue
        grad = pending[t] if t in held else pending.pop(t)
        op, inputs, saved, reads = t._node
        if op.differentiable is None:
            raise error(
                RuntimeError, "backward", "ops whose backward can be recorded (create_graph=True)",
                op.name, "build the function from matmul, pointwise ops and reductions",
            )  # fmt: skip
        if op.rereads:
            reads = (*reads, *(p._storage for p in inputs if p is not None))
        if any(storage.version > t._seq for storage in reads):
            raise _written(op)
        with enable_grad():
            if t._retain:
                grad = _passed(t, grad)
                if t in held:
                    pending[t] = grad
            made_of = _made_of(t)
            grads = op.differentiable(grad, made_of, saved)
            for p, g in zip(made_of, grads, strict=True):
                if g is not None and p._requires_grad:
                    pending[p] = pending[p] + g if p in pending else g


def _add(t: Tensor, grad: Any) -> None:
    """Adds an array that others may hold, or a tensor on the tape, to a tensor's gradient."""
    if isinstance(grad, Tensor):
        _accumulate_recorded(t, grad)
    else:
        _accumulate(t, grad.copy("K"))


def _accumulate(leaf: Tensor, grad: Array) -> None:
    """Adds an array, owned by the caller, to a tensor's gradient: in place, as in PyTorch."""
    with _LOCKS[id(leaf) >> 5 & 63]:
        if leaf._grad is None:
            leaf._grad = grad
            return
        total = leaf._grad
        if total.__class__ is ndarray:  # nobody has seen it yet
            ops.accumulate_(total, grad)
            return
        total = _array_to_add_to(total)
        if writeable(total):
            ops.accumulate_(total, grad)
        else:
            leaf._grad = add_arrays(total, grad)


def _accumulate_recorded(leaf: Tensor, grad: Tensor) -> None:
    """Adds a tensor to a tensor's gradient, on the tape: a clone is the first, as in PyTorch, since
    two leaves may have been given one tensor, and it may be the caller's."""
    with _LOCKS[id(leaf) >> 5 & 63], enable_grad():
        total = leaf.grad
        leaf.grad = grad.clone() if total is None else total + grad


def _keeper(t: Tensor) -> Tensor:
    """The tensor that keeps the gradient retained at `t`: a view's part has the view for that."""
    whose = getattr(t, "_aside", NOTHING).whose
    view: Tensor | None = whose and whose()
    return t if view is None else view


def _array_to_add_to(total: Any) -> Array:
    """The array of a leaf's gradient, read-only where it has to stay what it is."""
    if not isinstance(total, Tensor):
        return total
    if total._requires_grad:  # it is on the tape itself
        return namespace(total._array).broadcast_to(total._array, total.shape)
    total._storage.version = next_time()
    return total._array


_ONES = {t: host.ones((), t) for t in (float32, float64)}


def _seed(root: Tensor, gradient: Any) -> Array:
    """The array that a walk starts from at `root`."""
    array = root._array
    if gradient is None:
        plain = array.__class__ is ndarray and not array.ndim
        one = _ONES.get(array.dtype) if plain else None
        if one is not None:
            return one
        if array.size != 1:
            raise error(
                RuntimeError, "backward", "a result of one element where no gradient is given",
                f"shape {root.shape}", "reduce it (y.sum()), or pass gradient=",
            )  # fmt: skip
        return namespace(array).ones(root.shape, array.dtype)
    seed = gradient._array if isinstance(gradient, Tensor) else as_array(gradient)
    if seed.__class__ is not array.__class__:
        raise apart("backward")
    if seed.shape != root.shape:
        raise error(
            ValueError, "backward", f"gradient of the result's shape {root.shape}", seed.shape,
            "reshape or broadcast it",
        )  # fmt: skip
    return seed if seed.dtype == array.dtype else seed.astype(array.dtype)


def _seed_on_tape(root: Tensor, gradient: Any) -> Tensor:
    """The tensor that a recorded walk starts from at `root`, which a result may turn out to be."""
    seed = _seed(root, gradient)
    if isinstance(gradient, Tensor):
        return gradient.to(root.dtype)
    return fresh(seed.copy())


def _needs_grad() -> RuntimeError:
    return error(
        RuntimeError, "backward", "a tensor that requires grad", "one that does not",
        "make an input with requires_grad=True, outside no_grad",
    )  # fmt: skip


@tensor_method("backward")
@unlowered
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
    if not isinstance(self, Tensor):
        raise error(
            TypeError,
            "backward",
            "a Tensor",
            type(self).__name__,
            "add results up, and pass the sum",
        )
    if not self._requires_grad:
        raise _needs_grad()
    self = _now(self)
    if self._node is None:
        _arrive(self, _seed(self, gradient))
        return
    if create_graph:
        on_tape: dict[Tensor, Any] = {self: _seed_on_tape(self, gradient)}
        _walk_recorded(_reach((self,)), on_tape, set())
        for leaf, g in on_tape.items():
            _arrive(leaf, g)
        return
    _walk([self], {self: _seed(self, gradient)}, retain_graph)


def _now(x: Tensor) -> Tensor:
    """What stands for `x` on the tape: a view of memory written since is what it shows now."""
    return x if x._storage.version <= x._seq else as_at(x, inf)


def _as_tuple(tensors: Tensor | Iterable[Tensor]) -> tuple[Tensor, ...]:
    return (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)


@unlowered
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`; no `grad` attribute is touched.

    `create_graph` records the gradients, so that they can be differentiated again. An input that
    the outputs do not depend on is a RuntimeError, or None with `allow_unused`, or zeros with
    `materialize_grads`. `only_inputs` says nothing any more, as in PyTorch.

    >>> import tilework as tw
    >>> x = tw.tensor(3.0, requires_grad=True)
    >>> (dx,) = tw.autograd.grad(x * x * x, x, create_graph=True)
    >>> tw.autograd.grad(dx, x)
    (tensor(18.),)
    """
    roots, targets = (tuple(map(_now, _as_tuple(ts))) for ts in (outputs, inputs))
    if grad_outputs is None or isinstance(grad_outputs, Tensor):
        gradients: Sequence[Any] = (grad_outputs,) * len(roots)
    else:
        gradients = tuple(grad_outputs)
    if not all(t._requires_grad for t in (*roots, *targets)):
        raise _needs_grad()
    pending: dict[Tensor, Any] = {}
    plus: Any = operator.add if create_graph else add_arrays
    for root, gradient in zip(roots, gradients, strict=True):
        seed: Any = (_seed_on_tape if create_graph else _seed)(root, gradient)
        held_seed = pending.get(root)
        pending[root] = seed if held_seed is None else plus(held_seed, seed)
    held = set(targets)
    kept = _prune(_reach(roots), held)
    passed = frozenset(kept)  # whose turn comes, when their hooks are called
    if create_graph:
        _walk_recorded(kept, pending, held)
    else:
        due = [t for t in kept if t in pending]
        _walk(due, pending, retain_graph, held, passed)
    results: list[Tensor | None] = []
    for t in targets:
        found = pending.get(t)
        hooks = None if t in passed else hooks_of(t)
        if hooks is not None and found is not None:
            found = hooks.passed(found)
        if found is None and materialize_grads:
            found = namespace(t._array).zeros(t.shape, t.dtype)
        if found is None and not allow_unused:
            raise error(
                RuntimeError, "grad", "inputs that the outputs depend on",
                f"an unrelated input of shape {t.shape}", "pass allow_unused=True",
            )  # fmt: skip
        results.append(found if found is None or isinstance(found, Tensor) else fresh(found.copy()))
    return tuple(results)


def gradients_through(
    function: Callable[..., Tensor], inputs: Inputs, gradient: Tensor
) -> list[Tensor | None]:
    """The recorded gradients of an op's inputs, None for those that want none: by way of
    `function`, the same of them by ops that each can be differentiated again.

    It is given views. One tensor may be several of the inputs, and one may be made of another: each
    has the part that is its own, and what is made of it brings the rest on the walk.
    """
    views = [t[...] if t is not None and t._requires_grad else t for t in inputs]
    wants = [t is not None and t._requires_grad for t in views]
    wanted = [t for t, want in zip(views, wants, strict=True) if want]
    y = function(*views)
    found = iter(grad(y, wanted, gradient, create_graph=True, allow_unused=True))
    return [next(found) if want else None for want in wants]
