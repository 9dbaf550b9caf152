"""Who speaks: a recurrent network over utterances of differing length."""

from __future__ import annotations

from tilework import nn
from tilework.tensor import Tensor


class SpeakerLSTM(nn.Module):
    """Frames (N, T, features) of utterances, padded at the end, and their lengths (N,), int64, to
    scores (N, speakers).

    A bidirectional LSTM reads the packed batch, which holds no padding; the mean of its states over
    an utterance's own frames is scored. ValueError on lengths outside 1 to T.

    >>> SpeakerLSTM(12, 9)(tw.zeros(2, 7, 12), tw.tensor([7, 4])).shape
    (2, 9)
    """

    def __init__(
        self, features: int, speakers: int, hidden_size: int = 64, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden_size, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(2 * hidden_size, speakers)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        rnn = nn.utils.rnn
        packed = rnn.pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
        states, _ = rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        mean = states.sum(1) / lengths.unsqueeze(1)  # beyond an utterance's end are zeros
        result: Tensor = self.score(self.dropout(mean))
        return result
