"""What comes next in a series: an LSTM over what came."""

from __future__ import annotations

from tilework import nn
from tilework.tensor import Tensor


class LSTMForecaster(nn.Module):
    """Windows (N, past) of a series, in its own unit, to the values (N, ahead) that follow.

    The network reads how far each value lies from the window's last one, over `scale`, and says as
    much of what follows; before it has learnt anything, it is close to the naive forecast.

    >>> LSTMForecaster(12)(tw.zeros(2, 24)).shape
    (2, 12)
    """

    def __init__(self, ahead: int = 1, hidden_size: int = 32, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.lstm = nn.LSTM(1, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, ahead)

    def forward(self, past: Tensor) -> Tensor:
        last = past[:, -1:]
        _, (state, _) = self.lstm(((past - last) / self.scale).unsqueeze(-1))
        result: Tensor = last + self.scale * self.head(state[-1])
        return result
