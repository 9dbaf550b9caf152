"""Order, picks by index, and what stands in a place of its own, in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilework.io.onnx.elementwise import Results, _given, reduced
from tilework.io.onnx.graph import Arguments, Graph, Handler
from tilework.tensor import Tensor

# --- order ---


def _ranked(g: Graph, x: Tensor, count: int, dim: int, largest: bool) -> list[str]:
    """The first `count` values along an axis, and where they stood; of equal ones the first."""
    return g.nodes("TopK", 2, g(x), g.integers(count), axis=dim, largest=int(largest), sorted=1)


def _top(g: Graph, a: Arguments, y: Results) -> list[str]:
    return _ranked(g, _given(a), int(a["k"]), int(a["dim"]), bool(a["largest"]))


def _sorted(g: Graph, a: Arguments, y: Results) -> list[str]:
    x, dim = _given(a), int(a["dim"])
    return _ranked(g, x, x.shape[dim], dim, bool(a["descending"]))


def _order(g: Graph, a: Arguments, y: Results) -> str:
    return _sorted(g, a, y)[1]


def _extreme(op: str, where: str) -> Handler:
    """The largest of all; or along an axis, with where it stands."""

    def emit(g: Graph, a: Arguments, y: Results) -> list[str] | None:
        x, dim = _given(a), a["dim"]
        if isinstance(dim, Tensor):
            return None
        value = reduced(g, op, g(x), a)
        if len(y) == 1:
            return [value]
        return [value, g.node(where, g(x), axis=int(dim), keepdims=int(a["keepdim"]))]

    return emit


# --- picks ---


def _taken_along(g: Graph, a: Arguments, y: Results) -> str | None:
    x, index, dim = _given(a), a["indices"], a["dim"]
    if dim is None or x.ndim != index.ndim:
        return None
    axis = int(dim) % x.ndim
    if any(m != n for i, (m, n) in enumerate(zip(x.shape, index.shape, strict=True)) if i != axis):
        return None
    return g.node("GatherElements", g(x), g(index), axis=axis)


def picked_together(g: Graph, value: str, ndim: int, parts: list[Any], first: int) -> str:
    """x[..., i, j, ...]: tensors beside each other, broadcast, are the places in those axes."""
    indices = [p for p in parts if isinstance(p, Tensor)]
    axes = list(range(first, first + len(indices)))
    rest = [i for i in range(ndim) if i not in axes]
    shape = np.broadcast_shapes(*(p.shape for p in indices))
    columns = [
        g.node("Unsqueeze", g.node("Expand", g.of(p, np.int64), g.integers(*shape)),
               g.integers(-1))
        for p in indices
    ]  # fmt: skip
    front = g.node("Transpose", value, perm=[*axes, *rest])
    found = g.node("GatherND", front, g.node("Concat", *columns, axis=-1))
    k = len(shape)
    order = [*range(k, k + first), *range(k), *range(k + first, k + len(rest))]
    return g.node("Transpose", found, perm=order)


def _repeated(g: Graph, a: Arguments, y: Results) -> str | None:
    x, dim, repeats = _given(a), a["dim"], a["repeats"]
    if isinstance(repeats, Tensor) or (dim is None and g.batch is not None):
        return None
    axis = 0 if dim is None else int(dim) % x.ndim
    if axis == 0 and g.batch is not None:
        return None
    value = g.node("Reshape", g(x), g.integers(-1)) if dim is None else g(x)
    count = x.numel() if dim is None else x.shape[axis]
    index = g.constant(np.repeat(np.arange(count, dtype=np.int64), int(repeats)))
    return g.node("Gather", value, index, axis=axis)


def _one_hot(g: Graph, a: Arguments, y: Results) -> str:
    ends = g.integers(0, 1)
    return g.node("OneHot", g(a["tensor"]), g.integers(y[0].shape[-1]), ends, axis=-1)


def _scattered(reduction: str) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> str | None:
        x, index, source = _given(a), a["index"], a["src"]
        if a.get("reduce") is not None:
            return None
        if isinstance(source, Tensor):
            if source.shape != index.shape:
                return None
            values = g.of(source, x.dtype)
        else:
            values = g.node("Expand", g.value(source, x.dtype), g.sizes(index.shape))
        return g.node("ScatterElements", g(x), g(index), values, axis=int(a["dim"]),
                      reduction=reduction)  # fmt: skip

    return emit


def _triangle(upper: bool) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> str:
        return g.node("Trilu", g(_given(a)), g.value(a["diagonal"], np.int64), upper=int(upper))

    return emit


# --- patches: a convolution whose weights pick one place each ---


def _patches(a: Arguments, channels: int, dtype: Any) -> tuple[Any, dict[str, Any]]:
    def both(value: Any) -> list[int]:
        return [int(n) for n in value] if isinstance(value, (tuple, list)) else [int(value)] * 2

    height, width = both(a["kernel_size"])
    count = channels * height * width
    weight = np.eye(count, dtype=dtype).reshape(count, channels, height, width)
    settings = {
        "kernel_shape": [height, width], "strides": both(a["stride"]),
        "dilations": both(a["dilation"]), "pads": both(a["padding"]) * 2,
    }  # fmt: skip
    return weight, settings


def _unfolded(g: Graph, a: Arguments, y: Results) -> str | None:
    x = a["input"]
    if x.ndim != 4:
        return None
    weight, settings = _patches(a, x.shape[1], x.dtype)
    found = g.node("Conv", g(x), g.constant(weight), **settings)
    return g.node("Reshape", found, g.integers(0, *y[0].shape[1:]))


def _folded(g: Graph, a: Arguments, y: Results) -> str | None:
    x = a["input"]
    if x.ndim != 3:
        return None
    weight, settings = _patches(a, y[0].shape[1], x.dtype)
    sizes = y[0].shape[2:]
    counts = []
    for i, size in enumerate(sizes):
        reach = settings["dilations"][i] * (settings["kernel_shape"][i] - 1) + 1
        padded = size + 2 * settings["pads"][i]
        counts.append((padded - reach) // settings["strides"][i] + 1)
        left = padded - reach - (counts[-1] - 1) * settings["strides"][i]
        settings.setdefault("output_padding", []).append(left)
    apart = g.node("Reshape", g(x), g.integers(0, x.shape[1], *counts))
    return g.node("ConvTranspose", apart, g.constant(weight), **settings)


def _unshuffled(g: Graph, a: Arguments, y: Results) -> str | None:
    """ONNX's SpaceToDepth has the places within a block before the channels."""
    x, r = _given(a), int(a["downscale_factor"])
    if x.ndim != 4:
        return None
    n, c, h, w = x.shape
    apart = g.reshape(g(x), x.shape, (n, c, h // r, r, w // r, r))
    return g.reshape(g.node("Transpose", apart, perm=[0, 1, 3, 5, 2, 4]), x.shape, y[0].shape)


HANDLERS: dict[str, Handler] = {
    "topk": _top,
    "sort": _sorted,
    "argsort": _order,
    "max": _extreme("ReduceMax", "ArgMax"),
    "min": _extreme("ReduceMin", "ArgMin"),
    "take_along_dim": _taken_along,
    "one_hot": _one_hot,
    "repeat_interleave": _repeated,
    "scatter": _scattered("none"),
    "scatter_add": _scattered("add"),
    "tril": _triangle(upper=False),
    "triu": _triangle(upper=True),
    "unfold": _unfolded,
    "fold": _folded,
    "pixel_unshuffle": _unshuffled,
}
