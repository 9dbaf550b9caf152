"""Recurrent layers: RNN, LSTM and GRU over sequences, and their cells for one step."""

from __future__ import annotations

import math
import warnings
from typing import Any

from tilework import functional as F
from tilework.dtypes import float32
from tilework.errors import error, word
from tilework.functional.recurrent import GATES, pair_of_states
from tilework.nn import init
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.nn.utils.rnn import PackedSequence
from tilework.tensor import Tensor

_FUNCTIONS: dict[str, Any] = {
    "LSTM": F.lstm, "GRU": F.gru, "RNN_TANH": F.rnn_tanh, "RNN_RELU": F.rnn_relu,
}  # fmt: skip
Input = Tensor | PackedSequence
_MOST_LAYERS = 10_000  # more are a mistake, and would be built for hours


def _sizes(layer: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise error(
                TypeError, layer, f"{name} as a whole number", type(size).__name__, "give an int"
            )
        if size <= 0:
            raise error(ValueError, layer, f"{name} of at least 1", size, "give more")
        if name == "num_layers" and size > _MOST_LAYERS:
            raise error(
                ValueError, layer, f"num_layers of at most {_MOST_LAYERS}", size, "give fewer"
            )


def _mode(layer: str, nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise error(
            ValueError, layer, "nonlinearity of tanh or relu", word(nonlinearity), "name one"
        )
    return f"RNN_{nonlinearity.upper()}"


def _draw(module: Module, hidden_size: int) -> None:
    bound = 1.0 / math.sqrt(hidden_size)
    for weight in module.parameters():
        init.uniform_(weight, -bound, bound)


class RNNBase(Module):
    """What RNN, LSTM and GRU have in common: `mode` says which it is.

    Parameters are weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 (and weight_hr_l0 of a
    projection), each also with _reverse behind, and so for every layer; they start uniform within
    1 / sqrt(hidden_size).
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if mode not in _FUNCTIONS:
            known = ", ".join(_FUNCTIONS)
            raise error(ValueError, name, f"mode of {known}", word(mode), "name one")
        _sizes(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise error(ValueError, name, "dropout in [0, 1]", dropout, "it is a probability")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"[{name}] expected more than one layer where there is dropout, which stands "
                "between layers; got one: drop its outputs with nn.Dropout",
                stacklevel=3,
            )
        if not 0 <= proj_size < hidden_size or (proj_size and mode != "LSTM"):
            raise error(
                ValueError, name, "proj_size below hidden_size, of an LSTM, or 0", proj_size,
                "make it smaller, or leave it out",
            )  # fmt: skip
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._all_names: list[list[str]] = []
        rows, out = GATES[mode.lower()] * hidden_size, proj_size or hidden_size
        directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            width = input_size if layer == 0 else directions * out
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width)}
            shapes["weight_hh"] = (rows, out)
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for tail in (f"_l{layer}", f"_l{layer}_reverse")[:directions]:
                for kind, shape in shapes.items():
                    setattr(self, kind + tail, Parameter(F.empty(*shape, dtype=dtype)))
                self._all_names.append([kind + tail for kind in shapes])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all weights anew."""
        _draw(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Does nothing: weights are packed as a call needs them."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_names]

    def _run(self, input: Input, hx: Any) -> tuple[Any, Any]:
        """The outputs and the last states, a pair of an LSTM, whatever the input comes as."""
        name, packed = type(self).__name__, isinstance(input, PackedSequence)
        x = input.data if isinstance(input, PackedSequence) else input
        pair = self.mode == "LSTM"
        states = self._states(name, hx, pair)
        alone = not packed and x.ndim == 2
        if alone:
            x = x.unsqueeze(0 if self.batch_first else 1)
        if not packed and x.ndim != 3:
            raise error(
                ValueError, name, "input of 3 axes, or of 2 for one sequence", x.shape,
                "add the axis of the batch",
            )  # fmt: skip
        if x.shape[-1] != self.input_size:
            raise error(
                ValueError, name, f"input (..., input_size={self.input_size})", x.shape,
                "build the layer for the input's width",
            )  # fmt: skip
        for state in states:
            if state is not None and state.ndim != (2 if alone else 3):
                raise error(
                    ValueError, name, f"states of {2 if alone else 3} axes, for such an input",
                    state.shape, "give both a batch, or neither",
                )  # fmt: skip
        if alone:
            states = [s if s is None else s.unsqueeze(1) for s in states]
        sizes = None
        if isinstance(input, PackedSequence):
            sizes, order = input.batch_sizes, input.sorted_indices
            if order is not None:
                states = [s if s is None else s.index_select(1, order) for s in states]
        y, *last = _FUNCTIONS[self.mode](
            x, states if pair else states[0],
            [w for names in self._all_names for w in map(self.__getattribute__, names)],
            self.bias, self.num_layers, self.dropout, self.training, self.bidirectional,
            self.batch_first, batch_sizes=sizes,
        )  # fmt: skip
        if isinstance(input, PackedSequence):
            back = input.unsorted_indices
            if back is not None:
                last = [s.index_select(1, back) for s in last]
            y = PackedSequence(y, *input[1:])
        elif alone:
            y = y.squeeze(0 if self.batch_first else 1)
            last = [s.squeeze(1) for s in last]
        return y, tuple(last) if pair else last[0]

    def _states(self, name: str, hx: Any, pair: bool) -> list[Tensor | None]:
        if hx is None:
            return [None, None]
        if not pair:
            if not isinstance(hx, Tensor):
                raise error(
                    TypeError, name, "hx as a Tensor, h_0", type(hx).__name__, "give one state"
                )
            return [hx]
        return list(pair_of_states(name, hx))

    def extra_repr(self) -> str:
        """The sizes, and what is not as usual, as PyTorch prints them."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        usual = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False,
        }  # fmt: skip
        parts += [
            f"{k}={getattr(self, k)}" for k, value in usual.items() if getattr(self, k) != value
        ]
        return ", ".join(parts)


class RNN(RNNBase):
    """Layers h' = tanh(W x + U h + b), or relu: Elman's network ("Finding structure in time",
    1990).

    Input (T, N, input_size), with `batch_first` (N, T, input_size), of one sequence (T,
    input_size), or a PackedSequence; h_0 (num_layers * directions, N, hidden_size), or zeros. Gives
    the outputs of the last layer, both directions' side by side, and h_n. `dropout` stands between
    layers. ValueError where shapes disagree.

    >>> y, h = nn.RNN(3, 5, num_layers=2)(tw.ones(7, 2, 3))
    >>> y.shape, h.shape
    ((7, 2, 5), (2, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__(
            _mode("RNN", nonlinearity), input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, dtype=dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity

    def forward(self, input: Input, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """The outputs and h_n."""
        return self._run(input, hx)


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997); with `proj_size` its state is
    projected at each step (Sak et al., 2014).

    As RNN, but that states are pairs: hx = (h_0, c_0), the result output, (h_n, c_n).

    >>> y, (h, c) = nn.LSTM(3, 5, bidirectional=True)(tw.ones(7, 2, 3))
    >>> y.shape, h.shape, c.shape
    ((7, 2, 10), (2, 2, 5), (2, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, proj_size, dtype=dtype,
        )  # fmt: skip

    def forward(
        self, input: Input, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        """The outputs and (h_n, c_n)."""
        return self._run(input, hx)


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014); for the rest as RNN.

    >>> y, h = nn.GRU(3, 5, batch_first=True)(tw.ones(2, 7, 3))
    >>> y.shape, h.shape
    ((2, 7, 5), (1, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            dtype=dtype,
        )  # fmt: skip

    def forward(self, input: Input, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """The outputs and h_n."""
        return self._run(input, hx)


class RNNCellBase(Module):
    """What the cells have in common: weight_ih, weight_hh and their biases."""

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__()
        _sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(F.empty(rows, input_size, dtype=dtype))
        self.weight_hh = Parameter(F.empty(rows, hidden_size, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            made = Parameter(F.empty(rows, dtype=dtype)) if bias else None
            self.register_parameter(name, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all weights anew."""
        _draw(self, self.hidden_size)

    def _checked(self, input: Tensor) -> bool:
        """Whether the input is without the axis of a batch."""
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise error(
                ValueError, type(self).__name__,
                f"input (N, input_size={self.input_size}), or without N", input.shape,
                "give a step of the layer's width",
            )  # fmt: skip
        return input.ndim == 1

    def _step(self, function: Any, input: Tensor, hx: Tensor | None) -> Tensor:
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        if not self._checked(input):
            h: Tensor = function(input, hx, *weights)
            return h
        hx = hx if hx is None else hx.unsqueeze(0)
        alone: Tensor = function(input.unsqueeze(0), hx, *weights).squeeze(0)
        return alone

    def extra_repr(self) -> str:
        """The sizes, and what is not as usual, as PyTorch prints them."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return text if nonlinearity == "tanh" else f"{text}, nonlinearity={nonlinearity}"


class RNNCell(RNNCellBase):
    """One step h' = tanh(W x + U h + b), or relu: input (N, input_size), hx (N, hidden_size) or
    zeros, or both without N.

    >>> nn.RNNCell(3, 5)(tw.ones(2, 3)).shape
    (2, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, dtype=dtype)
        _mode("RNNCell", nonlinearity)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state."""
        function = F.rnn_tanh_cell if self.nonlinearity == "tanh" else F.rnn_relu_cell
        return self._step(function, input, hx)


class LSTMCell(RNNCellBase):
    """One step of an LSTM: input (N, input_size), hx = (h, c), each (N, hidden_size), or zeros;
    gives (h', c'). All of them may be without N.

    >>> [s.shape for s in nn.LSTMCell(3, 5)(tw.ones(2, 3))]
    [(2, 5), (2, 5)]
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = float32
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, dtype=dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The next states."""
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        states: Any = (None, None) if hx is None else hx
        if not self._checked(input):
            return F.lstm_cell(input, states, *weights)
        states = tuple(s if s is None else s.unsqueeze(0) for s in states)
        h, c = F.lstm_cell(input.unsqueeze(0), states, *weights)
        return h.squeeze(0), c.squeeze(0)


class GRUCell(RNNCellBase):
    """One step of a GRU; for the rest as RNNCell.

    >>> nn.GRUCell(3, 5)(tw.ones(2, 3)).shape
    (2, 5)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = float32
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state."""
        return self._step(F.gru_cell, input, hx)
