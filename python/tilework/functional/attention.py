"""Attention: softmax(Q K^T) V, head by head, in memory that grows with the rows alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import autocasting, dtypes
from tilework.arrays import as_array, broadcast_shapes, namespace
from tilework.autograd import Op, gradients_through, mode, recorded
from tilework.dtypes import float32, float64
from tilework.engines import ops
from tilework.engines.score_rule import UNBOUNDED, ScoreRule
from tilework.errors import error
from tilework.functional.cast import cast
from tilework.functional.common import broadcasts, need_float, number, operand, whole
from tilework.functional.generator import next_call
from tilework.functional.lowering import lowered
from tilework.functional.masks import where
from tilework.functional.softmax import softmax
from tilework.storage import Storage
from tilework.tensor import Tensor, fresh, new_storage

_OP = "scaled_dot_product_attention"
_ALIGNMENTS = ("top_left", "bottom_right")


def _backward(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    q, k, v = (t._array for t in inputs[:3])
    out, log_sums, rule = saved
    return (*ops.attention_backward(grad, q, k, v, out, log_sums, *rule), None)


def _recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    rule = saved[2]
    return gradients_through(lambda q, k, v, bias: composed(q, k, v, rule, bias), inputs, grad)


_ATTENTION = Op(_OP, _backward, _recorded, rereads=True)


def _grouped(x: Tensor, kv_heads: int) -> Tensor:
    """(B, H, ...) as (B, G, H / G, ...)."""
    return x.reshape(x.shape[0], kv_heads, x.shape[1] // max(kv_heads, 1), *x.shape[2:])


def weights_of(q: Tensor, k: Tensor, rule: ScoreRule, bias: Tensor | None = None) -> Tensor:
    """The weights (B, H, L, S), all at once, by ops that each can be differentiated again."""
    batch, heads, queries, _ = q.shape
    kv_heads, keys = k.shape[1], k.shape[2]
    products = _grouped(q, kv_heads) @ _grouped(k, kv_heads).transpose(-1, -2)
    scores = products.reshape(batch, heads, queries, keys) * rule.scale
    if rule.softcap:
        scores = (scores / rule.softcap).tanh() * rule.softcap
    xp = namespace(q._array)
    away = xp.arange(keys) - xp.arange(queries)[:, None] - rule.diagonal
    if rule.slopes is not None:
        scores = scores + fresh((rule.slopes[:, None, None] * away).astype(scores.dtype))
    hidden = (away < -rule.left) | (away > rule.right)
    if rule.bias is not None:
        hidden = hidden | (rule.bias == -math.inf)
        added = fresh(rule.bias.astype(scores.dtype)) if bias is None else bias
        scores = scores + where(fresh(hidden), 0.0, added)
    hidden = xp.broadcast_to(hidden, scores.shape)
    alone = hidden & ~hidden.all(axis=-1, keepdims=True)
    weights = softmax(where(fresh(alone), -math.inf, scores), -1)
    result: Tensor = where(fresh(hidden.copy()), 0.0, weights)
    return result


def composed(
    q: Tensor, k: Tensor, v: Tensor, rule: ScoreRule, bias: Tensor | None = None
) -> Tensor:
    """Attention by way of its weights: of bfloat16 in float32, rounded once."""
    dtype = q.dtype
    q, k, v = (cast(t, float32 if dtype is dtypes.bfloat16 else dtype) for t in (q, k, v))
    weights = weights_of(q, k, rule, bias)
    if rule.p:
        kept = namespace(q._array).ones(weights.shape, dtype=weights.dtype)
        weights = weights * fresh(ops.dropout_forward(kept, rule.p, rule.seed, rule.call))
    groups = k.shape[1]
    y = _grouped(weights, groups) @ _grouped(v, groups)
    return cast(y.reshape(*q.shape[:3], v.shape[3]), dtype)


def _four(x: Tensor) -> Tensor:
    """(..., H, L, E) as (B, H, L, E)."""
    if x.ndim == 4:
        return x
    if x.ndim < 4:
        return x.reshape((1,) * (4 - x.ndim) + x.shape)
    return x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])


def _together(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Their leading axes, all but the last three, broadcast."""
    leading = [t.shape[:-3] for t in tensors]
    if all(shape == leading[0] for shape in leading):
        return tensors
    if not broadcasts(*leading):
        raise error(
            ValueError, _OP, "leading axes that broadcast",
            ", ".join(str(t.shape) for t in tensors), "make them equal, or 1",
        )  # fmt: skip
    whole_shape = broadcast_shapes(*leading)
    return tuple(t.expand(*whole_shape, *t.shape[-3:]) for t in tensors)


def _bias_of(mask: Tensor, q: Tensor, shape: tuple[int, ...]) -> tuple[Any, Tensor | None]:
    """A mask as what is added to scores of `shape`, (..., H, L, S): an array that broadcasts to
    four axes, and a tensor of it."""
    if mask.dtype is not dtypes.bool and mask.dtype not in (q.dtype, float32):
        raise error(
            TypeError, _OP, f"attn_mask of bools, of {q.dtype}, or of float32", mask.dtype,
            "convert it with .to()",
        )  # fmt: skip
    if not broadcasts(mask.shape, shape) or broadcast_shapes(mask.shape, shape) != shape:
        raise error(
            ValueError, _OP, f"attn_mask that broadcasts to {shape}", mask.shape,
            "its last axes are those of queries and keys",
        )  # fmt: skip
    if mask.ndim > 4:
        mask = mask.expand(*shape[:-3], *mask.shape[-3:])
    mask = _four(mask)
    wide = float64 if q.dtype is float64 else float32
    if mask.dtype is dtypes.bool:
        seen = namespace(mask._array).where(mask._array, wide.type(0), wide.type(-math.inf))
        return as_array(seen), None
    return mask._array.astype(wide, copy=False), mask


def _reach(
    is_causal: bool, window: Any, alignment: str, queries: int, keys: int
) -> tuple[int, int, int]:
    """(diagonal, left, right): see csrc/kernels/attention/attention.h."""
    if alignment not in _ALIGNMENTS:
        raise error(
            ValueError, _OP, f"causal_alignment of {', '.join(_ALIGNMENTS)}", alignment, "name one"
        )
    left, right = UNBOUNDED, 0 if is_causal else UNBOUNDED
    if window is not None:
        left, before = sides(_OP, "window", window)
        right = min(right, before)
    return keys - queries if alignment == "bottom_right" else 0, left, right


def sides(op: str, name: str, window: Any) -> tuple[int, int]:
    """A window (left, right) in keys, -1 for no bound."""
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise error(
            TypeError, op, f"{name} as (left, right)", window, "-1 leaves a side without bound"
        )
    left, right = (whole(op, name, w) for w in window)
    if min(left, right) < -1:
        raise error(ValueError, op, f"{name} of at least -1 a side", window, "-1 is without bound")
    left, right = (UNBOUNDED if w == -1 else min(w, UNBOUNDED) for w in (left, right))
    return left, right


def slopes_of(op: str, alibi_slopes: Tensor | None, heads: int, dtype: Any) -> Any:
    """ALiBi's slopes as an array of what `dtype` is computed in."""
    if alibi_slopes is None:
        return None
    slopes = operand(alibi_slopes, op, "alibi_slopes")
    if slopes.shape != (heads,) or slopes._requires_grad:
        raise error(
            ValueError, op, f"alibi_slopes ({heads},), one a head, without gradient",
            f"{slopes.shape}, requires_grad={slopes._requires_grad}",
            "slice or detach them; a bias that learns is an attn_mask",
        )  # fmt: skip
    return slopes._array.astype(float64 if dtype is float64 else float32)


def check_dtypes(op: str, q: Tensor, k: Tensor, v: Tensor) -> None:
    """TypeError where key or value is of another dtype than query."""
    for name, x in (("key", k), ("value", v)):
        if x.dtype is not q.dtype:
            raise error(
                TypeError, op, f"{name} of query's dtype, {q.dtype}", x.dtype,
                "convert one with x.to(other.dtype)",
            )  # fmt: skip


def _check_heads(q: Tensor, k: Tensor, v: Tensor, enable_gqa: bool) -> None:
    check_dtypes(_OP, q, k, v)
    heads, kv_heads = q.shape[1], k.shape[1]
    # One head of keys is broadcast, grouped or not.
    fits = heads == kv_heads or kv_heads == 1
    fits = fits or (enable_gqa and kv_heads > 0 and heads % kv_heads == 0)
    if not fits or v.shape[1] != kv_heads or q.shape[3] != k.shape[3] or k.shape[2] != v.shape[2]:
        fix = (
            "each head of keys serves a whole number of query heads"
            if enable_gqa
            else "pass enable_gqa=True where one head of keys serves several of queries"
        )
        raise error(
            ValueError, _OP, "query (..., H, L, E), key (..., H, S, E) and value (..., H, S, V)",
            ", ".join(str(t.shape) for t in (q, k, v)), fix,
        )  # fmt: skip


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    causal_alignment: str = "top_left",
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value, for each head.

    query (..., H, L, E), key (..., H, S, E), value (..., H, S, V); the result is (..., H, L, V).
    Leading axes broadcast. With `enable_gqa` key and value may have fewer heads, each of which
    serves a run of query heads. `scale` is 1 / sqrt(E) where it is None.

    `attn_mask` broadcasts to (..., H, L, S), and is never expanded: bools say what takes part,
    floats are added. `is_causal` hides key j from query i where j > i; with
    causal_alignment="bottom_right" the last query stands beside the last key, as in a decoding
    step. `window` = (left, right) hides keys farther than that on either side, -1 for no bound.
    `softcap` c makes scores c * tanh(score / c). `alibi_slopes` (H,) add slope * (j - i).
    `dropout_p` zeroes weights, also outside of training, as in PyTorch.

    A score that is hidden has no part in the result, whatever stands there, NaN included; where a
    query sees nothing the result and its gradients are zero. Scores are in memory by blocks only.
    bfloat16 is computed in float32, and rounded once.

    TypeError on integers and on dtypes that differ; ValueError where shapes disagree, and on
    attn_mask beside is_causal. Vaswani et al., "Attention is all you need", 2017; Dao et al.,
    "FlashAttention", 2022; Press et al., "Train short, test long" (ALiBi), 2021.

    >>> x = tw.ones(1, 2, 3)
    >>> F.scaled_dot_product_attention(x, x, x, is_causal=True).shape
    (1, 2, 3)
    """
    given = tuple(
        operand(x, _OP, name) for name, x in (("query", query), ("key", key), ("value", value))
    )
    if autocasting.active:
        given, (attn_mask,) = lowered(*given), lowered(attn_mask)
    need_float(_OP, given[0])
    for x in given:
        if x.ndim < 2:
            raise error(ValueError, _OP, "at least two axes each", x.shape, "add an axis of heads")
    if attn_mask is not None and is_causal:
        raise error(
            ValueError, _OP, "attn_mask or is_causal", "both", "hide the later keys in the mask"
        )
    if not 0.0 <= dropout_p <= 1.0:
        raise error(ValueError, _OP, "dropout_p in [0, 1]", dropout_p, "it is a probability")
    rank = max(x.ndim for x in given)
    if any(x.ndim != max(rank, 3) for x in given):
        given = tuple(x.reshape((1,) * (max(rank, 3) - x.ndim) + x.shape) for x in given)
    given = _together(*given)
    outer = given[0].shape[:-3]
    q, k, v = (_four(x) for x in given)
    _check_heads(q, k, v, enable_gqa)
    queries, keys = q.shape[2], k.shape[2]
    bias, bias_tensor = None, None
    if attn_mask is not None:
        mask = operand(attn_mask, _OP, "attn_mask")
        bias, bias_tensor = _bias_of(mask, q, (*outer, q.shape[1], queries, keys))
    if scale is None:
        scale = 1.0 / math.sqrt(max(q.shape[3], 1))
    rule = ScoreRule(
        bias,
        number(_OP, "scale", scale),
        number(_OP, "softcap", softcap),
        slopes_of(_OP, alibi_slopes, q.shape[1], q.dtype),
        *_reach(is_causal, window, causal_alignment, queries, keys),
        float(dropout_p),
        *(next_call() if dropout_p else (0, 0)),
    )
    y = _attend(q, k, v, rule, bias_tensor)
    shape = (*outer, *y.shape[1:]) if rank >= 3 else y.shape[2:]
    return y if y.shape == shape else y.reshape(shape)


def _attend(q: Tensor, k: Tensor, v: Tensor, rule: ScoreRule, bias: Tensor | None) -> Tensor:
    if bias is not None and bias._requires_grad and mode.enabled:
        return composed(q, k, v, rule, bias)
    array, log_sums = ops.attention_forward(q._array, k._array, v._array, *rule)
    own = new_storage()
    if not (mode.enabled and (q._requires_grad or k._requires_grad or v._requires_grad)):
        return Tensor(array, own)
    reads: tuple[Storage, ...] = (q._storage, k._storage, v._storage, own)
    if bias is not None:
        reads = (*reads, bias._storage)
    return recorded(array, own, _ATTENTION, (q, k, v, bias), (array, log_sums, rule), reads)


def weights_under(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """The weights of (B, H, L, E) and (B, H, S, E) under a mask as scaled_dot_product_attention
    takes it."""
    bias, tensor = None, None
    if mask is not None:
        bias, tensor = _bias_of(mask, q, (*q.shape[:3], k.shape[2]))
    scale = 1.0 / math.sqrt(max(q.shape[3], 1))
    return weights_of(
        q, k, ScoreRule(bias, scale, 0.0, None, 0, UNBOUNDED, UNBOUNDED, 0.0, 0, 0), tensor
    )
