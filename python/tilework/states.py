"""What a tensor was, and when: recorded writes, and who sees them.

Views share memory, so their writes are kept in one place: the tensor that all of them were taken
of, their root. A recorded write gives the root a newer node, whose inputs are what the root was
before and what was written, and what it was before goes to the root's past. An op holds the
tensors that it was given and the time of its recording: what these were then is found by `as_at`.

For a view that is a part of the root as the root was then: a node of its own, made when somebody
first asks for it. So writing row by row costs what the rows hold, and no view has to be told of a
write.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any
from weakref import ref

from tilework.arrays import namespace
from tilework.dtypes import bfloat16, float32
from tilework.engines import ops
from tilework.errors import error
from tilework.hooks import hooks_of
from tilework.regions import Place, Region
from tilework.storage import NOTHING, Aside, next_time
from tilework.tape import UNRECORDED, Op, mode, record
from tilework.tensor import Tensor, fresh

Array = Any
Inputs = tuple[Any, ...]

by_time = attrgetter("_seq")
_making = threading.Lock()


# --- the ops ---


def _into_root(total: Array, mine: bool, grad: Array, region: Region, root: Tensor) -> Array:
    if total is None:
        total = region.blank(grad)
    elif not (mine and region.fits(total)):
        total = region.laid(total)
    there = region.of(total)
    if grad.shape != region.shape:  # the view repeats elements
        wide = grad.astype(float32) if grad.dtype is bfloat16 else grad
        grad = ops.sum_to_shape(wide, region.shape).astype(grad.dtype, copy=False)
    there += grad
    return total


def _view_backward(grad: Array, inputs: Inputs, region: Region) -> Sequence[Any]:
    return (_into_root(None, True, grad, region, inputs[0]),)


def _view_recorded(grad: Tensor, inputs: Inputs, region: Region) -> Sequence[Any]:
    y = fresh(_into_root(None, True, grad._array, region, inputs[0]))
    return (_recorded(y, _VIEW_BACK, grad, region),)


def _view_back_recorded(grad: Tensor, inputs: Inputs, region: Region) -> Sequence[Any]:
    there = region.of(region.laid(grad._array))
    y = fresh(namespace(there).broadcast_to(there, inputs[0].shape).copy())
    return (_recorded(y, VIEW, grad, region),)


def _recorded(y: Tensor, op: Op, x: Tensor, saved: Any) -> Tensor:
    return record(y, op, (x,), saved) if mode.enabled and x._requires_grad else y


def _passed(grad: Any, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (grad,)


def parted(grad: Array, inputs: Inputs, place: Place) -> Sequence[Any]:
    """The gradients of a write to a part, of a gradient that may be written and fits the place:
    itself with zeros there, and a copy of what was there."""
    values = place.read(grad)
    if not inputs[0]._requires_grad:
        return None, values
    place.write(grad, 0)
    return grad, values


def _write_backward(grad: Array, inputs: Inputs, place: Place) -> Sequence[Any]:
    return parted(place.laid(grad, False), inputs, place)


def _write_recorded(grad: Tensor, inputs: Inputs, place: Place) -> Sequence[Any]:
    return _cleared(grad, place), _read(grad, place)


def _cleared(x: Tensor, place: Place) -> Tensor:
    array = place.laid(x._array, False)
    place.write(array, 0)
    return _recorded(fresh(array), _CLEAR, x, place)


def _clear_recorded(grad: Tensor, inputs: Inputs, place: Place) -> Sequence[Any]:
    return (_cleared(grad, place),)


def _read(x: Tensor, place: Place) -> Tensor:
    y = fresh(place.read(place.laid(x._array, False)))
    return _recorded(y, _READ, x, place)


def _read_recorded(grad: Tensor, inputs: Inputs, place: Place) -> Sequence[Any]:
    array = place.laid(namespace(grad._array).zeros_like(inputs[0]._array), True)
    place.write(array, grad._array)
    return (_recorded(fresh(array), _READ_BACK, grad, place),)


def _read_back_recorded(grad: Tensor, inputs: Inputs, place: Place) -> Sequence[Any]:
    return (_read(grad, place),)


VIEW = Op("view", _view_backward, _view_recorded, place=_into_root)
_VIEW_BACK = Op("view_backward", differentiable=_view_back_recorded)
WRITE = Op(
    "write", _write_backward, _write_recorded
)  # to a part: of what was, and what is there now
WRITE.plain = False
OVERWRITE = Op("write", _passed, _passed)  # to all: of what is there
_CLEAR = Op("write_backward", differentiable=_clear_recorded)
_READ = Op("write_backward", differentiable=_read_recorded)
_READ_BACK = Op("write_backward", differentiable=_read_back_recorded)


# --- states ---


def root_of(x: Tensor) -> Tensor:
    """The tensor that `x` and other views of its memory were taken of; `x` itself if it is none."""
    while (base := getattr(x, "_base", None)) is not None and base._storage is x._storage:
        x = base
    return x


def barred(x: Tensor) -> str:
    """Why the view `x` may not be written while ops are recorded: what it, or what it is a view
    of, is. Empty where it may."""
    for t in _line(x):
        reason: str = getattr(t, "_aside", NOTHING).barred
        if reason:
            return reason
    return ""


def _line(x: Tensor) -> Iterator[Tensor]:
    """`x`, what it is a view of, and so on."""
    seen: Tensor | None = x
    while seen is not None:
        yield seen
        seen = getattr(seen, "_base", None)


def as_at(x: Tensor, time: float) -> Tensor:
    """What `x` was at a time: itself, or a tensor in its place, with the node that it had then."""
    root = root_of(x)
    past = getattr(root, "_aside", NOTHING).past
    if past is None:  # no write was recorded
        return x
    state: Tensor = root if root._seq <= time else past[bisect_right(past, time, key=by_time) - 1]
    if x is root or not state._requires_grad:
        return state
    if state._seq <= x._seq <= time:
        return x  # it was taken after that write
    if any(getattr(t, "_aside", NOTHING) is UNRECORDED for t in _line(x)):
        raise error(
            RuntimeError, "backward", "views that were recorded as the writes to their memory were",
            "a view made under no_grad, whose memory was then written while ops were recorded",
            "take the view anew after the write, or detach() it",
        )  # fmt: skip
    with _making:  # two threads that walk one graph must find the same tensor
        aside = _aside(x)
        if aside.states is None:
            aside.states = {}
        if state._seq not in aside.states:
            aside.states[state._seq] = _part(x, root, state)
        part: Tensor = aside.states[state._seq]
    return part


def _aside(x: Tensor) -> Aside:
    found: Aside = getattr(x, "_aside", NOTHING)
    if found.common:
        x._aside, barred = Aside(), found.barred
        x._aside.barred = barred
        found = x._aside
    return found


def _part(x: Tensor, root: Tensor, state: Tensor) -> Tensor:
    """The view `x` of a root, as it is in one state of that."""
    part = fresh(x._array)
    part._storage = x._storage
    x._share(part)
    part._node = (VIEW, (state,), Region(x._array, root._array), ())
    part._seq = state._seq + 1  # a write takes two ticks: nothing else has this one
    part._requires_grad = True
    if x._retain:
        part._retain = x._retain
        _aside(part).whose = ref(x)
    return part


def _twin(x: Tensor) -> Tensor:
    """A tensor in the place on the tape that `x` has now."""
    twin = fresh(x._array)
    twin._node, twin._seq, twin._requires_grad = x._node, x._seq, x._requires_grad
    hooks = hooks_of(x)
    if hooks is not None:  # they see the gradient of what was before a write; `grad` is of now
        twin._retain, x._retain = hooks.of_the_past()
    return twin


class Write:
    """A recorded write to `x`: made before its memory changes, and committed after."""

    __slots__ = ("_place", "_root", "_was")

    def __init__(self, x: Tensor, key: Any = None) -> None:
        self._root = root_of(x)
        self._was = _twin(self._root)
        region = None if x is self._root else Region(x._array, self._root._array)
        self._place = Place(region, key, x.shape)

    def before(self, array: Array) -> Tensor:
        """What `x` was, on `array`."""
        x = fresh(array)
        if self._was._requires_grad:
            region = self._place.region
            record(x, OVERWRITE if region is None else VIEW, (self._was,), region)
        return x

    def commit(self, now: Tensor) -> None:
        """Puts x's root on the tape once more, with the values of `now` in their place."""
        root, place = self._root, self._place
        if root_of(now) is root:  # what it shows before the write
            now = record(fresh(now._array), OVERWRITE, (now,)) if now._requires_grad else now
        _let_go(root, self._was, now)
        aside = _aside(root)
        if aside.past is None:
            aside.past = []
        aside.past.append(self._was)
        if place.region is None and place.key is None:
            record(root, OVERWRITE, (now,))
        else:
            record(root, WRITE, (self._was, now), place)
        root._storage.version = next_time()
        root._storage.taped = VIEW


def rewrite(root: Tensor, op: Op, other: Tensor) -> None:
    """Puts `root`, no view, on the tape once more: its memory was just made op(itself, other) in
    place, of which the backward reads no value. `other` is on another storage."""
    was = _twin(root)
    if other._node is not None and other._seq > was._seq:
        _let_go(root, was, other)
    aside = _aside(root)
    if aside.past is None:
        aside.past = []
    aside.past.append(was)
    record(root, op, (was, other))
    root._storage.version = next_time()
    root._storage.taped = VIEW


def _let_go(root: Tensor, was: Tensor, now: Tensor) -> None:
    """Puts what a root and its views were in their place in the graph of what is about to be
    written to it: else the root would hold itself, and all of the graph, by a cycle.

    A node is looked at once: what is older than the last write was then, if it belongs here.
    """
    storage, since = root._storage, was._seq
    nodes, seen = [now], {now}
    for t in nodes:
        if t._node is None or t._seq <= since or t._node[1] is None:
            continue
        op, inputs, saved, reads = t._node
        if any(p is not None and p._storage is storage for p in inputs):
            inputs = tuple(
                p if p is None or p._storage is not storage else _settled(p, root, was)
                for p in inputs
            )
            t._node = (op, inputs, saved, reads)
        for p in inputs:
            if p is not None and p not in seen and p is not was:
                seen.add(p)
                nodes.append(p)
        if not since and len(nodes) > _NEAR:
            return


# How far to look where all the graph may be younger than the write before, since there was none.
_NEAR = 64


def _settled(x: Tensor, root: Tensor, was: Tensor) -> Tensor:
    """`x`, if it is the root or a view of it, as it is in the state `was`, without a way to the
    root."""
    if x is root:
        return was
    if root_of(x) is not root:
        return x
    if was._requires_grad and x._node is not None:
        return _part(x, root, was)
    part = fresh(x._array)
    part._storage = x._storage
    x._share(part)
    return part
