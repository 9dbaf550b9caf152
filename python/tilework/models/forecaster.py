"""What comes next in a series: an LSTM over what came."""

from __future__ import annotations

from tilework import nn
from tilework.errors import error
from tilework.tensor import Tensor


class LSTMForecaster(nn.Module):
    """Windows (N, past) of a series, in its own unit, to the values (N, ahead) that follow.

    The network reads how far values lie from the window's last one, over `scale`, and says as much
    of what follows; before it has learnt anything, it is close to the naive forecast. It reads
    `step` values at a time: with a season's, each lies beside those of other seasons at its place.
    ValueError where past is no multiple of step.

    >>> LSTMForecaster(12, step=6)(tw.zeros(2, 24)).shape
    (2, 12)
    """

    def __init__(
        self, ahead: int = 1, hidden_size: int = 32, step: int = 1, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.step, self.scale = step, scale
        self.lstm = nn.LSTM(step, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, ahead)

    def forward(self, past: Tensor) -> Tensor:
        if past.ndim != 2 or not past.shape[1] or past.shape[1] % self.step:
            raise error(
                ValueError, "LSTMForecaster", f"windows (N, past), past a multiple of {self.step}",
                tuple(past.shape), "leave the oldest values out",
            )  # fmt: skip
        last = past[:, -1:]
        steps = ((past - last) / self.scale).unflatten(1, (-1, self.step))
        _, (state, _) = self.lstm(steps)
        result: Tensor = last + self.scale * self.head(state[-1])
        return result


class MLPForecaster(nn.Module):
    """Windows (N, past) of a series, in its own unit, to the values (N, ahead) that follow: a
    hidden layer with ReLU over how far the window's values lie from its last one.

    >>> MLPForecaster(24, 12)(tw.zeros(2, 24)).shape
    (2, 12)
    """

    def __init__(
        self, past: int, ahead: int = 1, hidden_size: int = 32, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.scale = scale
        self.layers = nn.Sequential(
            nn.Linear(past, hidden_size), nn.ReLU(), nn.Linear(hidden_size, ahead)
        )

    def forward(self, past: Tensor) -> Tensor:
        last = past[:, -1:]
        result: Tensor = last + self.scale * self.layers((past - last) / self.scale)
        return result
