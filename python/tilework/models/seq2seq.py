"""Sequence to sequence: a recurrent encoder, and a decoder that may look back at it (Bahdanau et
al., "Neural machine translation by jointly learning to align and translate", 2015; Luong et al.,
"Effective approaches to attention-based neural machine translation", 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tilework import functional as F
from tilework import nn
from tilework.errors import error
from tilework.models.config import Config, check_ids
from tilework.tensor import Tensor

Mask = Tensor | None


def _looked(scores: Tensor, keys: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
    """What is taken up of keys (N, S, K) by scores (N, T, S), and the weights (N, T, S); mask
    (N, S) is 0 for keys that are none."""
    if mask is not None:
        scores = scores.masked_fill((mask == 0).unsqueeze(1), -1e30)
    weights = F.softmax(scores, -1)
    return weights @ keys, weights


class BahdanauAttention(nn.Module):
    """Looks queries (N, T, query_size) up in keys (N, S, key_size) by a small net: scores are
    v tanh(W q + U k), of a width of `hidden_size`.

    >>> look = BahdanauAttention(4, 6, 8)
    >>> context, weights = look(tw.ones(2, 3, 4), tw.ones(2, 5, 6))
    >>> context.shape, weights.shape
    ((2, 3, 6), (2, 3, 5))
    """

    def __init__(self, query_size: int, key_size: int, hidden_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, hidden_size)
        self.key = nn.Linear(key_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1, bias=False)

    def project(self, keys: Tensor) -> Tensor:
        """The part of the scores that queries have no part in."""
        projected: Tensor = self.key(keys)
        return projected

    def forward(
        self, query: Tensor, keys: Tensor, mask: Mask = None, projected: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What is taken up (N, T, key_size), and the weights (N, T, S). `mask` (N, S) is 0 where a
        key is none; `projected` is project(keys), where that is at hand."""
        projected = self.project(keys) if projected is None else projected
        both = F.tanh(self.query(query).unsqueeze(2) + projected.unsqueeze(1))
        return _looked(self.score(both).squeeze(-1), keys, mask)


class LuongAttention(nn.Module):
    """Looks queries (N, T, query_size) up in keys (N, S, key_size): `method` is "dot" for q k,
    "general" for q W k, "concat" for v tanh(W [q, k]).

    ValueError on another method, or where "dot" meets two sizes.

    >>> context, weights = LuongAttention(4, 6, "general")(tw.ones(2, 3, 4), tw.ones(2, 5, 6))
    >>> context.shape, weights.shape
    ((2, 3, 6), (2, 3, 5))
    """

    def __init__(self, query_size: int, key_size: int, method: str = "general") -> None:
        super().__init__()
        if method not in ("dot", "general", "concat") or (
            method == "dot" and query_size != key_size
        ):
            raise error(
                ValueError, "LuongAttention", "method dot (of one size), general or concat",
                f"{method!r} of sizes {query_size} and {key_size}", "name another",
            )  # fmt: skip
        self.method = method
        if method == "general":
            self.weight = nn.Linear(key_size, query_size, bias=False)
        elif method == "concat":
            self.weight = nn.Linear(query_size + key_size, query_size, bias=False)
            self.score = nn.Linear(query_size, 1, bias=False)

    def project(self, keys: Tensor) -> Tensor:
        """The part of the scores that queries have no part in."""
        projected: Tensor = self.weight(keys) if self.method == "general" else keys
        return projected

    def forward(
        self, query: Tensor, keys: Tensor, mask: Mask = None, projected: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What is taken up (N, T, key_size), and the weights (N, T, S). `mask` (N, S) is 0 where a
        key is none; `projected` is project(keys), where that is at hand."""
        if self.method == "concat":
            n, t, s = query.shape[0], query.shape[1], keys.shape[1]
            pairs = F.cat(
                [query.unsqueeze(2).expand(n, t, s, -1), keys.unsqueeze(1).expand(n, t, s, -1)], -1
            )
            scores = self.score(F.tanh(self.weight(pairs))).squeeze(-1)
        else:
            projected = self.project(keys) if projected is None else projected
            scores = query @ projected.transpose(1, 2)
        return _looked(scores, keys, mask)


@dataclass(frozen=True)
class Seq2SeqConfig(Config):
    """What shapes a Seq2Seq.

    `attention` is "bahdanau", Luong's "dot", "general" or "concat", or "none": the decoder then
    knows the text by the encoder's last state alone (Sutskever et al., 2014).

    >>> Seq2SeqConfig(vocab_size=30, decoder_vocab_size=40).memory_size
    512
    """

    vocab_size: int = 1000
    decoder_vocab_size: int = 1000
    embedding_size: int = 256
    hidden_size: int = 256
    bidirectional: bool = True
    attention: str = "bahdanau"
    dropout: float = 0.0
    decoder_start_token_id: int = 1

    def check(self) -> None:
        """ValueError where the model is another one."""
        self.only("attention", "bahdanau", "dot", "general", "concat", "none")

    @property
    def memory_size(self) -> int:
        """Numbers a token of the encoder's memory."""
        return self.hidden_size * (2 if self.bidirectional else 1)


class RecurrentCache:
    """The decoder's state after the tokens so far, whose number is its length; and what attention
    made of the memory that it looks at."""

    __slots__ = ("_length", "_projected", "state")

    def __init__(self) -> None:
        self.state: Tensor | None = None
        self._projected: tuple[Tensor, Tensor] | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def set(self, state: Tensor, new: int) -> None:
        """Takes the state (N, hidden_size) after `new` more tokens."""
        self.state = state
        self._length += new

    def projected(self, attention: Any, memory: Tensor) -> Tensor:
        """attention.project(memory), computed once for a memory."""
        if self._projected is None or self._projected[0] is not memory:
            self._projected = memory, attention.project(memory)
        return self._projected[1]

    def reorder(self, rows: Tensor) -> None:
        """Makes row i of the batch what row `rows[i]` was; the memory is the caller's."""
        if self.state is not None:
            self.state = F.index_select(self.state, 0, rows)


class Seq2Seq(nn.Module):
    """Token ids (N, S) of a text and (N, T) of its answer so far to scores (N, T,
    decoder_vocab_size) of the answer's next token. Both sides are GRUs.

    Bahdanau's decoder looks at the text before each step, by the state before it; Luong's after
    each, and so takes all steps of a given answer at once. `generate` continues answers, by beam
    search too. The answer begins with `config.decoder_start_token_id`.

    >>> config = Seq2SeqConfig(7, 9, 4, 5)
    >>> Seq2Seq(config)(tw.tensor([[1, 2, 3]]), tw.tensor([[1, 4]])).shape
    (1, 2, 9)
    """

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.config = config
        width, hidden, memory = config.embedding_size, config.hidden_size, config.memory_size
        self.encoder_embedding = nn.Embedding(config.vocab_size, width)
        self.encoder = nn.GRU(width, hidden, batch_first=True, bidirectional=config.bidirectional)
        if config.bidirectional:
            self.bridge = nn.Linear(hidden, hidden)
        self.decoder_embedding = nn.Embedding(config.decoder_vocab_size, width)
        self.dropout = nn.Dropout(config.dropout)
        if config.attention == "bahdanau":
            self.decoder: Any = nn.GRUCell(width + memory, hidden)
            self.attention: Any = BahdanauAttention(hidden, memory, hidden)
        else:
            self.decoder = nn.GRU(width, hidden, batch_first=True)
            if config.attention != "none":
                self.attention = LuongAttention(hidden, memory, config.attention)
        if config.attention != "none":
            self.combine = nn.Linear(hidden + memory, hidden, bias=False)
        self.head = nn.Linear(hidden, config.decoder_vocab_size)

    def new_cache(self) -> RecurrentCache:
        """An empty cache for `cache=`."""
        return RecurrentCache()

    def encode(self, input_ids: Tensor, attention_mask: Mask = None) -> Tensor:
        """The encoder's memory (N, S, memory_size) of texts (N, S), padded at the end where
        attention_mask (N, S) is 0. IndexError on unknown tokens."""
        check_ids("Seq2Seq", input_ids, self.config.vocab_size)
        x = self.dropout(self.encoder_embedding(input_ids))
        if attention_mask is None:
            memory: Tensor = self.encoder(x)[0]
            return memory
        rnn = nn.utils.rnn
        lengths = (attention_mask != 0).sum(1)
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        memory = rnn.pad_packed_sequence(
            self.encoder(packed)[0], batch_first=True, total_length=x.shape[1]
        )[0]
        return memory

    def _first_state(self, memory: Tensor, mask: Mask) -> Tensor:
        """The decoder's state before its first token: what the encoder knew last, read from the
        front by a bidirectional one."""
        if self.config.bidirectional:
            return F.tanh(self.bridge(memory[:, 0, self.config.hidden_size :]))
        if mask is None:
            return memory[:, -1]
        last = (mask != 0).sum(1) - 1
        return memory[F.arange(memory.shape[0], device=memory.device), last]

    def _with_bahdanau(
        self, x: Tensor, state: Tensor, memory: Tensor, mask: Mask, projected: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """States and what they looked at, (N, T, ...), of embeddings (N, T, width), step by step;
        and the last state."""
        states, contexts = [], []
        for step in x.unbind(1):
            context = self.attention(state.unsqueeze(1), memory, mask, projected)[0].squeeze(1)
            state = self.decoder(F.cat([step, context], -1), state)
            states.append(state)
            contexts.append(context)
        return F.stack(states, 1), F.stack(contexts, 1), state

    def decode(
        self,
        decoder_input_ids: Tensor,
        memory: Tensor,
        attention_mask: Mask = None,
        *,
        cache: RecurrentCache | None = None,
        logits_to_keep: int = 0,
    ) -> Tensor:
        """Scores (N, T, decoder_vocab_size) after each of the answer's tokens (N, T);
        attention_mask is the text's. logits_to_keep n gives the last n scores alone."""
        check_ids("Seq2Seq", decoder_input_ids, self.config.decoder_vocab_size)
        x = self.dropout(self.decoder_embedding(decoder_input_ids))
        known = None if cache is None else cache.state
        state = self._first_state(memory, attention_mask) if known is None else known
        kind = self.config.attention
        if kind != "none":
            looks = self.attention
            projected = looks.project(memory) if cache is None else cache.projected(looks, memory)
        if kind == "bahdanau":
            y, context, state = self._with_bahdanau(x, state, memory, attention_mask, projected)
        else:
            y, last = self.decoder(x, state.unsqueeze(0))
            state = last[0]
        if cache is not None:
            cache.set(state, x.shape[1])
        y = y[:, -logits_to_keep:]  # -0: all
        if kind != "none":
            if kind == "bahdanau":
                context = context[:, -logits_to_keep:]
            else:
                context = self.attention(y, memory, attention_mask, projected)[0]
            y = F.tanh(self.combine(F.cat([context, y], -1)))
        result: Tensor = self.head(self.dropout(y))
        return result

    def forward(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Mask = None
    ) -> Tensor:
        """input_ids and attention_mask (0 for padding at the end) (N, S), decoder_input_ids (N,
        T)."""
        memory = self.encode(input_ids, attention_mask)
        return self.decode(decoder_input_ids, memory, attention_mask)
