"""GPT-2 (Radford et al., "Language models are unsupervised multitask learners", 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tilework import functional as F
from tilework import nn
from tilework.models.activations import FUSED
from tilework.models.cache import Cache, KeyValueCache, attend, visible
from tilework.models.config import Config, check_ids, check_length
from tilework.tensor import Tensor


@dataclass(frozen=True)
class GPT2Config(Config):
    """The fields of GPT-2's config.json that shape the model.

    >>> GPT2Config.from_config({"n_layer": 2, "model_type": "gpt2"}).n_layer
    2
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    add_cross_attention: bool = False

    def check(self) -> None:
        """ValueError where the heads do not fit, or the model is another one."""
        self.divides("n_head", "n_embd")
        self.only("activation_function", *FUSED)
        self.only("scale_attn_by_inverse_layer_idx", False)
        self.only("add_cross_attention", False)


class _Conv1D(nn.Module):
    """A linear map whose weight is (inputs, outputs), as the published weights have it."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.empty(inputs, outputs))
        self.bias = nn.Parameter(F.zeros(outputs))

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:
        return F.linear(x, self.weight.t(), self.bias, activation=activation)


class _Attention(nn.Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.heads = config.n_head
        self.dropout = config.attn_pdrop
        self.scale = None if config.scale_attn_weights else 1.0
        self.c_attn = _Conv1D(3 * config.n_embd, config.n_embd)
        self.c_proj = _Conv1D(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
        batch, length, width = x.shape
        parts = self.c_attn(x).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        rate = self.dropout if self.training else 0.0
        y = attend(q, k, v, mask, cache, dropout_p=rate, scale=self.scale)
        y = y.transpose(1, 2).reshape(batch, length, width)
        result: Tensor = self.resid_dropout(self.c_proj(y))
        return result


class _MLP(nn.Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.c_fc = _Conv1D(inner, config.n_embd)
        self.c_proj = _Conv1D(config.n_embd, inner)
        self.activation = FUSED[config.activation_function]
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.c_proj(self.c_fc(x, self.activation)))
        return result


class _Block(nn.Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.attn = _Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.mlp = _MLP(config)

    def forward(self, x: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
        y: Tensor
        y, x = self.ln_2(self.attn(self.ln_1(x), mask, cache), residual=x)
        y = self.mlp(y)
        return x + y


class GPT2Model(nn.Module):
    """GPT-2 without its head: token ids (N, S) to (N, S, n_embd).

    >>> config = GPT2Config(vocab_size=5, n_positions=8, n_embd=4, n_layer=1, n_head=2)
    >>> GPT2Model(config)(tw.tensor([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList([_Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        spread = self.config.initializer_range
        if isinstance(module, (_Conv1D, nn.Embedding)):
            nn.init.normal_(module.weight, 0.0, spread)
        if isinstance(module, (_Attention, _MLP)):  # so that the sum over layers does not grow
            nn.init.normal_(module.c_proj.weight, 0.0, spread / (2 * self.config.n_layer) ** 0.5)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        cache: Cache | None = None,
    ) -> Tensor:
        """input_ids (N, S); attention_mask (N, S and what the cache has), 0 for padding;
        position_ids (N, S) or (S,). ValueError beyond n_positions, IndexError on unknown tokens."""
        check_ids("GPT2Model", input_ids, self.config.vocab_size)
        before, new = 0 if cache is None else len(cache), input_ids.shape[1]
        check_length("GPT2Model", before + new, self.config.n_positions)
        if position_ids is None:
            position_ids = F.arange(new) if cache is None else cache.positions(new)
            position_ids = position_ids.to(input_ids.device)
        x = self.drop(self.wte(input_ids) + self.wpe(position_ids))
        if cache is None:
            mask = visible(0, new, attention_mask)
        else:
            mask = cache.visible(new, attention_mask, None)
        for i, block in enumerate(self.h):
            x = block(x, mask, None if cache is None else cache.layers[i])
        result: Tensor = self.ln_f(x)
        return result


class GPT2LMHeadModel(nn.Module):
    """GPT-2 as a language model: token ids (N, S) to scores (N, S, vocab_size) of the next token.

    The state's names and shapes are Hugging Face's, so that a published state loads as it is but
    for the head, which is the embedding's table: models.from_pretrained sees to that.

    >>> config = GPT2Config(vocab_size=5, n_positions=8, n_embd=4, n_layer=1, n_head=2)
    >>> GPT2LMHeadModel(config)(tw.tensor([[1, 2, 3]])).shape
    (1, 3, 5)
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = GPT2Model(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        nn.init.normal_(self.lm_head.weight, 0.0, config.initializer_range)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight

    def new_cache(self) -> KeyValueCache:
        """An empty cache for `cache=`."""
        return KeyValueCache(self.config.n_layer)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        cache: Cache | None = None,
        logits_to_keep: int = 0,
    ) -> Tensor:
        """As GPT2Model; `logits_to_keep` n gives the scores after the last n tokens alone."""
        x = self.transformer(input_ids, attention_mask, position_ids, cache=cache)
        result: Tensor = self.lm_head(x[:, -logits_to_keep:])  # -0: all
        return result
