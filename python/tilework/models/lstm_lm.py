"""A language model of LSTMs (Mikolov et al., "Recurrent neural network based language model", 2010;
Zaremba et al., "Recurrent neural network regularization", 2014)."""

from __future__ import annotations

from tilework import functional as F
from tilework import nn
from tilework.models.config import check_ids
from tilework.models.seq2seq import RecurrentCache
from tilework.tensor import Tensor


class LSTMLanguageModel(nn.Module):
    """Token ids (N, S) to scores (N, S, vocab_size) of the next token. The head's weight is the
    embedding's (Press and Wolf 2017). `generate` continues texts.

    `dropout` is that of embeddings, between layers and of what the head reads. IndexError on
    unknown tokens.

    >>> LSTMLanguageModel(30, 8, 16)(tw.tensor([[1, 2, 3]])).shape
    (1, 3, 30)
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_size: int = 128,
        hidden_size: int = 512,
        num_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(
            embedding_size, hidden_size, num_layers, batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
        )  # fmt: skip
        self.project = nn.Linear(hidden_size, embedding_size)
        self.head = nn.Linear(embedding_size, vocab_size)
        nn.init.normal_(self.embedding.weight, 0.0, embedding_size**-0.5)
        self.head.weight = self.embedding.weight

    def new_cache(self) -> RecurrentCache:
        """An empty cache for `cache=`."""
        return RecurrentCache()

    def forward(
        self, input_ids: Tensor, *, cache: RecurrentCache | None = None, logits_to_keep: int = 0
    ) -> Tensor:
        """input_ids (N, S) go on from what is in the cache; `logits_to_keep` n gives the scores
        after the last n tokens alone."""
        check_ids("LSTMLanguageModel", input_ids, self.vocab_size)
        x = self.dropout(self.embedding(input_ids))
        if cache is None or cache.state is None:
            y, state = self.lstm(x)
        else:
            y, state = self.lstm(x, cache.state.permute(1, 2, 0, 3).unbind(0))
        if cache is not None:
            cache.set(F.stack(state).permute(2, 0, 1, 3), input_ids.shape[1])
        y = self.project(y[:, -logits_to_keep:])  # -0: all
        result: Tensor = self.head(self.dropout(y))
        return result
