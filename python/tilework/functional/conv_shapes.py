"""The shapes of convolutions: what fits, how large the output is, and what does not and why.

`op` is the public name (conv1d, conv_transpose2d, ...); its digit is the number of image axes. The
results are for two of them: a 1-d convolution is the 2-d one over images of one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import index
from typing import Any

from tilework.arrays import ndarray
from tilework.errors import error
from tilework.functional.common import FARTHEST, room_for

Pair = tuple[int, int]
# stride, (top, left) padding, dilation, groups: what the engines are told beside the arrays
Geometry = tuple[Pair, Pair, Pair, int]


def numbers(op: str, name: str, value: Any, rank: int, least: float) -> tuple[int, ...]:
    """A number for each of `rank` axes, given as one or as a sequence; ValueError below `least` and
    where sums of such numbers could overflow."""
    try:
        several = isinstance(value, (tuple, list)) or (isinstance(value, ndarray) and value.ndim)
        given = tuple(map(index, value if several else (value,)))
        given *= rank if len(given) == 1 else 1
    except (TypeError, ValueError):
        given = ()
    if len(given) != rank or min(given) < least or max(map(abs, given)) > FARTHEST:
        raise error(
            ValueError, op, f"{name} of {rank} whole numbers from {least} to 2**60",
            value, "give one for all, or one each",
        )  # fmt: skip
    return given


def _check_ranks(op: str, x: tuple[int, ...], w: tuple[int, ...], rank: int) -> None:
    axes = "H, W" if rank == 2 else "L"
    if len(w) != rank + 2:
        kernel = "KH, KW" if rank == 2 else "K"
        pair = "C_in, C_out / groups" if "transpose" in op else "C_out, C_in / groups"
        raise error(ValueError, op, f"weight ({pair}, {kernel})", w, "reshape it")
    if len(x) != rank + 2:
        raise error(
            ValueError, op, f"input (N, C, {axes}) or (C, {axes})", x,
            "add axes with x.unsqueeze(dim), or drop some with x.squeeze(dim)",
        )  # fmt: skip


def _check_channels(op: str, x: tuple[int, ...], channels: int, groups: int, outputs: int) -> None:
    axes = "H, W" if len(x) == 4 else "L"
    if x[1] != channels:
        last = ", ".join(map(str, (0, len(x) - 1, *range(1, len(x) - 1))))
        raise error(
            ValueError, op, f"input (N, C_in={channels}, {axes})", x,
            f"move the channels with x.permute({last})" if x[-1] == channels
            else "make the input's channels the weight's, times groups",
        )  # fmt: skip
    if outputs % groups or channels % groups:
        raise error(
            ValueError, op, "groups that divide C_in and C_out",
            f"groups={groups} for {channels} and {outputs}", "change groups or the channels",
        )  # fmt: skip


def _reach(op: str, dilation: tuple[int, ...], kernel: tuple[int, ...]) -> list[int]:
    """From the first tap to the last; ValueError where its sum with a padding could overflow."""
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if max(reach) > 2 * FARTHEST:
        raise error(
            ValueError, op, "windows of at most 2**61", f"dilation {dilation}, kernel {kernel}",
            "lower the dilation",
        )  # fmt: skip
    return reach


def _same(op: str, stride: tuple[int, ...], reach: list[int]) -> tuple[list[int], list[int]]:
    """Where windows start, and how much is padded in all, for padding='same'."""
    if any(s != 1 for s in stride):
        raise error(
            ValueError, op, "stride 1 with padding='same'", stride, "give the padding in numbers"
        )
    return [r // 2 for r in reach], reach


@lru_cache(maxsize=4096)
def conv_plan(
    op: str,
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> tuple[Geometry, Pair]:
    """The geometry and the output's size; ValueError on what does not fit."""
    rank = int(op[-2])
    _check_ranks(op, x, w, rank)
    steps = numbers(op, "stride", stride, rank, 1)
    spread = numbers(op, "dilation", dilation, rank, 1)
    (groups,) = numbers(op, "groups", groups, 1, 1)
    _check_channels(op, x, w[1] * groups, groups, w[0])
    kernel = numbers(op, "kernel", w[2:], rank, 1)
    reach = _reach(op, spread, kernel)
    if padding == "same":
        start, total = _same(op, steps, reach)
    elif isinstance(padding, str) and padding != "valid":
        raise error(
            ValueError, op, "padding in numbers, 'same' or 'valid'", repr(padding), "name one"
        )
    else:
        start = list(numbers(op, "padding", 0 if padding == "valid" else padding, rank, 0))
        total = [2 * p for p in start]
    out = [(n + p - r - 1) // s + 1 for n, p, r, s in zip(x[2:], total, reach, steps, strict=True)]
    if min(out) < 1:
        window = tuple(r + 1 for r in reach)
        padded = tuple(n + p for n, p in zip(x[2:], total, strict=True))
        raise error(
            ValueError, op, f"an input that holds a window of {window}", f"{padded}, padded",
            "pad more, or take a smaller kernel or dilation",
        )  # fmt: skip
    room_for(op, (x[0], w[0], *out))
    return (_two(steps, 1), _two(start, 0), _two(spread, 1), groups), _two(out, 1)


@lru_cache(maxsize=4096)
def transpose_plan(
    op: str,
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> tuple[Geometry, Pair]:
    """conv_plan of the transposed twin."""
    rank = int(op[-2])
    _check_ranks(op, x, w, rank)
    steps = numbers(op, "stride", stride, rank, 1)
    spread = numbers(op, "dilation", dilation, rank, 1)
    start = numbers(op, "padding", padding, rank, 0)
    extra = numbers(op, "output_padding", output_padding, rank, 0)
    (groups,) = numbers(op, "groups", groups, 1, 1)
    _check_channels(op, x, w[0], groups, w[1] * groups)
    reach = _reach(op, spread, numbers(op, "kernel", w[2:], rank, 1))
    if any(e >= max(s, d) for e, s, d in zip(extra, steps, spread, strict=True)):
        raise error(
            ValueError, op, "output_padding below stride or dilation", output_padding,
            "it chooses among the sizes that stride folds into one: lower it",
        )  # fmt: skip
    out = [
        (n - 1) * s - 2 * p + r + e + 1
        for n, s, p, r, e in zip(x[2:], steps, start, reach, extra, strict=True)
    ]
    if min(out) < 1 or min(x[2:]) < 1:
        raise error(
            ValueError, op, "an output of at least one element an axis", f"{tuple(out)} of {x}",
            "lower the padding, or give a larger input",
        )  # fmt: skip
    room_for(op, (x[0], w[1] * groups, *out))
    return (_two(steps, 1), _two(start, 0), _two(spread, 1), groups), _two(out, 1)


def _two(values: Sequence[int], front: int) -> Pair:
    return (front, values[0]) if len(values) == 1 else (values[0], values[1])
