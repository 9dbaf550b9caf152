"""The transformer of "Attention is all you need" (Vaswani et al., 2017): layers and stacks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, ClassVar

from tilework import functional as F
from tilework.devices import Device
from tilework.dtypes import float32
from tilework.errors import error, word
from tilework.functional.common import whole
from tilework.nn import init
from tilework.nn.attention import MultiheadAttention
from tilework.nn.containers import ModuleList
from tilework.nn.linear import Dropout, Linear
from tilework.nn.module import Module
from tilework.nn.norm import LayerNorm
from tilework.tensor import Tensor

Activation = str | Callable[[Tensor], Tensor]
Mask = Tensor | None


def _activation(given: Activation) -> Callable[[Tensor], Tensor]:
    known: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}
    if isinstance(given, str):
        if given not in known:
            raise error(
                ValueError, "Transformer", "activation of relu or gelu", word(given),
                "name one, or pass a function",
            )  # fmt: skip
        return known[given]
    return given


class _Layer(Module):
    """What layers of the encoder and the decoder share: self-attention, and what feeds forward."""

    _blocks: ClassVar[int]  # each with a norm and a residual

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype
        )
        if self._blocks == 3:
            self.multihead_attn = MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype
            )
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        for i in range(1, self._blocks + 1):
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype))
        for i in range(1, self._blocks + 1):
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = _activation(activation)

    def _around(self, i: int, x: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
        """x and what block i makes of it, normalised before or after."""
        norm, dropout = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
        y: Tensor
        if self.norm_first:
            y = x + dropout(block(norm(x)))
        elif isinstance(norm, LayerNorm):
            y, _ = norm(dropout(block(x)), residual=x)
        else:
            y = norm(x + dropout(block(x)))
        return y

    def _feed(self, x: Tensor) -> Tensor:
        if self.activation is F.relu or self.activation is F.gelu:
            name = "relu" if self.activation is F.relu else "gelu"
            hidden = self.linear1(x, activation=name)
        else:
            hidden = self.activation(self.linear1(x))
        y: Tensor = self.linear2(self.dropout(hidden))
        return y


class TransformerEncoderLayer(_Layer):
    """Self-attention and two linear maps, each with a residual and a norm.

    Arguments, parameters and their names are PyTorch's. Train, eval and no_grad give the same but
    for dropout.

    >>> nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()(tw.ones(3, 5, 8)).shape
    (3, 5, 8)
    """

    _blocks = 2

    def forward(
        self,
        src: Tensor,
        src_mask: Mask = None,
        src_key_padding_mask: Mask = None,
        is_causal: bool = False,
    ) -> Tensor:
        """src and the result: (S, N, E), or (N, S, E) with batch_first; masks as in
        MultiheadAttention."""

        def attend(x: Tensor) -> Tensor:
            y: Tensor = self.self_attn(
                x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal
            )[0]
            return y

        return self._around(2, self._around(1, src, attend), self._feed)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the encoder's memory, and two linear maps.

    >>> layer = nn.TransformerDecoderLayer(8, 2, batch_first=True).eval()
    >>> layer(tw.ones(3, 5, 8), tw.ones(3, 7, 8)).shape
    (3, 5, 8)
    """

    _blocks = 3

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Mask = None,
        memory_mask: Mask = None,
        tgt_key_padding_mask: Mask = None,
        memory_key_padding_mask: Mask = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """tgt and the result (T, N, E), memory (S, N, E), or with batch_first N before; masks as in
        MultiheadAttention."""

        def attend(x: Tensor) -> Tensor:
            y: Tensor = self.self_attn(
                x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal
            )[0]
            return y

        def look(x: Tensor) -> Tensor:
            y: Tensor = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask,
                is_causal=memory_is_causal,
            )[0]  # fmt: skip
            return y

        x = self._around(2, self._around(1, tgt, attend), look)
        return self._around(3, x, self._feed)


class _Stack(Module):
    """Copies of a layer, and a norm after the last."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None) -> None:
        super().__init__()
        self.num_layers = whole(type(self).__name__, "num_layers", num_layers)
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(self.num_layers)])
        self.norm = norm

    def _run(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *args, **options)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """`num_layers` copies of an encoder layer, and a norm after them.

    >>> layer = nn.TransformerEncoderLayer(8, 2, batch_first=True)
    >>> nn.TransformerEncoder(layer, 2).eval()(tw.ones(3, 5, 8)).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__(encoder_layer, num_layers, norm)

    def forward(
        self,
        src: Tensor,
        mask: Mask = None,
        src_key_padding_mask: Mask = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """src through the layers, in turn."""
        return self._run(src, mask, src_key_padding_mask, is_causal=bool(is_causal))


class TransformerDecoder(_Stack):
    """`num_layers` copies of a decoder layer, and a norm after them.

    >>> layer = nn.TransformerDecoderLayer(8, 2, batch_first=True)
    >>> nn.TransformerDecoder(layer, 2).eval()(tw.ones(3, 5, 8), tw.ones(3, 7, 8)).shape
    (3, 5, 8)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Mask = None,
        memory_mask: Mask = None,
        tgt_key_padding_mask: Mask = None,
        memory_key_padding_mask: Mask = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """tgt through the layers, in turn, each of which sees memory."""
        return self._run(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            tgt_is_causal=bool(tgt_is_causal), memory_is_causal=memory_is_causal,
        )  # fmt: skip


class Transformer(Module):
    """An encoder, and a decoder that sees what it made.

    >>> model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    >>> model(tw.ones(3, 7, 8), tw.ones(3, 5, 8)).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__()
        how = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
               norm_first, bias)  # fmt: skip
        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*how, dtype=dtype),
            num_encoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype),
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*how, dtype=dtype),
            num_decoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype),
        )
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Mask = None,
        tgt_mask: Mask = None,
        memory_mask: Mask = None,
        src_key_padding_mask: Mask = None,
        tgt_key_padding_mask: Mask = None,
        memory_key_padding_mask: Mask = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """src (S, N, E) and tgt (T, N, E) to (T, N, E), or with batch_first N before; masks as in
        MultiheadAttention."""
        if src.ndim == tgt.ndim == 3:
            batch = 0 if self.batch_first else 1
            if src.shape[batch] != tgt.shape[batch]:
                raise error(
                    ValueError, "Transformer", "src and tgt of as many sequences",
                    f"{src.shape} and {tgt.shape}", "batch_first says where they are counted",
                )  # fmt: skip
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        y: Tensor = self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            tgt_is_causal, memory_is_causal,
        )  # fmt: skip
        return y

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: Device = None, dtype: Any = float32
    ) -> Tensor:
        """A mask (sz, sz) of floats that hides later places: 0, and -Inf above the diagonal."""
        return F.triu(F.full((sz, sz), -math.inf, dtype=dtype, device=device), 1)
