"""Padding around the edges of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import Array, namespace
from tilework.autograd import Op, record
from tilework.autograd import mode as tape
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.common import number_of, operand, room_for, sizes
from tilework.functional.join import narrow
from tilework.layout import inverse
from tilework.tensor import Tensor, fresh

Pairs = list[tuple[int, int]]
Lengths = tuple[int, ...]

MODES = ("constant", "reflect", "replicate", "circular")


def _pad_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    kept = (slice(b, b + n) for b, n in zip(saved, inputs[0]._array.shape, strict=True))
    return (grad[tuple(kept)],)


_PAD = Op("pad", differentiable=_pad_recorded)


def _extension_backward(grad: Array, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    mode, grown, _ = saved
    before, after = tuple(b for b, _ in grown), tuple(a for _, a in grown)
    if grad.dtype == dtypes.bfloat16:
        return (ops.narrow(ops.pad_backward(ops.widen(grad), before, after, mode)),)
    return (ops.pad_backward(grad, before, after, mode),)


def _extension_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    """What was taken from an element goes back to it, axis by axis."""
    mode, grown, lengths = saved
    for axis, (before, after) in enumerate(grown):
        if before or after:
            grad = _taken_back(grad, axis, before, after, lengths[axis], mode)
    return (grad,)


def _taken_back(g: Tensor, axis: int, before: int, after: int, n: int, mode: str) -> Tensor:
    total = narrow(g, axis, before, n)
    front, back = narrow(g, axis, 0, before), narrow(g, axis, before + n, after)
    backwards = (slice(None),) * axis + (slice(None, None, -1),)
    for part, at in ((front, True), (back, False)):
        length = part.shape[axis]
        if not length:
            continue
        if mode == "replicate":
            part, start = part.sum(axis, keepdim=True), 0 if at else n - 1
        elif mode == "reflect":
            part, start = part[backwards], 1 if at else n - 1 - length
        else:
            start = n - length if at else 0
        rest = n - start - part.shape[axis]
        total = total + _constant(part, *_sides(_along(g.ndim, axis, start, rest)), 0)
    return total


def _along(rank: int, axis: int, before: int, after: int) -> Pairs:
    """Pairs for every axis: zeros but for one."""
    return [(before, after) if d == axis else (0, 0) for d in range(rank)]


_EXTENSION = Op("pad", _extension_backward, _extension_recorded)


_NEAR = 2**16  # no array is so short that growing it by less takes more memory than there is


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Grows the last axes: `pad` holds (before, after) pairs from the last axis backwards.

    Modes: "constant" adds `value` (0), "reflect" mirrors about the edge element, "replicate"
    repeats it, "circular" goes on at the other end. Negative lengths cut. ValueError on an odd
    number of lengths, on another mode, a value beside a mode other than "constant", on cutting more
    than there is, and on an axis too short to take from: reflect needs more than the padding,
    circular as much, replicate one element.

    >>> F.pad(tw.ones(2), (1, 0))
    tensor([0., 1., 1.])
    >>> F.pad(tw.arange(3), (2, 1), mode="reflect")
    tensor([2, 1, 0, 1, 2, 1])
    """
    x = operand(input, "pad")
    pad, rank = sizes("pad", (pad,)), x._array.ndim
    even = len(pad) % 2 == 0 and 0 < len(pad) <= 2 * rank
    if mode == "constant" and even and min(pad) >= 0 and max(pad) < _NEAR:
        rest, filler = (0,) * (rank - len(pad) // 2), 0 if value is None else value
        return _constant(x, rest + pad[-2::-2], rest + pad[::-2], filler)
    if mode not in MODES:
        raise error(ValueError, "pad", f"mode among {', '.join(MODES)}", word(mode), "name one")
    if mode != "constant" and value:
        raise error(ValueError, "pad", f"no value with mode {mode!r}", value, "drop it")
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise error(
            ValueError, "pad", f"pairs for at most {x.ndim} axes", tuple(pad),
            "give (before, after)s",
        )  # fmt: skip
    pairs = [(0, 0)] * (rank - len(pad) // 2)
    pairs += [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    if any(n < max(-b, 0) + max(-a, 0) for (b, a), n in zip(pairs, x.shape, strict=True)):
        raise error(ValueError, "pad", f"cuts within the axes of {x.shape}", tuple(pad), "cut less")
    room_for("pad", [b + n + a for (b, a), n in zip(pairs, x.shape, strict=True)])
    cut = tuple(slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(pairs, x.shape, strict=True))
    grown = [(max(b, 0), max(a, 0)) for b, a in pairs]
    inner: Tensor = x if all(min(p) >= 0 for p in pairs) else x[cut]
    if mode == "constant":
        return _constant(inner, *_sides(grown), 0 if value is None else value)
    return _extended(inner, grown, mode)


def _sides(pairs: Pairs) -> tuple[Lengths, Lengths]:
    """How much each axis grows in front, and how much behind."""
    return tuple([b for b, _ in pairs]), tuple([a for _, a in pairs])


def _constant(inner: Tensor, before: Lengths, after: Lengths, value: float) -> Tensor:
    y = _padded(inner, before, after, "constant", value)
    if tape.enabled and inner._requires_grad:
        record(y, _PAD, (inner,), before)
    return y


def _padded(inner: Tensor, before: Lengths, after: Lengths, mode: str, value: float) -> Tensor:
    x = inner._array
    filler = number_of("pad", x.dtype, value, xp=namespace(x))
    if x.flags.c_contiguous:
        return fresh(ops.pad(x, before, after, mode, filler))
    # The kernel gives C order: in the axes' order of memory that is the layout of x.
    order = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i]))
    first, last = tuple([before[i] for i in order]), tuple([after[i] for i in order])
    found = ops.pad(x.transpose(order), first, last, mode, filler)
    return fresh(found.transpose(inverse(order)))


def _extended(x: Tensor, grown: Pairs, mode: str) -> Tensor:
    """Grown from what it holds."""
    for n, (before, after) in zip(x.shape, grown, strict=True):
        most = {"reflect": n - 1, "circular": n, "replicate": max(before, after) if n else 0}[mode]
        if max(before, after) > most and max(before, after):
            raise error(
                ValueError, "pad", f"at most {max(most, 0)} of {mode} padding for an axis of {n}",
                (before, after), "pad less, or with another mode",
            )  # fmt: skip
    y = _padded(x, *_sides(grown), mode, 0)
    if tape.enabled and x._requires_grad:
        record(y, _EXTENSION, (x,), (mode, grown, x.shape))
    return y
