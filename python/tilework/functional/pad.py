"""Padding around the edges of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework.arrays import namespace
from tilework.autograd import Op, mode, record
from tilework.errors import error, word
from tilework.functional.common import number_of, operand, room_for, sizes
from tilework.functional.join import cat, narrow
from tilework.layout import inverse
from tilework.tensor import Tensor, fresh

Pairs = list[tuple[int, int]]

MODES = ("constant", "reflect", "replicate", "circular")


def _pad_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    return (grad[saved],)


_PAD = Op("pad", differentiable=_pad_recorded)


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
    pad = sizes("pad", (pad,))
    if mode not in MODES:
        raise error(ValueError, "pad", f"mode among {', '.join(MODES)}", word(mode), "name one")
    if mode != "constant" and value:
        raise error(ValueError, "pad", f"no value with mode {mode!r}", value, "drop it")
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise error(
            ValueError, "pad", f"pairs for at most {x.ndim} axes", tuple(pad),
            "give (before, after)s",
        )  # fmt: skip
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2)
    pairs += [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    if any(n < max(-b, 0) + max(-a, 0) for (b, a), n in zip(pairs, x.shape, strict=True)):
        raise error(ValueError, "pad", f"cuts within the axes of {x.shape}", tuple(pad), "cut less")
    room_for("pad", [b + n + a for (b, a), n in zip(pairs, x.shape, strict=True)])
    cut = tuple(slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(pairs, x.shape, strict=True))
    grown = [(max(b, 0), max(a, 0)) for b, a in pairs]
    inner: Tensor = x if all(min(p) >= 0 for p in pairs) else x[cut]
    if mode == "constant":
        return _constant(inner, grown, 0 if value is None else value)
    for axis, (before, after) in enumerate(grown):
        if before or after:
            inner = _extended(inner, axis, before, after, mode)
    return inner


def _constant(inner: Tensor, grown: Pairs, value: float) -> Tensor:
    x = inner._array
    # pad gives C order: in the axes' order of memory that is the layout of x.
    order = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i]))
    filler = number_of("pad", x.dtype, value).item()
    filled = namespace(x).pad(x.transpose(order), [grown[i] for i in order], constant_values=filler)
    y = fresh(filled.transpose(inverse(order)))
    if mode.enabled and inner._requires_grad:
        kept = tuple(slice(b, b + n) for (b, _), n in zip(grown, inner.shape, strict=True))
        record(y, _PAD, (inner,), kept)
    return y


def _extended(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """One axis grown from what it holds."""
    n = x.shape[axis]
    most = {"reflect": n - 1, "circular": n, "replicate": max(before, after) if n else 0}[mode]
    if max(before, after) > most:
        raise error(
            ValueError, "pad", f"at most {max(most, 0)} of {mode} padding for an axis of {n}",
            (before, after), "pad less, or with another mode",
        )  # fmt: skip
    if mode == "circular":
        front, back = narrow(x, axis, n - before, before), narrow(x, axis, 0, after)
    elif mode == "reflect":
        backwards = (slice(None),) * axis + (slice(None, None, -1),)
        front = narrow(x, axis, 1, before)[backwards]
        back = narrow(x, axis, n - 1 - after, after)[backwards]
    else:
        front, back = _repeated(x, axis, 0, before), _repeated(x, axis, n - 1, after)
    return cat([part for part in (front, x, back) if part.shape[axis] or part is x], axis)


def _repeated(x: Tensor, axis: int, at: int, count: int) -> Tensor:
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    result: Tensor = narrow(x, axis, at, 1).expand(shape)
    return result
