"""A valid call of each function of the compiled engine, as data: what `fuzz.py` bends.

Every entry gives a few; the generator chooses shapes, dtypes and options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from tilework.functional import windows
from tilework.testing import (
    native_index_calls,
    native_norm_calls,
    native_recurrent_calls,
    native_simple_calls,
)
from tilework.testing.call_parts import (
    Arguments,
    Generator,
    Given,
    Maker,
    Packed,
    products,
    shape_and_axis,
    shape_of,
)

ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")


# --- products ---


def _matmul(rng: Generator) -> Arguments:
    make = products(rng)
    m, k, n = make.size(), make.size(40), make.size(20)
    batch = make.one_of((), (2,), (3, 1, 2))
    accumulate = make.flag()
    out = make.array(*batch, m, n, written=True)
    return {
        "a": make.array(*batch, m, k),
        "b": make.array(*make.one_of((), batch), k, n),
        "out": out if accumulate else make.maybe(out),
        "accumulate": accumulate,
    }


def _pack_weight(rng: Generator) -> Arguments:
    make = products(rng)
    return {"weight": make.array(make.size(40), make.size(40))}


def _linear(rng: Generator) -> Arguments:
    make = products(rng)
    k, n = make.size(30), make.size(30)
    batch = make.one_of((), (3,), (2, 3))
    return {
        "x": make.array(*batch, k),
        "weight": make.array(n, k),
        "bias": make.maybe(make.array(n)),
        "residual": make.maybe(make.array(*batch, n)),
        "activation": make.one_of(*ACTIVATIONS),
        "save": make.flag(),
        "packed": make.maybe(Packed("pack_weight", "weight")),
    }


def _linear_backward(rng: Generator) -> Arguments:
    make = products(rng)
    k, n = make.size(30), make.size(30)
    activation = make.one_of(*ACTIVATIONS)
    return {
        "grad": make.array(3, n),
        "x": make.array(3, k),
        "weight": make.array(n, k),
        "saved": None if activation == "none" else make.array(3, n),
        "activation": activation,
        "need_x": make.flag(),
        "need_weight": make.flag(),
        "need_bias": make.flag(),
        "need_residual": make.flag(),
    }


# --- convolutions ---


def _geometry(make: Maker, x: tuple[int, int], kernel: tuple[int, int]) -> Arguments:
    stride = make.one_of((1, 1), (2, 1), (3, 2))
    padding = make.one_of((0, 0), (1, 2), (3, 3))
    dilation = make.one_of((1, 1), (2, 1), (3, 2))
    out = tuple(
        max((n + 2 * p - d * (k - 1) - 1) // s + 1, 0)
        for n, p, d, k, s in zip(x, padding, dilation, kernel, stride, strict=True)
    )
    return {"stride": stride, "padding": padding, "dilation": dilation, "out_size": out}


def _conv(rng: Generator, transposed: bool, backward: bool) -> Arguments:
    make = products(rng)
    size, kernel = (make.size(9), make.size(9)), (make.size(4), make.size(4))
    how = _geometry(make, size, kernel)
    if far := make.one_of(*(0,) * 9, 4096, 2**40, 2**60):  # all taps but the middle one are off
        kernel, how = (3, 3), {"stride": (1, 1), "padding": (far, far), "dilation": (far, far)}
        how["out_size"] = size
    groups, channels, outs = make.one_of((1, make.size(20), make.size(20)), (2, 4, 6), (3, 3, 3))
    images = make.size(3)
    large, small = (images, channels, *size), (images, outs, *how.pop("out_size"))
    x, y = (small, large) if transposed else (large, small)
    weight = make.array(outs, channels // groups, *kernel)
    activation = make.one_of(*ACTIVATIONS)
    given: Arguments = {"x": make.array(*x), "weight": weight}
    if backward:
        given = {"grad": make.array(*y), **given}
        given["saved"] = None if activation == "none" else make.array(*y)
    else:
        given["bias"] = make.maybe(make.array(y[1]))
        if not transposed:
            given["residual"] = make.maybe(make.array(*y))
    given |= how
    given["groups"] = groups
    if not backward:
        given["out_size"] = y[2:]
    given["activation"] = activation
    if not backward:
        given["save"] = make.flag()
        if not transposed:
            given["packed"] = make.maybe(Packed("pack_conv_weight", "weight"))
        return given
    needs = ["need_x", "need_weight", "need_bias"] + ([] if transposed else ["need_residual"])
    return given | {name: make.flag() for name in needs}


def _pack_conv_weight(rng: Generator) -> Arguments:
    make = products(rng)
    return {"weight": make.array(make.size(20), make.size(20), *make.one_of((3,), (3, 2)))}


def _conv_services(rng: Generator) -> Arguments:
    make = Maker(rng)
    size, kernel = (make.size(9), make.size(9)), (make.size(4), make.size(4))
    return {
        "dtype": make.one_of("float32", "float64", "bfloat16"),
        "x": [2, 4, *size],
        "weight": [6, 4, *kernel],
        **_geometry(make, size, kernel),
        "groups": 1,
    }


# --- elementwise, reductions ---


def _unary(rng: Generator) -> Arguments:
    make = Maker(rng)
    return {"op": make.one_of("relu", "exp", "gelu", "sqrt"), "x": make.array(*shape_of(make))}


def _unary_backward(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = shape_of(make)
    op = make.one_of("relu", "exp", "gelu", "sqrt")
    return {"op": op, "grad": make.array(*shape), "saved": make.array(*shape)}


def _binary(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = shape_of(make)
    a = make.array(*shape)
    b = make.one_of(make.array(*shape), make.array(*shape[1:]), make.array(*shape[:-1], 1), 2.5)
    a, b = make.one_of((a, b), (b, a))
    return {"op": make.one_of("add", "mul", "div", "sub"), "a": a, "b": b}


def _accumulate(rng: Generator) -> Arguments:
    make = products(rng)
    shape = shape_of(make)
    return {"destination": make.array(*shape, written=True), "source": make.array(*shape)}


def _bias_activation(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = shape_of(make)
    return {
        "x": make.array(*shape),
        "bias": make.array(shape[-1]),
        "activation": make.one_of(*ACTIVATIONS),
        "save": make.flag(),
    }


def _bias_activation_backward(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = shape_of(make)
    activation = make.one_of(*ACTIVATIONS)
    saved = None if activation == "none" else make.array(*shape)
    return {"grad": make.array(*shape), "saved": saved, "activation": activation}


def _gated(rng: Generator, backward: bool) -> Arguments:
    make = products(rng)
    shape, halves = (2 * make.size(), make.size()), make.flag()
    half = (shape[0] // 2, shape[1])
    grad = {"grad": make.array(*(half if halves else shape))} if backward else {}
    return {
        "op": make.one_of("glu", "swiglu", "geglu", "geglu_tanh"),
        **grad,
        "x": make.array(*shape),
        "other": None if halves else make.array(*shape),
        "axis": 0,
    }


def _dropout(rng: Generator, of: str) -> Arguments:
    make = Maker(rng)
    return {of: make.array(*shape_of(make)), "p": 0.25, "seed": 5, "call": make.size()}


def _converted(rng: Generator, dtype: Any) -> Arguments:
    make = Maker(rng, dtype)
    return {"x": make.array(*shape_of(make))}


def _reduction(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = shape_of(make)
    axes = tuple(i for i in range(len(shape)) if make.flag())
    return {"x": make.array(*shape), "axes": axes, "keepdims": make.flag()}


def _sum_to_shape(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = shape_of(make)
    wanted = tuple(make.one_of(1, n) for n in shape)[make.one_of(0, 1) :]
    return {"x": make.array(*shape), "shape": wanted}


def _cumsum(rng: Generator) -> Arguments:
    make = products(rng)
    shape, axis = shape_and_axis(make)
    return {"x": make.array(*shape), "axis": axis, "reverse": make.flag()}


def _softmax(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = shape_of(make)
    return {"x": make.array(*shape), "axis": len(shape) - 1, "log": make.flag()}


def _softmax_backward(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = shape_of(make)
    given = {"grad": make.array(*shape), "output": make.array(*shape)}
    return {**given, "axis": make.one_of(*range(len(shape))), "log": make.flag()}


# --- attention ---


def _attention(rng: Generator, backward: bool = False) -> Arguments:
    make = products(rng)
    batch, groups, each = make.size(2), make.size(3), make.size(2)
    queries, keys, width, value = make.size(70), make.size(70), make.size(9), make.size(9)
    heads, rows = groups * each, (batch, groups * each, queries)
    given: Arguments = {"grad": make.array(*rows, value)} if backward else {}
    given |= {
        "q": make.array(*rows, width),
        "k": make.array(batch, groups, keys, width),
        "v": make.array(batch, groups, keys, value),
    }
    wide = Maker(rng, np.float64 if make.dtype == np.float64 else np.float32)
    if backward:
        given |= {"out": make.array(*rows, value), "log_sums": wide.array(*rows)}
    far = 1 << 60
    return given | {
        "bias": make.maybe(wide.array(make.one_of(1, batch), 1, make.one_of(1, queries), keys)),
        "scale": 0.5,
        "softcap": make.one_of(0.0, 2.0),
        "slopes": make.maybe(wide.array(heads)),
        "diagonal": make.one_of(0, keys - queries),
        "left": make.one_of(far, 3),
        "right": make.one_of(far, 0),
        "p": make.one_of(0.0, 0.0, 0.5),
        "seed": 3,
        "call": 4,
    }


def _attention_services(rng: Generator) -> Arguments:
    make = Maker(rng)
    batch, groups, width, far = make.size(3), make.size(3), make.size(9), 1 << 60
    return {
        "dtype": make.one_of("float32", "float64", "bfloat16"),
        "q": [batch, 2 * groups, make.size(99), width],
        "k": [batch, groups, make.size(999), width],
        "value_width": make.size(9),
        "left": make.one_of(far, 3),
        "right": make.one_of(far, 0),
    }


def _begins(make: Maker, rows: int, count: int) -> Given:
    """Cumulative lengths of `count` sequences that fill `rows`."""
    cuts = sorted(int(make.rng.integers(0, rows + 1)) for _ in range(count - 1))
    return Given(np.array([0, *cuts, rows]))


def _varlen(rng: Generator, backward: bool = False) -> Arguments:
    make = products(rng)
    count, groups, each = make.size(3), make.size(3), make.size(2)
    queries, keys, width, value = make.size(70), make.size(70), make.size(9), make.size(9)
    heads, far = groups * each, 1 << 60
    paged = not backward and make.flag()
    pool, size, most = make.size(5), make.size(4), make.size(3)
    rows = (pool, size) if paged else (keys,)
    given: Arguments = {"grad": make.array(queries, heads, value)} if backward else {}
    given |= {
        "q": make.array(queries, heads, width),
        "k": make.array(*rows, groups, width),
        "v": make.array(*rows, groups, value),
    }
    wide = Maker(rng, np.float64 if make.dtype == np.float64 else np.float32)
    if backward:
        given["out"] = make.array(queries, heads, value)
        given["log_sums"] = wide.array(queries * heads)
    given["cu_q"] = _begins(make, queries, count)
    given["cu_k"] = None if paged else _begins(make, keys, count)
    if not backward:
        given["used_k"] = make.index(most * size + 1, count) if paged else None
        given["table"] = make.index(pool, count, most) if paged else None
    return given | {
        "scale": 0.5,
        "softcap": make.one_of(0.0, 2.0),
        "slopes": make.maybe(wide.array(heads)),
        "left": make.one_of(far, 3),
        "right": make.one_of(far, 0),
    }


# --- planes ---


def _windows(make: Maker, size: int) -> Given:
    kernel, stride, padding = make.one_of((2, 2, 0), (3, 1, 1), (1, 1, 0), (3, 2, 1))
    count = windows.output_size(size, kernel, stride, padding, 1, False)
    if padding == 0 and make.flag():  # all of them as one run
        return Given(np.array([[0, 1, kernel, kernel, count, stride]]))
    return Given(windows.regular(size, kernel, stride, padding, 1, count, True).copy())


def _count(given: Given) -> int:
    table = given.values
    return int(table[:, 4].sum()) if table.shape[1] == 6 else len(table)


def _pool(rng: Generator, backward: bool, maximum: bool) -> Arguments:
    make = Maker(rng)
    height, width = make.size(8) + 2, make.size(20) + 2
    rows, cols = _windows(make, height), _windows(make, width)
    batch = (make.size(3), make.size(5))
    given: Arguments = {}
    if backward:
        outputs = (*batch, _count(rows), _count(cols))
        given["grad"] = make.array(*outputs)
        if maximum:
            given["saved"] = Given(make.index(9, *outputs).values.astype(np.uint8))
    else:
        given["x"] = make.array(*batch, height, width)
    given |= {"rows": rows, "cols": cols}
    if backward:
        return given | {"height": height, "width": width, "channels_last": make.flag()}
    return given | ({"save": make.flag()} if maximum else {})


def _interpolate(rng: Generator, backward: bool) -> Arguments:
    make = Maker(rng)
    size, out = (make.size(8), make.size(8)), (make.size(8), make.size(12))
    tables: Arguments = {}
    for name, n, count in zip(("row", "col"), size, out, strict=True):
        tables[f"{name}_index"] = make.index(n, count, 2)
        tables[f"{name}_weights"] = make.maybe(Given(rng.random(count)))
    images = (make.size(3), make.size(5))
    if not backward:
        return {"x": make.array(*images, *size), **tables}
    last = {"height": size[0], "width": size[1], "channels_last": make.flag()}
    return {"grad": make.array(*images, *out), **tables, **last}


# --- losses ---


REDUCTIONS = ("none", "mean", "sum")


def _cross_entropy(rng: Generator, backward: bool) -> Arguments:
    make = Maker(rng)
    rows, classes = make.size(), make.size(20)
    reduction = make.one_of(*REDUCTIONS)
    given: Arguments = {
        "logits": make.array(rows, classes),
        "target": make.index(classes, rows),
        "weight": make.maybe(make.positive(classes)),
    }
    if backward:
        from tilework import _native

        arrays: list[Any] = [None if v is None else v.values for v in given.values()]
        logits, target, weight = arrays
        _, saved = _native.cross_entropy_forward(logits, target, weight, -100, 0.1, reduction)
        grad = make.array(rows) if reduction == "none" else make.array()
        given = {"grad": grad, **given, "saved": Given(saved.copy())}
    return {**given, "ignore_index": -100, "label_smoothing": 0.1, "reduction": reduction}


def _distance(rng: Generator, backward: bool) -> Arguments:
    make = Maker(rng)
    shape, reduction = shape_of(make), make.one_of(*REDUCTIONS)
    grad = make.array(*shape) if reduction == "none" else make.array()
    return {
        "kind": make.one_of("square", "absolute", "huber", "smooth"),
        **({"grad": grad} if backward else {}),
        "input": make.array(*shape),
        "target": make.array(*shape),
        "limit": 0.7,
        "reduction": reduction,
    }


# --- sequences ---


def _ctc(rng: Generator, backward: bool) -> Arguments:
    make = Maker(rng)
    steps, batch, symbols = make.size(8), make.size(4), make.size(6)
    lengths = rng.integers(4, size=batch)
    given: Arguments = {
        "log_probs": make.array(steps, batch, symbols),
        "targets": make.index(symbols, int(lengths.sum())),
        "input_lengths": make.index(steps + 1, batch),
        "target_lengths": Given(lengths),
        "blank": int(rng.integers(symbols)),
    }
    if not backward:
        return given
    from tilework import _native

    arrays: list[Any] = [v.values if isinstance(v, Given) else v for v in given.values()]
    losses, saved = _native.ctc_forward(*arrays)
    kept = {"losses": Given(losses.copy()), "saved": Given(saved.copy())}
    return {"grad": make.array(batch), **given, **kept, "zero_infinity": make.flag()}


# --- optimisers: lists of arrays ---


def _lists(make: Maker, *names: str) -> Arguments:
    shapes = [shape_of(make) for _ in range(make.size(4))]
    return {
        name: [make.positive(*shape, written=name != "grads") for shape in shapes] for name in names
    }


def _sgd(rng: Generator) -> Arguments:
    make = Maker(rng)
    given = _lists(make, "params", "grads", "momenta")
    numbers = {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.1}
    return {**given, "first": make.flag(), **numbers, "nesterov": make.flag(), "maximize": False}


def _adam(rng: Generator) -> Arguments:
    make = Maker(rng)
    given = _lists(make, "params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs")
    given["max_exp_avg_sqs"] = make.maybe(given["max_exp_avg_sqs"])
    numbers = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1}
    return {**given, "step": 3, **numbers, "decoupled": make.flag(), "maximize": False}


# --- random numbers and lists of arrays ---


def _random(rng: Generator, dtype: bool) -> Arguments:
    make = Maker(rng)
    kind = {"dtype": make.one_of("float32", "float64")} if dtype else {}
    return {"shape": shape_of(make), **kind, "seed": 3, "call": make.size()}


def _arrays(rng: Generator, written: bool, **more: Any) -> Arguments:
    make = Maker(rng)
    shapes = [shape_of(make) for _ in range(make.size(4))]
    return {"arrays": [make.array(*s, written=written) for s in shapes], **more}


CALLS: dict[str, Callable[[Generator], Arguments]] = {
    **native_simple_calls.CALLS,
    **native_index_calls.CALLS,
    "matmul": _matmul,
    "pack_weight": _pack_weight,
    "linear_forward": _linear,
    "linear_backward": _linear_backward,
    "pack_conv_weight": _pack_conv_weight,
    "conv_services": _conv_services,
    "conv_forward": lambda rng: _conv(rng, False, False),
    "conv_backward": lambda rng: _conv(rng, False, True),
    "conv_transpose_forward": lambda rng: _conv(rng, True, False),
    "conv_transpose_backward": lambda rng: _conv(rng, True, True),
    "unary_forward": _unary,
    "unary_backward": _unary_backward,
    "binary_forward": _binary,
    "accumulate_": _accumulate,
    "bias_activation_forward": _bias_activation,
    "bias_activation_backward": _bias_activation_backward,
    "gated_forward": lambda rng: _gated(rng, False),
    "gated_backward": lambda rng: _gated(rng, True),
    "dropout_forward": lambda rng: _dropout(rng, "x"),
    "dropout_backward": lambda rng: _dropout(rng, "grad"),
    "widen": lambda rng: _converted(rng, ml_dtypes.bfloat16),
    "narrow": lambda rng: _converted(rng, np.float32),
    "sum": _reduction,
    "mean": _reduction,
    "max": _reduction,
    "min": _reduction,
    "sum_to_shape": _sum_to_shape,
    "cumsum": _cumsum,
    "attention_forward": _attention,
    "attention_backward": lambda rng: _attention(rng, backward=True),
    "attention_services": _attention_services,
    "varlen_attention_forward": _varlen,
    "varlen_attention_backward": lambda rng: _varlen(rng, backward=True),
    **native_recurrent_calls.CALLS,
    "softmax_forward": _softmax,
    "softmax_backward": _softmax_backward,
    **native_norm_calls.CALLS,
    "pool_max_forward": lambda rng: _pool(rng, False, True),
    "pool_max_backward": lambda rng: _pool(rng, True, True),
    "pool_average_forward": lambda rng: _pool(rng, False, False),
    "pool_average_backward": lambda rng: _pool(rng, True, False),
    "interpolate_forward": lambda rng: _interpolate(rng, False),
    "interpolate_backward": lambda rng: _interpolate(rng, True),
    "cross_entropy_forward": lambda rng: _cross_entropy(rng, False),
    "cross_entropy_backward": lambda rng: _cross_entropy(rng, True),
    "distance_forward": lambda rng: _distance(rng, False),
    "distance_backward": lambda rng: _distance(rng, True),
    "ctc_forward": lambda rng: _ctc(rng, False),
    "ctc_backward": lambda rng: _ctc(rng, True),
    "sgd_step": _sgd,
    "adam_step": _adam,
    "squares_of": lambda rng: _arrays(rng, False),
    "scale_": lambda rng: _arrays(rng, True, factor=0.5),
    "random_bits": lambda rng: _random(rng, False),
    "uniform": lambda rng: _random(rng, True),
    "normal": lambda rng: _random(rng, True),
}
