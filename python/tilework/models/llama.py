"""LLaMA (Touvron et al., 2023) and the decoders built like it: RMSNorm before each part, rotary
positions, a gated feed-forward net (SwiGLU), and key heads that serve several query heads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilework import functional as F
from tilework import nn
from tilework.models.activations import GATES
from tilework.models.cache import Cache, KeyValueCache, attend, visible
from tilework.models.config import Config, check_ids, check_length
from tilework.tensor import Tensor


@dataclass(frozen=True)
class LlamaConfig(Config):
    """The fields of LLaMA's config.json that shape the model.

    `num_key_value_heads` is num_attention_heads where it is None, `head_dim` likewise hidden_size /
    num_attention_heads. `rope_parameters` (Hugging Face's) may say rope_theta and rope_type; the
    types are "default", "linear" and "llama3". With `sliding_window` (Mistral's) a token sees
    so many, its own counted.

    >>> LlamaConfig.from_config({"hidden_size": 64, "num_attention_heads": 4}).head_size
    16
    """

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_parameters: Mapping[str, Any] | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    attention_dropout: float = 0.0
    tie_word_embeddings: bool = False
    sliding_window: int | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LlamaConfig:
        """As Config.from_config; `rope_scaling` is the old name of rope_parameters."""
        scaling = config.get("rope_parameters") or config.get("rope_scaling")
        return super().from_config({**config, "rope_parameters": scaling})

    def check(self) -> None:
        """ValueError where the heads do not fit, or the model is another one."""
        if self.head_dim is None:
            self.divides("num_attention_heads", "hidden_size")
        if self.num_key_value_heads is not None:
            self.divides("num_key_value_heads", "num_attention_heads")
        self.only("hidden_act", *GATES)
        if self.sliding_window is not None and self.sliding_window < 1:
            self.only("sliding_window", None, "a number of tokens")
        if self.rope_type not in ("default", "linear", "llama3"):
            self.only("rope_parameters", "rope_type of default, linear or llama3")

    @property
    def head_size(self) -> int:
        """The width of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def key_heads(self) -> int:
        """How many heads of keys and values there are."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def rope_type(self) -> str:
        """How the rotary frequencies are scaled."""
        given = self.rope_parameters or {}
        return str(given.get("rope_type", given.get("type", "default")))

    def frequencies(self) -> Any:
        """The angle of each pair of a head from one position to the next, a NumPy array."""
        given = self.rope_parameters or {}
        theta = float(given.get("rope_theta", self.rope_theta))
        angles = theta ** (-np.arange(0, self.head_size, 2) / self.head_size)
        if self.rope_type == "linear":
            angles = angles / given["factor"]
        if self.rope_type == "llama3":
            angles = _stretched(angles, given)
        return angles


def _stretched(angles: Any, given: Mapping[str, Any]) -> Any:
    """LLaMA 3.1: long wavelengths by the factor, short ones as they are, those between mixed."""
    low, high = given["low_freq_factor"], given["high_freq_factor"]
    turns = given["original_max_position_embeddings"] * angles / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return angles * (kept + (1.0 - kept) / given["factor"])


class _Attention(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.heads, self.key_heads = config.num_attention_heads, config.key_heads
        self.size, self.dropout = config.head_size, config.attention_dropout
        self.window = config.sliding_window
        inner, shared, bias = (
            self.heads * self.size,
            self.key_heads * self.size,
            config.attention_bias,
        )
        self.q_proj = nn.Linear(config.hidden_size, inner, bias)
        self.k_proj = nn.Linear(config.hidden_size, shared, bias)
        self.v_proj = nn.Linear(config.hidden_size, shared, bias)
        self.o_proj = nn.Linear(inner, config.hidden_size, bias)

    def forward(
        self, x: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor | None, cache: Any
    ) -> Tensor:
        batch, length, _ = x.shape

        def heads(projected: Tensor, count: int) -> Tensor:
            return projected.reshape(batch, length, count, self.size).transpose(1, 2)

        q = F.rotary_embedding(heads(self.q_proj(x), self.heads), *turns)
        k = F.rotary_embedding(heads(self.k_proj(x), self.key_heads), *turns)
        v = heads(self.v_proj(x), self.key_heads)
        y = attend(
            q, k, v, mask, cache, self.window, dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=self.heads != self.key_heads,
        )  # fmt: skip
        result: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))
        return result


class _MLP(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        wide, narrow, bias = config.intermediate_size, config.hidden_size, config.mlp_bias
        self.gate_proj = nn.Linear(narrow, wide, bias)
        self.up_proj = nn.Linear(narrow, wide, bias)
        self.down_proj = nn.Linear(wide, narrow, bias)
        self.gate = GATES[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down_proj(self.gate(self.gate_proj(x), self.up_proj(x)))
        return result


class _Layer(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.mlp = _MLP(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor | None, cache: Any
    ) -> Tensor:
        y: Tensor = self.self_attn(self.input_layernorm(x), turns, mask, cache)
        y, x = self.post_attention_layernorm(y, residual=x)
        y = self.mlp(y)
        return x + y


class LlamaModel(nn.Module):
    """The decoder without its head: token ids (N, S) to (N, S, hidden_size).

    >>> config = LlamaConfig(5, 8, 16, 1, 4, num_key_value_heads=2)
    >>> LlamaModel(config)(tw.tensor([[1, 2, 3]])).shape
    (1, 3, 8)
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([_Layer(config) for _ in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, 0.0, self.config.initializer_range)

    def _turns(self, positions: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the angles at positions (S,), or (N, 1, S), beside `x`."""
        angles = positions[..., None] * self.config.frequencies()
        cos, sin = (F.from_numpy(f(angles)).to(x) for f in (np.cos, np.sin))
        return cos, sin

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        cache: Cache | None = None,
    ) -> Tensor:
        """input_ids (N, S); attention_mask (N, S and what the cache has), 0 for padding;
        position_ids (N, S). ValueError beyond max_position_embeddings, IndexError on unknown
        tokens."""
        check_ids("LlamaModel", input_ids, self.config.vocab_size)
        before, new = 0 if cache is None else len(cache), input_ids.shape[1]
        check_length("LlamaModel", before + new, self.config.max_position_embeddings)
        x = self.embed_tokens(input_ids)
        window = self.config.sliding_window
        if cache is None:
            mask = visible(0, new, attention_mask, window)
        else:
            mask = cache.visible(new, attention_mask, window)
        if position_ids is None:
            position_ids = F.arange(new, device="cpu") if cache is None else cache.positions(new)
        places = position_ids.cpu().numpy()
        turns = self._turns(places if places.ndim == 1 else places[:, None], x)
        for i, layer in enumerate(self.layers):
            x = layer(x, turns, mask, None if cache is None else cache.layers[i])
        result: Tensor = self.norm(x)
        return result


class LlamaForCausalLM(nn.Module):
    """The decoder as a language model: token ids (N, S) to scores (N, S, vocab_size).

    The state's names and shapes are Hugging Face's.

    >>> config = LlamaConfig(5, 8, 16, 1, 4, num_key_value_heads=2)
    >>> LlamaForCausalLM(config)(tw.tensor([[1, 2, 3]])).shape
    (1, 3, 5)
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        nn.init.normal_(self.lm_head.weight, 0.0, config.initializer_range)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def new_cache(self) -> KeyValueCache:
        """An empty cache for `cache=`."""
        return KeyValueCache(self.config.num_hidden_layers, self.config.sliding_window)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        cache: Cache | None = None,
        logits_to_keep: int = 0,
    ) -> Tensor:
        """As LlamaModel; `logits_to_keep` n gives the scores after the last n tokens alone."""
        x = self.model(input_ids, attention_mask, position_ids, cache=cache)
        result: Tensor = self.lm_head(x[:, -logits_to_keep:])  # -0: all
        return result
