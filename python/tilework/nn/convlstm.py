"""Recurrent layers whose state is an image (Shi et al., "Convolutional LSTM network", 2015, without
its peepholes)."""

from __future__ import annotations

from typing import Any

from tilework import functional as F
from tilework.dtypes import float32
from tilework.errors import error
from tilework.functional.common import whole
from tilework.nn.containers import ModuleList
from tilework.nn.conv import Conv2d
from tilework.nn.module import Module
from tilework.tensor import Tensor

State = tuple[Tensor, Tensor]
_MOST_LAYERS = 4096  # a mistaken number is told at once, and not when memory has run out


class ConvLSTMCell(Module):
    """One step of an LSTM whose products are convolutions: input (N, in_channels, H, W) and a state
    of two (N, hidden_channels, H, W) to the next state.

    `input` and `hidden` are the convolutions of the gates in PyTorch's order, input, forget, cell
    and output; their padding keeps the size, so that kernels are odd.

    >>> h, c = nn.ConvLSTMCell(3, 8, 3)(tw.ones(2, 3, 5, 6))
    >>> h.shape, c.shape
    ((2, 8, 5, 6), (2, 8, 5, 6))
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: int | tuple[int, int],
        bias: bool = True,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__()
        name = "ConvLSTMCell"
        both = kernel_size if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * 2
        sizes = [whole(name, "kernel_size", n) for n in both]
        if len(sizes) != 2 or any(n < 1 or n % 2 == 0 for n in sizes):
            raise error(
                ValueError, name, "kernel_size odd, so that the image keeps its size", kernel_size,
                "add 1",
            )  # fmt: skip
        size, padding = (sizes[0], sizes[1]), (sizes[0] // 2, sizes[1] // 2)
        gates = 4 * whole(name, "hidden_channels", hidden_channels)
        self.in_channels, self.hidden_channels = in_channels, hidden_channels
        self.input = Conv2d(in_channels, gates, size, padding=padding, bias=bias, dtype=dtype)
        self.hidden = Conv2d(hidden_channels, gates, size, padding=padding, bias=False, dtype=dtype)

    def step(self, gates: Tensor, state: State | None) -> State:
        """The next state, of what the input has of the gates (N, 4 hidden_channels, H, W)."""
        if state is not None:
            gates = gates + self.hidden(state[0])
        i, f, g, o = gates.chunk(4, 1)
        c = i.sigmoid() * g.tanh()
        if state is not None:
            c = f.sigmoid() * state[1] + c
        return o.sigmoid() * c.tanh(), c

    def forward(self, input: Tensor, state: State | None = None) -> State:
        """The next state (h, c); the first where none is given follows zeros."""
        if state is not None:
            self.check(input, state)
        return self.step(self.input(input), state)

    def check(self, input: Tensor, state: State) -> None:
        """ValueError where a state is not one of this cell and input."""
        shape = (input.shape[-4], self.hidden_channels, *input.shape[-2:])
        for part in state:
            if part.shape != shape:
                raise error(
                    ValueError, "ConvLSTMCell", f"states (h, c) of {shape}", part.shape,
                    "give the state of such a batch, or none",
                )  # fmt: skip


class ConvLSTM(Module):
    """ConvLSTMCells over time, one above the other: inputs (T, N, in_channels, H, W), or with
    batch_first (N, T, in_channels, H, W).

    Gives the last layer's h at all steps, and the state (h, c) of all layers after the last step,
    (num_layers, N, hidden_channels, H, W) each. The inputs' products are of all steps at once.

    >>> y, (h, c) = nn.ConvLSTM(3, 8, 3, num_layers=2)(tw.ones(4, 2, 3, 5, 6))
    >>> y.shape, h.shape
    ((4, 2, 8, 5, 6), (2, 2, 8, 5, 6))
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: int | tuple[int, int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__()
        self.num_layers = whole("ConvLSTM", "num_layers", num_layers)
        if not 1 <= self.num_layers <= _MOST_LAYERS:
            raise error(
                ValueError, "ConvLSTM", f"num_layers from 1 to {_MOST_LAYERS}", num_layers,
                "change it",
            )  # fmt: skip
        self.batch_first = batch_first
        self.cells = ModuleList(
            ConvLSTMCell(
                hidden_channels if i else in_channels, hidden_channels, kernel_size, bias,
                dtype=dtype,
            )
            for i in range(self.num_layers)
        )  # fmt: skip

    def forward(self, input: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """All of the last layer's states, and every layer's last."""
        if input.ndim != 5 or not input.shape[1 if self.batch_first else 0]:
            wanted = "(N, T, C, H, W)" if self.batch_first else "(T, N, C, H, W)"
            raise error(
                ValueError, "ConvLSTM", f"input {wanted}, T from 1", input.shape, "add a time axis"
            )
        x = input.transpose(0, 1) if self.batch_first else input
        if state is not None and state[0].shape[0] != self.num_layers:
            raise error(
                ValueError, "ConvLSTM", f"states of {self.num_layers} layers", state[0].shape[0],
                "put one a layer along the first axis",
            )  # fmt: skip
        last: list[State] = []
        for i, cell in enumerate(self.cells):
            now = None if state is None else (state[0][i], state[1][i])
            x, now = self._layer(cell, x, now)
            last.append(now)
        y = x.transpose(0, 1) if self.batch_first else x
        return y, (F.stack([h for h, _ in last]), F.stack([c for _, c in last]))

    @staticmethod
    def _layer(cell: Any, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        if state is not None:
            cell.check(x[0], state)
        gates = cell.input(x.reshape(-1, *x.shape[2:]))
        gates = gates.reshape(*x.shape[:2], *gates.shape[1:])
        steps = []
        for at in gates.unbind(0):
            state = cell.step(at, state)
            steps.append(state[0])
        assert state is not None
        return F.stack(steps), state
