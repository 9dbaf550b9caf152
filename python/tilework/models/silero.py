"""Silero's detector of voice activity: whether somebody speaks, piece by piece of a recording.

The weights are those of the package silero-vad (Silero Team, 2021-2024; MIT), in its ONNX file.
"""

from __future__ import annotations

from tilework import functional as F
from tilework import nn
from tilework.errors import error
from tilework.tensor import Tensor

State = tuple[Tensor, Tensor]


class _Spectrum(nn.Module):
    """Magnitudes (N, window / 2 + 1, frames) by a Fourier transform that is a convolution."""

    forward_basis_buffer: Tensor

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("forward_basis_buffer", F.zeros(window + 2, 1, window))

    def forward(self, x: Tensor) -> Tensor:
        """Of samples (N, S), reflected at the end."""
        x = F.pad(x.unsqueeze(1), (0, self.window // 4), mode="reflect")
        y = F.conv1d(x, self.forward_basis_buffer, stride=self.window // 2)
        real, imaginary = y.chunk(2, 1)
        return (real * real + imaginary * imaginary).sqrt()


class _Layer(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.reparam_conv = nn.Conv1d(in_channels, out_channels, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.reparam_conv(x))


class _Decoder(nn.Module):
    """A step of an LSTM, and the probability that it tells."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rnn = nn.LSTMCell(width, width)
        self.decoder = nn.Sequential(
            nn.Dropout(0.1), nn.ReLU(), nn.Conv1d(width, 1, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        h, c = self.rnn(x, state)
        return self.decoder(h.unsqueeze(-1)).squeeze(-1), (h, c)


class SileroVAD(nn.Module):
    """Samples (N, 576) of 16,000 a second, of which the first 64 are those before, to the
    probability (N, 1) of speech; and the state for the next call.

    `detect` goes over a whole recording. Names and shapes of the state are those of the ONNX file
    behind "model.".

    >>> probability, state = SileroVAD().eval()(tw.zeros(2, 576))
    >>> probability.shape, state[0].shape
    ((2, 1), (2, 128))
    """

    context, piece = 64, 512

    def __init__(self) -> None:
        super().__init__()
        self.stft = _Spectrum(256)
        sizes = ((129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1))
        self.encoder = nn.Sequential(*(_Layer(*size) for size in sizes))
        self.decoder = _Decoder(128)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """ValueError on pieces of another length."""
        if x.ndim != 2 or x.shape[1] != self.context + self.piece:
            raise error(
                ValueError, "SileroVAD", f"samples (N, {self.context + self.piece})",
                tuple(x.shape), "call detect on a recording of any length",
            )  # fmt: skip
        result: tuple[Tensor, State] = self.decoder(self.encoder(self.stft(x)).squeeze(-1), state)
        return result

    def detect(self, samples: Tensor) -> Tensor:
        """The probabilities (N, pieces) of recordings (N, S), a piece of 512 samples each; zeros
        stand before the first and behind the last."""
        behind = -samples.shape[1] % self.piece
        x = F.pad(samples, (self.context, behind))
        state, found = None, []
        for start in range(0, x.shape[1] - self.context, self.piece):
            part = x[:, start : start + self.context + self.piece]
            probability, state = self(part, state)
            found.append(probability)
        return F.cat(found, 1) if found else samples[:, :0]
