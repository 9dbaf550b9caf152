"""T5 (Raffel et al., "Exploring the limits of transfer learning", 2019), and T5 1.1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilework import functional as F
from tilework import nn
from tilework.models.activations import FUSED, GATES
from tilework.models.cache import KeyValueCache, KeyValues
from tilework.models.config import Config, check_ids
from tilework.tensor import Tensor


@dataclass(frozen=True)
class T5Config(Config):
    """The fields of T5's config.json that shape the model.

    What comes to a tied head is scaled down, as T5 1.0 has it, unless `scale_decoder_outputs` says
    otherwise.

    >>> T5Config.from_config({"feed_forward_proj": "gated-gelu", "num_layers": 2}).gated
    True
    """

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: str = "relu"
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool | None = None
    decoder_start_token_id: int = 0

    def check(self) -> None:
        """ValueError where the model is another one."""
        self.only("feed_forward_proj", *FUSED, *(f"gated-{name}" for name in GATES))

    @property
    def scaled(self) -> bool:
        """Whether what comes to the head is scaled by d_model**-0.5."""
        given = self.scale_decoder_outputs
        return self.tie_word_embeddings if given is None else given

    @property
    def gated(self) -> bool:
        """Whether the feed-forward nets have a gate, as in T5 1.1."""
        return self.feed_forward_proj.startswith("gated-")

    @property
    def activation(self) -> str:
        """The activation's name; with "gated-gelu" it is the approximation by tanh."""
        name = self.feed_forward_proj.removeprefix("gated-")
        return "gelu_new" if self.feed_forward_proj == "gated-gelu" else name


def _buckets(offset: Any, both_sides: bool, count: int, furthest: int) -> Any:
    """The bucket of each distance key - query: one a distance up to half of the buckets, beyond
    that ever wider ones, the last from `furthest` on."""
    first = np.zeros_like(offset)
    if both_sides:
        count //= 2
        first = np.where(offset > 0, count, 0)
        away = np.abs(offset)
    else:
        away = np.maximum(-offset, 0)
    exact = count // 2
    steps = np.log(np.maximum(away, 1).astype(np.float32) / np.float32(exact))
    far = exact + (steps / math.log(furthest / exact) * (count - exact)).astype(np.int64)
    return first + np.where(away < exact, away, np.minimum(far, count - 1))


class _Attention(nn.Module):
    def __init__(self, config: T5Config, both_sides: bool, has_bias: bool) -> None:
        super().__init__()
        self.heads, self.rate, self.both_sides = config.num_heads, config.dropout_rate, both_sides
        self.buckets = config.relative_attention_num_buckets
        self.furthest = config.relative_attention_max_distance
        inner = config.num_heads * config.d_kv
        self.q = nn.Linear(config.d_model, inner, bias=False)
        self.k = nn.Linear(config.d_model, inner, bias=False)
        self.v = nn.Linear(config.d_model, inner, bias=False)
        self.o = nn.Linear(inner, config.d_model, bias=False)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(self.buckets, config.num_heads)

    def bias(self, before: int, new: int) -> Tensor:
        """What is added to the scores of `new` queries after `before` others, (1, heads, new,
        before + new)."""
        offset = np.arange(before + new) - np.arange(before, before + new)[:, None]
        index = F.from_numpy(_buckets(offset, self.both_sides, self.buckets, self.furthest))
        index = index.to(self.relative_attention_bias.weight.device)
        result: Tensor = self.relative_attention_bias(index).permute(2, 0, 1).unsqueeze(0)
        return result

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: KeyValues | None, memory: Tensor | None = None
    ) -> Tensor:
        """Attends to x, or to an encoder's memory, whose keys are computed once a cache."""
        q = self._heads(self.q(x))
        if memory is not None and cache is not None and len(cache):
            k, v = cache.get()
        else:
            source = x if memory is None else memory
            k, v = self._heads(self.k(source)), self._heads(self.v(source))
            if cache is not None and memory is not None:
                cache.set(k, v)
            elif cache is not None:
                k, v = cache.append(k, v)
        y = F.scaled_dot_product_attention(
            q, k, v, mask, self.rate if self.training else 0.0, scale=1.0
        )
        result: Tensor = self.o(y.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))
        return result


class _SelfLayer(nn.Module):
    def __init__(self, config: T5Config, both_sides: bool, has_bias: bool) -> None:
        super().__init__()
        self.SelfAttention = _Attention(config, both_sides, has_bias)
        self.layer_norm = nn.RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: Tensor, mask: Tensor, cache: KeyValues | None) -> Tensor:
        y: Tensor = self.dropout(self.SelfAttention(self.layer_norm(x), mask, cache))
        return x + y


class _CrossLayer(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.EncDecAttention = _Attention(config, True, False)
        self.layer_norm = nn.RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: KeyValues | None, memory: Tensor
    ) -> Tensor:
        y: Tensor = self.dropout(self.EncDecAttention(self.layer_norm(x), mask, cache, memory))
        return x + y


class _Dense(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.gated, self.activation = config.gated, FUSED[config.activation]
        self.gate = GATES[config.activation]
        if config.gated:
            self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
            self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        else:
            self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        if self.gated:
            hidden = self.gate(self.wi_0(x), self.wi_1(x))
        else:
            hidden = self.wi(x, activation=self.activation)
        result: Tensor = self.wo(self.dropout(hidden))
        return result


class _FeedLayer(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.DenseReluDense = _Dense(config)
        self.layer_norm = nn.RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(self.DenseReluDense(self.layer_norm(x)))
        return x + y


class _Block(nn.Module):
    def __init__(self, config: T5Config, decoder: bool, has_bias: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [_SelfLayer(config, not decoder, has_bias)]
        if decoder:
            layers.append(_CrossLayer(config))
        self.layer = nn.ModuleList([*layers, _FeedLayer(config)])

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        cache: KeyValues | None,
        memory: Tensor | None,
        across: tuple[Tensor | None, KeyValues | None],
    ) -> Tensor:
        """`across` are the memory's mask and cache."""
        x = self.layer[0](x, mask, cache)
        if memory is not None:
            x = self.layer[1](x, *across, memory)
        result: Tensor = self.layer[-1](x)
        return result


class _Stack(nn.Module):
    """The blocks of the encoder or the decoder; the first one's table of biases serves all."""

    def __init__(self, config: T5Config, shared: nn.Embedding, decoder: bool) -> None:
        super().__init__()
        count = config.num_decoder_layers if decoder else None
        count = config.num_layers if count is None else count
        self.embed_tokens = shared
        self.block = nn.ModuleList([_Block(config, decoder, i == 0) for i in range(count)])
        self.final_layer_norm = nn.RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.decoder = decoder

    def forward(
        self,
        ids: Tensor,
        padding: Tensor | None,
        memory: Tensor | None = None,
        memory_padding: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        before, new = 0 if cache is None else len(cache), ids.shape[1]
        x = self.dropout(self.embed_tokens(ids))
        first: Any = self.block[0]
        mask = first.layer[0].SelfAttention.bias(before, new)
        if self.decoder:
            at = F.arange(before + new, device=ids.device)
            later = at > at[before:].reshape(new, 1)
            mask = mask.masked_fill(later, -math.inf)
        if padding is not None:
            mask = mask.masked_fill((padding == 0).unsqueeze(1).unsqueeze(1), -math.inf)
        across = None
        if memory_padding is not None:
            across = (memory_padding != 0).unsqueeze(1).unsqueeze(1)
        for i, block in enumerate(self.block):
            own, other = (None, None) if cache is None else (cache.layers[i], cache.cross[i])
            x = block(x, mask, own, memory, (across, other))
        result: Tensor = self.dropout(self.final_layer_norm(x))
        return result


class T5ForConditionalGeneration(nn.Module):
    """T5: token ids (N, S) of a text and (N, T) of its answer so far to scores (N, T, vocab_size)
    of the answer's next token.

    The state's names and shapes are Hugging Face's. The answer begins with
    `config.decoder_start_token_id`.

    >>> config = T5Config(7, d_model=4, d_kv=2, d_ff=8, num_layers=1, num_heads=2)
    >>> T5ForConditionalGeneration(config)(tw.tensor([[1, 2, 3]]), tw.tensor([[0, 4]])).shape
    (1, 2, 7)
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = _Stack(config, self.shared, False)
        self.decoder = _Stack(config, self.shared, True)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.apply(self._initialise)
        nn.init.normal_(self.shared.weight, 0.0, config.initializer_factor)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.shared.weight

    def _initialise(self, module: nn.Module) -> None:
        """By the paper's code: each map keeps the size of what passes, scores need no scale."""
        factor, config = self.config.initializer_factor, self.config
        if isinstance(module, _Attention):
            inner = config.num_heads * config.d_kv
            nn.init.normal_(module.q.weight, 0.0, factor * (config.d_model * config.d_kv) ** -0.5)
            nn.init.normal_(module.k.weight, 0.0, factor * config.d_model**-0.5)
            nn.init.normal_(module.v.weight, 0.0, factor * config.d_model**-0.5)
            nn.init.normal_(module.o.weight, 0.0, factor * inner**-0.5)
        if isinstance(module, _Dense):
            for name, linear in module.named_children():
                if isinstance(linear, nn.Linear):
                    width = config.d_ff if name == "wo" else config.d_model
                    nn.init.normal_(linear.weight, 0.0, factor * width**-0.5)

    def new_cache(self) -> KeyValueCache:
        """An empty cache for `cache=`."""
        return KeyValueCache(len(self.decoder.block))

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The encoder's memory (N, S, d_model) of a text (N, S). IndexError on unknown tokens."""
        check_ids("T5ForConditionalGeneration", input_ids, self.config.vocab_size)
        result: Tensor = self.encoder(input_ids, attention_mask)
        return result

    def decode(
        self,
        decoder_input_ids: Tensor,
        memory: Tensor,
        attention_mask: Tensor | None = None,
        *,
        cache: KeyValueCache | None = None,
        logits_to_keep: int = 0,
    ) -> Tensor:
        """Scores (N, T, vocab_size) of the answer's tokens (N, T); attention_mask is the text's. A
        cache keeps the memory's keys too; logits_to_keep n gives the last n scores alone."""
        check_ids("T5ForConditionalGeneration", decoder_input_ids, self.config.vocab_size)
        x = self.decoder(decoder_input_ids, None, memory, attention_mask, cache)
        x = x[:, -logits_to_keep:]  # -0: all
        if self.config.scaled:
            x = x * self.config.d_model**-0.5
        result: Tensor = self.lm_head(x)
        return result

    def forward(
        self,
        input_ids: Tensor,
        decoder_input_ids: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """input_ids and attention_mask (0 for padding) (N, S), decoder_input_ids (N, T)."""
        memory = self.encode(input_ids, attention_mask)
        return self.decode(decoder_input_ids, memory, attention_mask)
