"""Products, convolutions, pools, norms, attention and embeddings in ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework.io.onnx.elementwise import Results, _given, activated
from tilework.io.onnx.graph import Arguments, Graph, Handler
from tilework.tensor import Tensor


def _with_epilogue(g: Graph, value: str, a: Arguments, y: Results) -> str:
    if a.get("residual") is not None:
        value = g.node("Add", value, g(a["residual"]))
    return activated(g, value, y[0].dtype, a.get("activation", "none"))


# --- products ---


def _matmul(g: Graph, a: Arguments, y: Results) -> str:
    x = _given(a)
    other = next(a[name] for name in ("other", "mat2", "tensor2") if name in a)
    return g.node("MatMul", g(x), g(other))


def _linear(g: Graph, a: Arguments, y: Results) -> str:
    x, weight, bias = a["input"], a["weight"], a["bias"]
    if x.ndim == 2 and bias is not None:
        value = g.node("Gemm", g(x), g(weight), g(bias), transB=1)
    else:
        value = g.node("MatMul", g(x), g.node("Transpose", g(weight), perm=[1, 0]))
        value = value if bias is None else g.node("Add", value, g(bias))
    return _with_epilogue(g, value, a, y)


# --- convolutions and pools ---


def _conv(rank: int) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> str | None:
        x, weight, bias = a["input"], a["weight"], a["bias"]
        if x.ndim != rank + 2:
            return None
        sizes = {name: _ranked(a[name], rank) for name in ("stride", "dilation")}
        settings: dict[str, Any] = {
            "strides": sizes["stride"], "dilations": sizes["dilation"], "group": int(a["groups"]),
            "kernel_shape": list(weight.shape[2:]),
        }  # fmt: skip
        if a["padding"] == "same":
            settings["auto_pad"] = "SAME_UPPER"
        else:
            pads = [0] * rank if a["padding"] == "valid" else _ranked(a["padding"], rank)
            settings["pads"] = pads * 2
        inputs = [g(x), g(weight)] + ([] if bias is None else [g(bias)])
        return _with_epilogue(g, g.node("Conv", *inputs, **settings), a, y)

    return emit


def _ranked(value: Any, rank: int) -> list[int]:
    given = [int(n) for n in value] if isinstance(value, (tuple, list)) else [int(value)]
    return given * rank if len(given) == 1 else given


def _conv_transpose(rank: int) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> str | None:
        x, weight, bias = a["input"], a["weight"], a["bias"]
        if x.ndim != rank + 2:
            return None
        inputs = [g(x), g(weight)] + ([] if bias is None else [g(bias)])
        value = g.node(
            "ConvTranspose", *inputs, kernel_shape=list(weight.shape[2:]), group=int(a["groups"]),
            strides=_ranked(a["stride"], rank), dilations=_ranked(a["dilation"], rank),
            pads=_ranked(a["padding"], rank) * 2,
            output_padding=_ranked(a["output_padding"], rank),
        )  # fmt: skip
        return _with_epilogue(g, value, a, y)

    return emit


def _pool(op: str, rank: int) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> str | None:
        x = a["input"]
        if x.ndim != rank + 2 or a.get("return_indices") or a.get("divisor_override") is not None:
            return None
        stride = a["kernel_size"] if a["stride"] is None else a["stride"]
        settings: dict[str, Any] = {
            "kernel_shape": _ranked(a["kernel_size"], rank), "strides": _ranked(stride, rank),
            "pads": _ranked(a["padding"], rank) * 2, "ceil_mode": int(a["ceil_mode"]),
        }  # fmt: skip
        if op == "MaxPool":
            settings["dilations"] = _ranked(a["dilation"], rank)
        else:
            settings["count_include_pad"] = int(a["count_include_pad"])
        return g.node(op, g(x), **settings)

    return emit


def _adaptive(op: str, whole: str) -> Handler:
    """A pool of ONNX's where the windows are all alike; other averages are products."""

    def emit(g: Graph, a: Arguments, y: Results) -> str | None:
        x, sizes = a["input"], y[0].shape[2:]
        if len(y) != 1:
            return None
        if any(n % m for n, m in zip(x.shape[2:], sizes, strict=True)):
            return _averages(g, x, sizes) if op == "AveragePool" else None
        if set(sizes) == {1}:
            return g.node(whole, g(x))
        windows = [n // m for n, m in zip(x.shape[2:], sizes, strict=True)]
        return g.node(op, g(x), kernel_shape=windows, strides=windows)

    return emit


def _averages(g: Graph, x: Tensor, sizes: Sequence[int]) -> str:
    """Means of uneven windows: a matrix before the planes, and one behind, as each axis has its
    own."""
    *rows, columns = (
        _windows(n, m).astype(x.dtype) for n, m in zip(x.shape[2:], sizes, strict=True)
    )
    found = g.node("MatMul", g(x), g.constant(columns.T))
    return g.node("MatMul", g.constant(rows[0]), found) if rows else found


def _windows(size: int, count: int) -> Any:
    """(count, size): row i averages from floor(i size / count) to ceil((i + 1) size / count)."""
    table = np.zeros((count, size))
    for i in range(count):
        begin, end = i * size // count, -(-(i + 1) * size // count)
        table[i, begin:end] = 1 / (end - begin)
    return table


_RESIZES = {
    "nearest": "nearest", "nearest-exact": "nearest", "bilinear": "linear", "linear": "linear",
}  # fmt: skip


def _interpolate(g: Graph, a: Arguments, y: Results) -> str | None:
    x, mode = a["input"], a["mode"]
    if mode not in _RESIZES or a["antialias"]:
        return None
    settings: dict[str, Any] = {"mode": _RESIZES[mode]}
    if mode == "nearest":
        settings |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    elif mode == "nearest-exact":
        settings |= {"coordinate_transformation_mode": "half_pixel"}
        settings |= {"nearest_mode": "round_prefer_ceil"}
    else:
        aligned = "align_corners" if a["align_corners"] else "pytorch_half_pixel"
        settings["coordinate_transformation_mode"] = aligned
    sizes, axes = g.integers(*y[0].shape[2:]), list(range(2, x.ndim))
    return g.node("Resize", g(x), "", "", sizes, axes=axes, **settings)


# --- norms ---


def _ones_or(g: Graph, weight: Tensor | None, like: Tensor, count: int, fill: float) -> str:
    return g.constant(np.full(count, fill, like.dtype)) if weight is None else g(weight)


def _batch_norm(g: Graph, a: Arguments, y: Results) -> str | None:
    x = a["input"]
    if a["training"]:
        return None
    value = g.node(
        "BatchNormalization", g(x), _ones_or(g, a["weight"], x, x.shape[1], 1.0),
        _ones_or(g, a["bias"], x, x.shape[1], 0.0), g(a["running_mean"]), g(a["running_var"]),
        epsilon=float(a["eps"]),
    )  # fmt: skip
    return _with_epilogue(g, value, a, y)


def _summed(g: Graph, a: Arguments) -> list[str]:
    """The input and, where there is a residual, which the op gives too, their sum in its place."""
    x = g(a["input"])
    return [x] if a.get("residual") is None else [g.node("Add", x, g(a["residual"]))]


def _layer_norm(g: Graph, a: Arguments, y: Results) -> list[str]:
    total = _summed(g, a)
    x, shape = a["input"], a["normalized_shape"]
    rank = 1 if isinstance(shape, int) else len(shape)
    ones = np.ones(x.shape[-rank:], x.dtype)
    weight = g.constant(ones) if a["weight"] is None else g(a["weight"])
    bias = [] if a["bias"] is None else [g(a["bias"])]
    normed = g.node(
        "LayerNormalization", total[0], weight, *bias, axis=-rank, epsilon=float(a["eps"])
    )
    return [normed, *total[: len(y) - 1]]


def _rms_norm(g: Graph, a: Arguments, y: Results) -> list[str]:
    total = _summed(g, a)
    x, shape = a["input"], a["normalized_shape"]
    rank = 1 if isinstance(shape, int) else len(shape)
    eps = float(np.finfo(x.dtype).eps) if a["eps"] is None else float(a["eps"])
    square = g.node("Mul", total[0], total[0])
    mean = g.node("ReduceMean", square, g.integers(*range(-rank, 0)), keepdims=1)
    scale = g.node("Sqrt", g.node("Add", mean, g.constant(np.asarray(eps, x.dtype))))
    normed = g.node("Div", total[0], scale)
    if a["weight"] is not None:
        normed = g.node("Mul", normed, g(a["weight"]))
    return [normed, *total[: len(y) - 1]]


def _group_norm(g: Graph, a: Arguments, y: Results) -> str:
    """Groups as channels of an instance norm, which has no weights of theirs."""
    x, groups = a["input"], int(a["num_groups"])
    n, c = x.shape[:2]
    apart = g.reshape(g(x), x.shape, (n, groups, math.prod(x.shape[1:]) // groups))
    plain = [g.constant(np.full(groups, value, x.dtype)) for value in (1.0, 0.0)]
    normed = g.node("InstanceNormalization", apart, *plain, epsilon=float(a["eps"]))
    value = g.reshape(normed, x.shape, x.shape)
    across = g.integers(c, *([1] * (x.ndim - 2)))
    for op, weight in (("Mul", a["weight"]), ("Add", a["bias"])):
        if weight is not None:
            value = g.node(op, value, g.node("Reshape", g(weight), across))
    return value


def _instance_norm(g: Graph, a: Arguments, y: Results) -> str | None:
    x = a["input"]
    if not a["use_input_stats"] or x.ndim < 3:
        return None
    ends = [_ones_or(g, a[n], x, x.shape[1], fill) for n, fill in (("weight", 1.0), ("bias", 0.0))]
    return g.node("InstanceNormalization", g(x), *ends, epsilon=float(a["eps"]))


def _local_response_norm(g: Graph, a: Arguments, y: Results) -> str:
    return g.node(
        "LRN", g(a["input"]), size=int(a["size"]), alpha=float(a["alpha"]),
        beta=float(a["beta"]), bias=float(a["k"]),
    )  # fmt: skip


# --- attention, embeddings ---


def _attention(g: Graph, a: Arguments, y: Results) -> str | None:
    q, k, v = (a[name] for name in ("query", "key", "value"))
    if a["window"] is not None or a["softcap"] or a["alibi_slopes"] is not None or a["dropout_p"]:
        return None
    if a["enable_gqa"] and q.shape[-3] != k.shape[-3]:
        return _grouped(g, a)
    return _scores(g, a, g(q), g(k), g(v))


def _scores(g: Graph, a: Arguments, q: str, k: str, v: str) -> str:
    return g.node("MatMul", _weights(g, a, q, k, _masks(g, a)), v)


def _weights_under(g: Graph, a: Arguments, y: Results) -> str:
    """Those that nn.MultiheadAttention gives too."""
    given = {"query": a["q"], "key": a["k"], "scale": None}
    masks = [] if a["mask"] is None else [_added(g, a["mask"], a["q"])]
    return _weights(g, given, g(a["q"]), g(a["k"]), masks)


def _weights(g: Graph, a: Arguments, q: str, k: str, masks: list[str]) -> str:
    query, key = a["query"], a["key"]
    scale = 1 / math.sqrt(query.shape[-1]) if a["scale"] is None else float(a["scale"])
    order = [*range(key.ndim - 2), key.ndim - 1, key.ndim - 2]
    scores = g.node("MatMul", q, g.node("Transpose", k, perm=order))
    scores = g.node("Mul", scores, g.constant(np.asarray(scale, query.dtype)))
    for mask in masks:
        scores = g.node("Add", scores, mask)
    weights = g.node("Softmax", scores, axis=-1)
    if masks:  # a row that nothing is left of is zeros, where ONNX's softmax has NaN
        most = g.node("ReduceMax", scores, g.integers(-1), keepdims=1)
        zero, least = (g.constant(np.asarray(end, query.dtype)) for end in (0, -np.inf))
        weights = g.node("Where", g.node("Equal", most, least), zero, weights)
    return weights


def _masks(g: Graph, a: Arguments) -> list[str]:
    query, rows, columns = a["query"], a["query"].shape[-2], a["key"].shape[-2]
    masks = []
    if a["is_causal"]:
        behind = columns - rows if a["causal_alignment"] == "bottom_right" else 0
        allowed = np.tri(rows, columns, behind, dtype=bool)
        masks.append(g.constant(np.where(allowed, 0, -np.inf).astype(query.dtype)))
    if a["attn_mask"] is not None:
        masks.append(_added(g, a["attn_mask"], query))
    return masks


def _added(g: Graph, mask: Tensor, query: Tensor) -> str:
    """A mask as what is added to the scores: one of bools says what takes part."""
    if mask.dtype.kind != "b":
        return g(mask)
    ends = [g.constant(np.asarray(value, query.dtype)) for value in (0, -np.inf)]
    return g.node("Where", g(mask), *ends)


def _grouped(g: Graph, a: Arguments) -> str:
    """Keys and values that several heads share, once for each of them."""
    q, k = a["query"], a["key"]
    each = q.shape[-3] // k.shape[-3]
    index = g.constant(np.repeat(np.arange(k.shape[-3], dtype=np.int64), each))
    shared = [g.node("Gather", g(a[name]), index, axis=k.ndim - 3) for name in ("key", "value")]
    return _scores(g, a, g(q), *shared)


def _rotary(g: Graph, a: Arguments, y: Results) -> str | None:
    x, cos, sin = a["input"], a["cos"], a["sin"]
    if a["interleaved"] or a["position_ids"] is not None:
        return None
    half = cos.shape[-1]
    sizes = [half, half, x.shape[-1] - 2 * half]
    parts = [n for n in sizes if n]
    split = g.nodes("Split", len(parts), g(x), g.integers(*parts), axis=-1)
    first, second, *rest = split
    c, s = g(cos), g(sin)
    turned = [
        g.node("Sub", g.node("Mul", first, c), g.node("Mul", second, s)),
        g.node("Add", g.node("Mul", second, c), g.node("Mul", first, s)),
    ]
    return g.node("Concat", *turned, *rest, axis=-1)


def _embedding(g: Graph, a: Arguments, y: Results) -> str | None:
    if a["max_norm"] is not None:
        return None
    return g.node("Gather", g(a["weight"]), g(a["input"]))


def _embedding_bag(g: Graph, a: Arguments, y: Results) -> str | None:
    """Bags of one size; others have no form."""
    ops = {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax"}
    given = (a["max_norm"], a["per_sample_weights"], a["padding_idx"])
    if a["input"].ndim != 2 or any(x is not None for x in given):
        return None
    rows = g.node("Gather", g(a["weight"]), g(a["input"]))
    return g.node(ops[a["mode"]], rows, g.integers(1), keepdims=0)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(["matmul", "__matmul__", "mm", "bmm"], _matmul),
    "linear": _linear,
    "conv1d": _conv(1),
    "conv2d": _conv(2),
    "conv_transpose1d": _conv_transpose(1),
    "conv_transpose2d": _conv_transpose(2),
    "max_pool1d": _pool("MaxPool", 1),
    "max_pool2d": _pool("MaxPool", 2),
    "avg_pool1d": _pool("AveragePool", 1),
    "avg_pool2d": _pool("AveragePool", 2),
    "adaptive_avg_pool1d": _adaptive("AveragePool", "GlobalAveragePool"),
    "adaptive_avg_pool2d": _adaptive("AveragePool", "GlobalAveragePool"),
    "adaptive_max_pool2d": _adaptive("MaxPool", "GlobalMaxPool"),
    "interpolate": _interpolate,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "local_response_norm": _local_response_norm,
    "scaled_dot_product_attention": _attention,
    "attention_weights": _weights_under,
    "rotary_embedding": _rotary,
    "embedding_bag": _embedding_bag,
    "embedding": _embedding,
}
