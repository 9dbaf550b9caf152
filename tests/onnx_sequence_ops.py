"""ONNX operators of sequences: attention, rotary positions, writing by an index."""

import numpy as np

import tilework as tw
from tilework import functional as F


def _heads(x, count):
    """(B, S, H * D) as (B, H, S, D)."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def _seen(attributes, shape, past, lengths):
    """Which scores (B, H, L, S) causality, the window and the lengths of caches leave."""
    batch, _, queries, keys = shape
    i, j = np.arange(queries)[:, None], np.arange(keys)
    offset = np.full((batch, 1, 1, 1), past)
    seen = np.ones((batch, 1, queries, keys), bool)
    if lengths is not None:
        n = lengths.numpy().reshape(-1, 1, 1, 1)
        seen &= j < n
        offset = n - queries
    away = j - i - offset
    if attributes.get("is_causal"):
        seen &= away <= 0
    left, right = (attributes.get(f"{side}_window_size", -1) for side in ("left", "right"))
    if left >= 0:
        seen &= away >= -left
    if right >= 0:
        seen &= away <= right
    return seen


def _whole_mask(mask, seen, shape):
    """One mask of numbers, hidden where either hides."""
    added = np.where(seen, np.float32(0), np.float32(-np.inf))
    if mask is None:
        return added
    given = mask.numpy()
    if given.dtype == bool:
        given = np.where(given, np.float32(0), np.float32(-np.inf))
    if given.shape[-1] < shape[-1]:  # what a mask does not reach is hidden
        more = np.full((*given.shape[:-1], shape[-1] - given.shape[-1]), -np.inf, given.dtype)
        given = np.concatenate([given, more], -1)
    return np.where(seen, np.broadcast_to(given, np.broadcast_shapes(given.shape, shape)), -np.inf)


def attention(attributes, q, k, v, mask=None, past_key=None, past_value=None, lengths=None):
    flat = q.ndim == 3
    if flat:
        q = _heads(q, attributes["q_num_heads"])
        k, v = (_heads(x, attributes["kv_num_heads"]) for x in (k, v))
    past = 0
    if past_key is not None:
        past = past_key.shape[2]
        k, v = tw.cat([past_key, k], 2), tw.cat([past_value, v], 2)
    shape = (*q.shape[:3], k.shape[2])
    seen = _seen(attributes, shape, past, lengths)
    scale = attributes.get("scale", q.shape[-1] ** -0.5)
    softcap = attributes.get("softcap", 0.0)
    how = {"scale": scale, "softcap": softcap, "enable_gqa": True}
    if seen.all() and mask is None:
        y = F.scaled_dot_product_attention(q, k, v, **how)
    else:
        whole = _whole_mask(mask, seen, shape).astype(np.float32)
        y = F.scaled_dot_product_attention(q, k, v, tw.tensor(whole).to(q.dtype), **how)
    if flat:
        y = y.transpose(1, 2).flatten(2)
    outputs = (y, k, v)
    if attributes["outputs"] > 3:
        stage = attributes.get("qk_matmul_output_mode", 0)
        outputs += (_scores(q, k, mask, seen, scale, softcap, stage),)
    return outputs


def _scores(q, k, mask, seen, scale, softcap, stage):
    """What the standard lets one look at: the products, capped, with the mask, or the weights."""
    k = k.unsqueeze(2).expand(*k.shape[:2], q.shape[1] // k.shape[1], *k.shape[2:])
    s = q @ k.reshape(q.shape[0], q.shape[1], *k.shape[3:]).transpose(-1, -2) * scale
    if stage == 0:
        return s
    s = (s / softcap).tanh() * softcap if softcap else s
    if stage == 1:
        return s
    s = s + tw.tensor(_whole_mask(mask, seen, s.shape).astype(np.float32)).to(s.dtype)
    if stage == 2:
        return s
    hidden = tw.isinf(s)
    dead = hidden.all(-1, keepdim=True)
    return tw.where(hidden, 0.0, F.softmax(tw.where(dead, 0.0, s), -1))


def rotary(attributes, x, cos, sin, positions=None):
    flat = x.ndim == 3
    if flat:
        x = _heads(x, attributes["num_heads"])
    if positions is None:  # the tables are (B, S, R)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    width = attributes.get("rotary_embedding_dim", 0) // 2 or cos.shape[-1]
    y = F.rotary_embedding(
        x, cos[..., :width], sin[..., :width], positions,
        interleaved=bool(attributes.get("interleaved", 0)),
    )  # fmt: skip
    return y.transpose(1, 2).flatten(2) if flat else y


REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter_elements(attributes, x, index, updates):
    axis = attributes.get("axis", 0)
    index = index.where(index >= 0, index + x.shape[axis])
    how = attributes.get("reduction", b"none").decode()
    if how == "none":
        return tw.scatter(x, axis, index, updates)
    return tw.scatter_reduce(x, axis, index, updates, REDUCTIONS[how])


def _places(x, index):
    """Of an index whose last axis names places along x's first ones: their numbers in flat rows."""
    depth = index.shape[-1]
    flat = tw.zeros(*index.shape[:-1], dtype=tw.int64)
    for d in range(depth):
        i = index[..., d]
        flat = flat * x.shape[d] + i.where(i >= 0, i + x.shape[d])
    return flat.reshape(-1), x.shape[:depth], x.shape[depth:]


def scatter_nd(attributes, x, index, updates):
    at, _, rest = _places(x, index)
    rows, given = x.reshape(-1, *rest), updates.reshape(len(at), *rest)
    how = attributes.get("reduction", b"none").decode()
    if how == "none":
        return tw.index_copy(rows, 0, at, given).reshape(x.shape)
    spread = at.reshape(-1, *(1,) * len(rest)).expand(given.shape)
    return tw.scatter_reduce(rows, 0, spread, given, REDUCTIONS[how]).reshape(x.shape)


def gather_nd(attributes, x, index):
    batch = attributes.get("batch_dims", 0)
    if batch:
        pairs = zip(x.reshape(-1, *x.shape[batch:]), index.reshape(-1, *index.shape[batch:]),
                    strict=True)  # fmt: skip
        found = tw.stack([gather_nd({}, a, i) for a, i in pairs])
        return found.reshape(*x.shape[:batch], *found.shape[1:])
    at, _, rest = _places(x, index)
    return x.reshape(-1, *rest).index_select(0, at).reshape(*index.shape[:-1], *rest)


SEQUENCE_OPS = {
    "Attention": attention,
    "GatherND": gather_nd,
    "RotaryEmbedding": rotary,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
}
