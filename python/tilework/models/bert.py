"""BERT (Devlin et al., "Pre-training of deep bidirectional transformers", 2018)."""

from __future__ import annotations

from dataclasses import dataclass

from tilework import functional as F
from tilework import nn
from tilework.models.activations import FUSED
from tilework.models.config import Config, check_ids, check_length
from tilework.tensor import Tensor


@dataclass(frozen=True)
class BertConfig(Config):
    """The fields of BERT's config.json that shape the model.

    >>> BertConfig.from_config({"num_hidden_layers": 2, "model_type": "bert"}).num_hidden_layers
    2
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    position_embedding_type: str = "absolute"
    is_decoder: bool = False

    def check(self) -> None:
        """ValueError where the heads do not fit, or the model is another one."""
        self.divides("num_attention_heads", "hidden_size")
        self.only("hidden_act", *FUSED)
        self.only("position_embedding_type", "absolute")
        self.only("is_decoder", False)


class _Embeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, ids: Tensor, types: Tensor | None) -> Tensor:
        places = F.arange(ids.shape[1], device=ids.device)
        x = self.word_embeddings(ids) + self.position_embeddings(places)
        if types is None:
            x = x + self.token_type_embeddings.weight[0]
        else:
            x = x + self.token_type_embeddings(types)
        result: Tensor = self.dropout(self.LayerNorm(x))
        return result


class _SelfAttention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads, self.rate = config.num_attention_heads, config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            linear(x).reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, mask, self.rate if self.training else 0.0)
        return y.transpose(1, 2).reshape(batch, length, width)


class _Output(nn.Module):
    """A linear map, and the norm of what it gives added to what was before."""

    def __init__(self, inputs: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        result: Tensor
        result, _ = self.LayerNorm(self.dropout(self.dense(x)), residual=before)
        return result


class _Attention(nn.Module):
    """Named as the published weights name its parts: self, output."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = _SelfAttention(config)
        self.output = _Output(config.hidden_size, config)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        result: Tensor = self.output(self.self(x, mask), x)
        return result


class _Intermediate(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = FUSED[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dense(x, activation=self.activation)
        return result


class _Layer(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.intermediate = _Intermediate(config)
        self.output = _Output(config.intermediate_size, config)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention(x, mask)
        result: Tensor = self.output(self.intermediate(x), x)
        return result


class _Encoder(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_Layer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layer:
            x = layer(x, mask)
        return x


class _Pooler(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(self.dense(x[:, 0]))


class BertModel(nn.Module):
    """BERT's encoder: token ids (N, S) to what it makes of each, (N, S, hidden_size).

    The state's names and shapes are Hugging Face's. `pool` gives the (N, hidden_size) that
    classifiers take, of the first token; sentence embeddings are mostly the mean over the tokens.

    >>> config = BertConfig(7, hidden_size=4, num_hidden_layers=1, num_attention_heads=2)
    >>> model = BertModel(config).eval()
    >>> x = model(tw.tensor([[1, 2, 3]]))
    >>> x.shape, model.pool(x).shape
    ((1, 3, 4), (1, 4))
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)
        self.pooler = _Pooler(config)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, 0.0, self.config.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """input_ids (N, S); attention_mask (N, S), 0 for padding; token_type_ids (N, S), 0 where
        None. ValueError beyond max_position_embeddings, IndexError on unknown tokens."""
        check_ids("BertModel", input_ids, self.config.vocab_size)
        check_length("BertModel", input_ids.shape[1], self.config.max_position_embeddings)
        mask = None
        if attention_mask is not None:
            mask = (attention_mask != 0).unsqueeze(1).unsqueeze(1)
        result: Tensor = self.encoder(self.embeddings(input_ids, token_type_ids), mask)
        return result

    def pool(self, x: Tensor) -> Tensor:
        """What classifiers take, (N, hidden_size), of the model's (N, S, hidden_size)."""
        result: Tensor = self.pooler(x)
        return result
