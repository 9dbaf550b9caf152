"""Keys and values of the tokens so far: a decoding step then computes those of new tokens alone.

Of the names here all are PyTorch's too, so that models over PyTorch decode by the same file.
"""

from __future__ import annotations

from tilework import functional as F
from tilework.errors import error
from tilework.tensor import Tensor

_FIRST = 64  # tokens that a buffer has room for at first


class KeyValues:
    """The keys and values of one layer, (N, heads, S, width) each, in buffers that double.

    >>> layer = KeyValues()
    >>> x = tw.ones(1, 2, 3, 4)
    >>> [y.shape for y in layer.append(x, x)]
    [(1, 2, 3, 4), (1, 2, 3, 4)]
    >>> layer.append(x, x)[0].shape, len(layer)
    ((1, 2, 6, 4), 6)
    """

    __slots__ = ("_keys", "_length", "_values")

    def __init__(self) -> None:
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Takes those of new tokens; gives those of all, as views of the buffers.

        RuntimeError where they want gradients (what is kept has none), ValueError where the shapes
        are not those from before.
        """
        if keys.requires_grad or values.requires_grad:
            raise error(
                RuntimeError, "cache", "keys and values without gradients", "such that want them",
                "decode under no_grad()",
            )  # fmt: skip
        before = self._length
        self._keys = _room(self._keys, before, keys)
        self._values = _room(self._values, before, values)
        end = before + keys.shape[2]
        self._keys[:, :, before:end] = keys
        self._values[:, :, before:end] = values
        self._length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def set(self, keys: Tensor, values: Tensor) -> None:
        """Takes these in place of all."""
        self._keys, self._values, self._length = keys, values, keys.shape[2]

    def get(self) -> tuple[Tensor, Tensor]:
        """Those of all tokens so far. ValueError where there are none."""
        if self._keys is None or self._values is None:
            raise error(
                ValueError, "cache", "keys from an earlier call", "an empty cache", "append"
            )
        return self._keys[:, :, : self._length], self._values[:, :, : self._length]

    def reorder(self, rows: Tensor) -> None:
        """Makes row i of the batch what row `rows[i]` was."""
        if self._keys is not None and self._values is not None:
            self._keys = F.index_select(self._keys, 0, rows)
            self._values = F.index_select(self._values, 0, rows)


def _room(buffer: Tensor | None, used: int, new: Tensor) -> Tensor:
    """The buffer, or a larger copy, with room for the new tokens behind those in use."""
    batch, heads, count, width = new.shape
    if buffer is None:
        return F.empty(batch, heads, max(_FIRST, count), width, dtype=new.dtype)
    if buffer.shape[:2] != new.shape[:2] or buffer.shape[3] != width or buffer.dtype != new.dtype:
        raise error(
            ValueError, "cache", f"keys and values ({batch}, {heads}, S, {width}) of {new.dtype}",
            f"a cache of {buffer.shape}, {buffer.dtype}", "start each text with a new cache",
        )  # fmt: skip
    if used + count <= buffer.shape[2]:
        return buffer
    room = max(2 * buffer.shape[2], used + count)
    grown = F.empty(batch, heads, room, width, dtype=new.dtype)
    grown[:, :, :used] = buffer[:, :, :used]
    return grown


class KeyValueCache:
    """The keys and values of all layers of a decoder, and of what it looks at in an encoder.

    A model takes one as `cache=`, adds the tokens of the call, and answers as if it had been called
    with all tokens since the cache was new. `len(cache)` is their number.

    >>> config = tw.models.GPT2Config(vocab_size=5, n_positions=8, n_embd=4, n_layer=1, n_head=2)
    >>> model, cache = tw.models.GPT2LMHeadModel(config).eval(), KeyValueCache(1)
    >>> with tw.no_grad():
    ...     first = model(tw.tensor([[1, 2]]), cache=cache)
    ...     second = model(tw.tensor([[3]]), cache=cache)
    >>> second.shape, len(cache)
    ((1, 1, 5), 3)
    """

    __slots__ = ("cross", "layers")

    def __init__(self, layers: int) -> None:
        self.layers = [KeyValues() for _ in range(layers)]
        self.cross = [KeyValues() for _ in range(layers)]

    def __len__(self) -> int:
        return len(self.layers[0]) if self.layers else 0

    def reorder(self, rows: Tensor) -> None:
        """Makes row i of the batch what row `rows[i]` (N,) was, as beam search asks."""
        for layer in (*self.layers, *self.cross):
            layer.reorder(rows)


def visible(before: int, new: int, padding: Tensor | None) -> Tensor | None:
    """Which keys each query of a decoder sees, for `new` tokens after `before` others: bools that
    broadcast to (N, heads, new, before + new), or None where it sees all, or all that are not later
    (is_causal, where there are none before).

    `padding` (N, before + new) is 0 for tokens that are none.
    """
    total = before + new
    if padding is None and (before == 0 or new == 1):
        return None
    mask = F.arange(total).reshape(1, total) <= F.arange(before, total).reshape(new, 1)
    if padding is None:
        return mask
    if tuple(padding.shape)[1:] != (total,):
        raise error(
            ValueError, "attention_mask", f"(N, {total}), tokens in the cache counted",
            tuple(padding.shape), "give it for all tokens so far",
        )  # fmt: skip
    return mask & (padding != 0).reshape(-1, 1, 1, total)
