"""Views, joins and selections in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilework.functional.creation import tensor
from tilework.io.onnx.elementwise import Results, _given
from tilework.io.onnx.graph import Arguments, Graph, Handler
from tilework.io.onnx.picks import picked_together
from tilework.nested import tensors_in
from tilework.tensor import Tensor

_FAR = 2**63 - 1
SPREADS = ("expand", "expand_as", "broadcast_to")


def _reshaped(g: Graph, a: Arguments, y: Results) -> str:
    x = _given(a)
    return g.reshape(g(x), x.shape, y[0].shape)


def _unsqueezed(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Unsqueeze", g(_given(a)), g.integers(int(a["dim"])))


def _squeezed(g: Graph, a: Arguments, y: Results) -> str:
    x, dim = _given(a), a["dim"]
    named = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = sorted({int(i) % x.ndim for i in named} if x.ndim else ())
    axes = [i for i in axes if x.shape[i] == 1]
    return g.node("Squeeze", g(x), g.integers(*axes)) if axes else g(x)


def _permuted(g: Graph, a: Arguments, y: Results) -> str:
    x = _given(a)
    dims = a["dims"][0] if a["dims"] and not isinstance(a["dims"][0], int) else a["dims"]
    return g.node("Transpose", g(x), perm=[int(i) % x.ndim for i in dims])


def _transposed(g: Graph, a: Arguments, y: Results) -> str:
    x = _given(a)
    order = list(range(x.ndim))
    i, j = (int(a["dim0"]), int(a["dim1"])) if "dim0" in a else (-2, -1)
    order[i], order[j] = order[j], order[i]
    return g.node("Transpose", g(x), perm=order) if x.ndim > 1 else g(x)


def _expanded(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Expand", g(_given(a)), g.sizes(y[0].shape))


def _cat(g: Graph, a: Arguments, y: Results) -> str:
    parts = [g.of(x, y[0].dtype) for x in tensors_in(a["tensors"])]
    return g.node("Concat", *parts, axis=int(a["dim"]))


def _stacked(g: Graph, a: Arguments, y: Results) -> str:
    axis = int(a["dim"]) % y[0].ndim
    given = [g.of(x, y[0].dtype) for x in tensors_in(a["tensors"])]
    parts = [g.node("Unsqueeze", x, g.integers(axis)) for x in given]
    return g.node("Concat", *parts, axis=axis)


def _split(g: Graph, a: Arguments, y: Results) -> list[str]:
    axis = int(a["dim"])
    sizes = [part.shape[axis] for part in y]
    return g.nodes("Split", len(y), g(_given(a)), g.integers(*sizes), axis=axis)


def _unbound(g: Graph, a: Arguments, y: Results) -> list[str]:
    x, axis = _given(a), int(a["dim"])
    return [
        g.node("Gather", g(x), g.constant(np.asarray(i, np.int64)), axis=axis)
        for i in range(x.shape[axis])
    ]


def _picked(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Gather", g(_given(a)), g(a["index"]), axis=int(a["dim"]))


def _gathered(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("GatherElements", g(_given(a)), g(a["index"]), axis=int(a["dim"]))


def _narrowed(g: Graph, a: Arguments, y: Results) -> str:
    start = int(a["start"])
    ends = (start, start + int(a["length"]), int(a["dim"]))
    return g.node("Slice", g(_given(a)), *(g.integers(i) for i in ends))


def _item(g: Graph, a: Arguments, y: Results) -> str | None:
    """x[key] of numbers, slices, None and one tensor of integers."""
    x, key = _given(a), a["key"]
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(p is Ellipsis for p in parts):
        at = next(i for i, p in enumerate(parts) if p is Ellipsis)
        taken = sum(p is not None and p is not Ellipsis for p in parts)
        parts[at : at + 1] = [slice(None)] * (x.ndim - taken)
    parts = [_as_index(g, p) for p in parts]
    if not all(p is None or isinstance(p, (int, slice)) or _is_index(p) for p in parts):
        return None
    value = _sliced(g, x, g(x), [p for p in parts if p is not None])
    if sum(isinstance(p, Tensor) for p in parts) > 1:
        return _several(g, x, value, parts)
    axis = 0
    for part in parts:
        if part is None:
            value = g.node("Unsqueeze", value, g.integers(axis))
        elif isinstance(part, int):
            value = g.node("Gather", value, g.constant(np.asarray(part, np.int64)), axis=axis)
            continue
        elif isinstance(part, Tensor):
            value = g.node("Gather", value, g(part), axis=axis)
            axis += part.ndim - 1
        axis += 1
    return value


def _as_index(g: Graph, part: Any) -> Any:
    """A list, or a mask that no input is in, as the places that it names."""
    if isinstance(part, (list, np.ndarray)):
        part = tensor(np.asarray(part))
        g.note_constants([part])
    if isinstance(part, Tensor) and part.dtype.kind == "b" and part.ndim == 1:
        if not g.is_constant(part):
            return part
        part = tensor(part.numpy().nonzero()[0])
        g.note_constants([part])
    return part


def _several(g: Graph, x: Tensor, value: str, parts: list[Any]) -> str | None:
    """Several tensors, one behind the other, between slices."""
    at = [i for i, p in enumerate(parts) if isinstance(p, Tensor)]
    together = at == list(range(at[0], at[0] + len(at)))
    if not together or any(p is None or isinstance(p, int) for p in parts):
        return None
    return picked_together(g, value, x.ndim, parts, at[0])


def _is_index(part: Any) -> bool:
    return isinstance(part, Tensor) and part.dtype.kind == "i"


def _sliced(g: Graph, x: Tensor, value: str, parts: list[Any]) -> str:
    cut = [(i, p) for i, p in enumerate(parts) if isinstance(p, slice) and p != slice(None)]
    if not cut:
        return value
    starts = [p.start or 0 for _, p in cut]
    stops = [_FAR if p.stop is None else p.stop for _, p in cut]
    steps = [p.step or 1 for _, p in cut]
    columns = (starts, stops, [i for i, _ in cut], steps)
    return g.node("Slice", value, *(g.integers(*map(int, c)) for c in columns))


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def _padded(g: Graph, a: Arguments, y: Results) -> str | None:
    """F.pad counts from the last axis; ONNX has all beginnings, and then all ends."""
    x, pads = _given(a), [int(n) for n in a["pad"]]
    if a["mode"] == "circular":
        return _wrapped(g, g(x), x.shape, pads)
    axes = [x.ndim - 1 - i for i in range(len(pads) // 2)]
    value = g.constant(np.asarray(a["value"] or 0, x.dtype))
    both = g.integers(*pads[0::2], *pads[1::2])
    return g.node("Pad", g(x), both, value, g.integers(*axes), mode=_PAD_MODES[a["mode"]])


def _wrapped(g: Graph, value: str, shape: Any, pads: list[int]) -> str | None:
    """Each axis between its own end and its own beginning: newer opsets alone have a word."""
    if min(pads) < 0:
        return None
    for i, (before, behind) in enumerate(zip(pads[0::2], pads[1::2], strict=True)):
        axis = len(shape) - 1 - i
        cuts = [(shape[axis] - before, shape[axis])] if before else []
        parts = [g.node("Slice", value, *map(g.integers, cut), g.integers(axis)) for cut in cuts]
        parts.append(value)
        if behind:
            ends = (g.integers(0), g.integers(behind), g.integers(axis))
            parts.append(g.node("Slice", value, *ends))
        value = g.node("Concat", *parts, axis=axis) if len(parts) > 1 else value
    return value


def _shuffled(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("DepthToSpace", g(_given(a)), blocksize=int(a["upscale_factor"]), mode="CRD")


def _channels_shuffled(g: Graph, a: Arguments, y: Results) -> str:
    x, groups = _given(a), int(a["groups"])
    n, c, *rest = x.shape
    apart = g.reshape(g(x), x.shape, (n, groups, c // groups, *rest))
    order = [0, 2, 1, *range(3, x.ndim + 1)]
    return g.reshape(g.node("Transpose", apart, perm=order), x.shape, x.shape)


def _flipped(g: Graph, a: Arguments, y: Results) -> str:
    x = _given(a)
    given = a["dims"] if isinstance(a["dims"], (tuple, list)) else [a["dims"]]
    dims = [int(i) % x.ndim for i in given]
    columns = ([-1] * len(dims), [-_FAR] * len(dims), dims, [-1] * len(dims))
    return g.node("Slice", g(x), *(g.integers(*c) for c in columns))


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(["reshape", "reshape_as", "view", "view_as"], _reshaped),
    **dict.fromkeys(["flatten", "unflatten"], _reshaped),
    "unsqueeze": _unsqueezed,
    "squeeze": _squeezed,
    "permute": _permuted,
    **dict.fromkeys(["transpose", "swapaxes", "t", "T", "mT"], _transposed),
    **dict.fromkeys(SPREADS, _expanded),
    **dict.fromkeys(["cat", "concat", "concatenate"], _cat),
    "stack": _stacked,
    **dict.fromkeys(["split", "chunk"], _split),
    "unbind": _unbound,
    "index_select": _picked,
    "gather": _gathered,
    "narrow": _narrowed,
    "__getitem__": _item,
    "pad": _padded,
    "pixel_shuffle": _shuffled,
    "channel_shuffle": _channels_shuffled,
    "flip": _flipped,
}
