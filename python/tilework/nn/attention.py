"""Multi-head attention."""

from __future__ import annotations

from typing import Any

from tilework import functional as F
from tilework.arrays import namespace
from tilework.dtypes import bool as bool_
from tilework.dtypes import float32
from tilework.errors import error
from tilework.functional.attention import weights_under
from tilework.nn import init
from tilework.nn.linear import Linear
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor, fresh


class MultiheadAttention(Module):
    """Attention of `num_heads` heads between what linear maps make of query, key and value.

    Arguments, parameters and their names are PyTorch's: inputs are (L, N, E), (S, N, kdim) and
    (S, N, vdim), or with `batch_first` (N, L, E) and so on, or without N. A row to which all is
    hidden attends to nothing, in every mode: what is left is the output projection's bias. Vaswani
    et al., "Attention is all you need", 2017.

    >>> layer = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = tw.ones(3, 5, 8)
    >>> [y.shape for y in layer(x, x, x)]
    [(3, 5, 8), (3, 5, 5)]
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise error(
                ValueError, "MultiheadAttention", "embed_dim that num_heads divides",
                f"{embed_dim} and {num_heads}", "choose a multiple",
            )  # fmt: skip
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        alike = self.kdim == embed_dim == self.vdim
        for name, rows, cols in (
            ("in_proj_weight", 3 * embed_dim, embed_dim if alike else None),
            ("q_proj_weight", embed_dim, None if alike else embed_dim),
            ("k_proj_weight", embed_dim, None if alike else self.kdim),
            ("v_proj_weight", embed_dim, None if alike else self.vdim),
        ):
            made = None if cols is None else Parameter(F.empty(rows, cols, dtype=dtype))
            self.register_parameter(name, made)
        self.register_parameter(
            "in_proj_bias", Parameter(F.empty(3 * embed_dim, dtype=dtype)) if bias else None
        )
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        for name in ("bias_k", "bias_v"):
            made = Parameter(F.empty(1, 1, embed_dim, dtype=dtype)) if add_bias_kv else None
            self.register_parameter(name, made)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (
            self.in_proj_weight,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
        ):
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for row in (self.bias_k, self.bias_v):
            if row is not None:
                init.xavier_normal_(row)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The result, in query's shape, and with `need_weights` the weights (N, L, S), or (N,
        heads, L, S) where they are not averaged.

        `key_padding_mask` (N, S) and `attn_mask` (L, S) or (N * heads, L, S): bools hide where they
        are true, floats are added. `is_causal` hides later keys; beside an attn_mask it says that
        this is what the mask does. Without need_weights no scores are kept in memory.
        """
        batched = query.ndim == 3
        if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
            raise error(
                ValueError, "MultiheadAttention", "query, key and value of 3 axes, or of 2",
                f"{query.shape}, {key.shape}, {value.shape}", "add the axis of the batch",
            )  # fmt: skip
        q, k, v = self._projected(query, key, value)
        causal = attn_mask is None and is_causal
        more = self.bias_k is not None or self.add_zero_attn
        if causal and (need_weights or key_padding_mask is not None or more):
            xp = namespace(q._array)
            later = xp.arange(k.shape[2]) > xp.arange(q.shape[2])[:, None]
            attn_mask, causal = fresh(later), False
        mask = self._hidden(key_padding_mask, attn_mask, q, k)
        k, v, mask = self._with_more_keys(k, v, mask)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = F.dropout(weights_under(q, k, mask), p, self.training)
            heads = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            heads = F.scaled_dot_product_attention(q, k, v, mask, p, causal)
        return self.out_proj(self._joined(heads, batched)), weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """(N, heads, rows, head_dim) of each."""
        e = self.embed_dim
        if self.in_proj_weight is not None and query is key and key is value:
            joint = F.linear(query, self.in_proj_weight, self.in_proj_bias)
            return tuple(self._split(joint[..., i * e : (i + 1) * e]) for i in range(3))
        if self.in_proj_weight is not None:
            parts: tuple[Any, ...] = self.in_proj_weight.split(e)
        else:
            parts = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.split(e)
        return tuple(
            self._split(F.linear(x, w, b))
            for x, w, b in zip((query, key, value), parts, biases, strict=True)
        )

    def _split(self, x: Tensor) -> Tensor:
        heads = x.unflatten(-1, (self.num_heads, self.head_dim))
        if x.ndim == 2:
            return heads.transpose(0, 1).unsqueeze(0)
        return heads.transpose(1, 2) if self.batch_first else heads.permute(1, 2, 0, 3)

    def _joined(self, heads: Tensor, batched: bool) -> Tensor:
        if not batched:
            return heads.squeeze(0).transpose(0, 1).flatten(1)
        if self.batch_first:
            return heads.transpose(1, 2).flatten(2)
        return heads.permute(2, 0, 1, 3).flatten(2)

    def _hidden(
        self, padding: Tensor | None, mask: Tensor | None, q: Tensor, k: Tensor
    ) -> Tensor | None:
        """What F.scaled_dot_product_attention takes for both masks."""
        batch, heads, queries, _ = q.shape
        keys = k.shape[2]
        if mask is not None:
            wanted = ((queries, keys), (batch * heads, queries, keys))
            if mask.shape not in wanted:
                raise error(
                    ValueError, "MultiheadAttention", f"attn_mask {wanted[0]} or {wanted[1]}",
                    mask.shape, "its last axes are those of queries and keys",
                )  # fmt: skip
            mask = mask if mask.ndim == 2 else mask.reshape(batch, heads, queries, keys)
        if padding is not None:
            if padding.ndim == 1:
                padding = padding.unsqueeze(0)
            if padding.shape != (batch, keys):
                raise error(
                    ValueError, "MultiheadAttention", f"key_padding_mask {(batch, keys)}",
                    padding.shape, "one value for each key",
                )  # fmt: skip
            padding = padding.reshape(batch, 1, 1, keys)
        given = [m for m in (mask, padding) if m is not None]
        if not given:
            return None
        if all(m.dtype is bool_ for m in given):
            either = given[0] if len(given) == 1 else F.logical_or(*given)
            return F.logical_not(either)
        total = None
        for m in given:
            if m.dtype is bool_:
                m = F.where(m, -float("inf"), q.new_zeros(()))
            total = m if total is None else total + m
        return total

    def _with_more_keys(
        self, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """With the learned key and value, and with zeros, that every query may see."""
        more: list[tuple[Tensor, Tensor]] = []
        batch, heads, _, width = k.shape
        if self.bias_k is not None and self.bias_v is not None:
            rows = [x.reshape(1, heads, 1, width).expand(batch, heads, 1, width)
                    for x in (self.bias_k, self.bias_v)]  # fmt: skip
            more.append((rows[0], rows[1]))
        if self.add_zero_attn:
            zero = k.new_zeros(batch, heads, 1, width)
            more.append((zero, zero))
        if not more:
            return k, v, mask
        k = F.cat([k, *(a for a, _ in more)], 2)
        v = F.cat([v, *(b for _, b in more)], 2)
        if mask is not None:
            seen = mask.new_full((*mask.shape[:-1], len(more)), mask.dtype is bool_)
            mask = F.cat([mask, seen], -1)
        return k, v, mask
