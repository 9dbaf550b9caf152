"""Ends of the range: every differentiable op at 0, denormals, 1, huge numbers, infinities and NaN,
of both signs, in values and gradients, and second derivatives where they are recorded.
The judge is each op's formula, in limit_tables.py."""

import importlib
import itertools
import math
import pkgutil
from typing import Any

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework.autograd import Op
from tilework.dtypes import finfo
from tilework.testing.runner import TARGETS, running_on
from tilework.testing.tolerance import assert_close, stored, tiny, working_eps

from .limit_tables import DTYPES, PAIRS, ROWS, UNARY, WIDE

HERE = [t for t in TARGETS if t.serves("pointwise")]


# A call is silent whatever it meets: the flags of a processor are no news to who asked for a limit.
LOUD: Any = {"divide": "raise", "over": "raise", "invalid": "raise"}


def judged(formula, *arrays):
    with np.errstate(all="ignore"):
        return formula(*arrays)


def ends(dtype, extra=()):
    """The values, both signs of each."""
    info = finfo(dtype)
    sizes = (0.0, float(info.smallest_subnormal), 1.0, float(info.max), math.inf, math.nan, *extra)
    return np.array([s * v for v in sizes for s in (1.0, -1.0)], np.float64).astype(dtype)


def wide(x):
    return x.astype(np.float64).astype(WIDE)


def bound(dtype, expected, ulps, near):
    """Of what is computed in float32 or wider, and stored in dtype."""
    size = ulps * np.abs(np.nan_to_num(expected.astype(np.float64), posinf=0, neginf=0)) + near
    return stored(dtype, expected.astype(np.float64), working_eps(dtype) * size + 4 * tiny(dtype))


def compare(got, expected, dtype, ulps, near, what):
    with np.errstate(all="ignore"):
        narrowed = expected.astype(np.float64)
        assert_close(got.numpy(), narrowed, bound(dtype, expected, ulps, near), f"{what} {dtype}")


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("target", HERE, ids=str)
def test_of_one_tensor(target, op):
    if reason := target.refusal():
        pytest.skip(reason)
    function = UNARY[op]
    with running_on(target), np.errstate(**LOUD):
        for dtype in DTYPES:
            array = np.tile(ends(dtype, (20.0, 1e-3)), 3)  # whole vectors, and a part
            exact = wide(array)
            x = tw.tensor(array, requires_grad=True)
            y = function.call(x)
            compare(
                y.detach(),
                judged(function.value, exact),
                dtype,
                function.ulps,
                function.near[0],
                op,
            )
            y.backward(tw.ones_like(x))
            what = f"the slope of {op}"
            compare(
                x.grad, judged(function.slope, exact), dtype, function.ulps, function.near[1], what
            )
            if function.bend is None:
                continue
            slope = tw.autograd.grad(
                function.call(x), x, grad_outputs=tw.ones_like(x), create_graph=True
            )[0]
            usual = ~np.isnan(array)
            what = f"the recorded slope of {op}"
            compare(
                slope.detach(), judged(function.slope, exact), dtype, 2 * function.ulps, 4, what
            )
            if not slope.requires_grad:  # constant
                continue
            bend = tw.autograd.grad(slope, x, grad_outputs=tw.ones_like(x))[0]
            kept = tw.tensor(bend.numpy()[usual])
            what, expected = f"the bend of {op}", judged(function.bend, exact)[usual]
            compare(kept, expected, dtype, 4 * function.ulps, function.near[2], what)


# --- two tensors: every pair of ends ---


def log_of_one(p):
    return np.maximum(np.log(p), -100)


def log_of_none(p):
    return np.maximum(np.log1p(-p), -100)


@pytest.mark.parametrize("target", HERE, ids=str)
def test_binary_cross_entropy(target):
    """Of probabilities from 0 to 1: a logarithm counts as -100 at least, and a slope is divided by
    1e-12 at least."""
    if reason := target.refusal():
        pytest.skip(reason)
    with running_on(target), np.errstate(**LOUD):
        for dtype in DTYPES:
            parts = np.array([0.0, float(finfo(dtype).smallest_subnormal), 0.5, 1.0])
            x, t = (a.astype(dtype) for a in np.meshgrid(parts, parts))
            p, q = wide(x), wide(t)
            given, wanted = (tw.tensor(a, requires_grad=True) for a in (x, t))
            y = F.binary_cross_entropy(given, wanted, reduction="none")
            y.backward(tw.ones_like(y))
            of_one, of_none = (judged(of, p) for of in (log_of_one, log_of_none))
            compare(y.detach(), -(q * of_one + (1 - q) * of_none), dtype, 8, 0, "the loss")
            slope = (p - q) / np.maximum(p * (1 - p), 1e-12)
            compare(given.grad, slope, dtype, 8, 0, "the slope to a probability")
            compare(wanted.grad, of_none - of_one, dtype, 8, 0, "the slope to a target")


@pytest.mark.parametrize("op", PAIRS)
@pytest.mark.parametrize("target", HERE, ids=str)
def test_of_two_tensors(target, op):
    if reason := target.refusal():
        pytest.skip(reason)
    pair = PAIRS[op]
    with running_on(target), np.errstate(**LOUD):
        for dtype in DTYPES:
            arrays = np.array(list(itertools.product(ends(dtype), repeat=2))).T.astype(dtype)
            if not pair.denormals:
                sizes = np.abs(arrays.astype(np.float64))
                arrays = arrays[:, ~((sizes > 0) & (sizes < tiny(dtype))).any(0)]
            for factor in pair.factors:
                sizes = np.abs(judged(factor, wide(arrays[0])))
                arrays = arrays[:, ~((sizes > 0) & (sizes < tiny(dtype)))]
            x, y = (tw.tensor(a, requires_grad=True) for a in arrays)
            exact = tuple(wide(a) for a in arrays)
            z = pair.call(x, y)
            compare(z.detach(), judged(pair.value, *exact), dtype, pair.ulps, 0, op)
            for graph in (False, True):
                firsts = tw.autograd.grad(
                    z, (x, y), grad_outputs=tw.ones_like(z), create_graph=graph, retain_graph=True
                )
                for got, slope, name in zip(
                    firsts, (pair.first, pair.second), ("first", "second"), strict=True
                ):
                    what = f"the slope of {op} to its {name}{', recorded' * graph}"
                    expected = np.asarray(judged(slope, *exact), WIDE)
                    compare(got.detach(), expected, dtype, 2 * pair.ulps, 0, what)


# --- rows: every triple of ends ---


@pytest.mark.parametrize("op", ROWS)
@pytest.mark.parametrize("target", HERE, ids=str)
def test_of_rows(target, op):
    if reason := target.refusal():
        pytest.skip(reason)
    rows = ROWS[op]
    with running_on(target), np.errstate(**LOUD):
        for dtype in DTYPES:
            array = np.array(list(itertools.product(ends(dtype), repeat=3))).astype(dtype)
            sizes = np.abs(array.astype(np.float64))
            left_out = np.zeros(sizes.shape, bool)
            if rows.sums:  # a sum that overflows on its way is infinite, whatever comes after
                left_out |= sizes == float(finfo(dtype).max)
            if (rows.squares and dtype == "float64") or dtype in rows.narrow:
                left_out |= (sizes > 0) & (sizes < tiny(dtype))
            if dtype in rows.narrow:
                left_out |= sizes == float(finfo(dtype).max)
            array = array[~left_out.any(1)]
            exact = wide(array)
            x = tw.tensor(array, requires_grad=True)
            y = rows.call(x)
            compare(y.detach(), np.asarray(judged(rows.value, exact)), dtype, rows.ulps, 0, op)
            if rows.slope is None:
                continue
            y.backward(tw.ones_like(y))
            compare(x.grad, np.asarray(judged(rows.slope, exact)), dtype, rows.ulps, rows.ulps, op)


# --- none is forgotten ---

# Ops that compute nothing of their own: elements are moved, repeated, added or joined.
MOVING = {
    "to", "index", "scatter", "gather", "scatter_add", "pad", "pixel_shuffle", "pixel_unshuffle",
    "reshape", "permute", "expand", "cat", "stack", "unfold", "fold", "sum_to_size", "dropout",
    "max_unpool2d", "embedding", "embedding_bag", "rows", "segment_sum", "index_add", "index_copy",
    "index_fill", "masked_scatter", "flip", "tril", "extreme_along", "pack_padded_sequence",
    "pad_packed_sequence", "diagonal",
}  # fmt: skip
# Sums of products and windows: an infinite or NaN operand reaches what its own families' cases say.
PRODUCTS = {
    "conv", "conv_transpose", "conv_weight", "matmul", "linear", "interpolate", "bias_activation",
    "max_pool1d", "max_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "avg_pool1d",
    "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "scaled_dot_product_attention",
    "rotary_embedding", "varlen_attn", "recurrent", "recurrent_part", "ctc_loss",
    "crf_log_likelihood", "cdist",
}  # fmt: skip
# Rows over their deviation: eps stands between them and 0 / 0; see tests/test_norm.py.
NORMS = {"batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm"}

# Of probabilities alone: test_binary_cross_entropy.
APART = {"binary_cross_entropy"}


def every_op():
    """The names of all ops that functional's modules define."""
    found = set()
    for module in pkgutil.walk_packages(F.__path__, "tilework.functional."):
        for value in vars(importlib.import_module(module.name)).values():
            values = value.values() if isinstance(value, dict) else (value,)
            found |= {v.name for v in values if isinstance(v, Op)}
    return found


def ops_under(y):
    """The names of the ops that made a tensor."""
    names, left = set(), [y]
    while left:
        t = left.pop()
        if t is not None and t._node is not None:
            names.add(t._node[0].name)
            left.extend(t._node[1])
    return names


def test_every_op_stands_in_a_table():
    x = tw.tensor([[1.0, 2.0, 0.5]], requires_grad=True)
    made = [f.call(x[0]) for f in UNARY.values()] + [r.call(x) for r in ROWS.values()]
    made += [p.call(x, x * 2) for p in PAIRS.values()]
    tried = set().union(*map(ops_under, made))
    missing = every_op() - tried - MOVING - PRODUCTS - NORMS - APART
    assert not missing, f"no table of this file has {sorted(missing)}"
