"""Keys and values of the tokens so far: a decoding step then computes those of new tokens alone.

Of the names here all are PyTorch's too, so that models over PyTorch decode by the same file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tilework import functional as F
from tilework.errors import error
from tilework.tensor import Tensor

_FIRST = 64  # tokens that a buffer has room for at first


class Cache(Protocol):
    """What a decoder takes as `cache=`: a KeyValueCache, or rows of a PagedKeyValueCache."""

    layers: Sequence[Any]

    def __len__(self) -> int: ...

    def positions(self, new: int) -> Tensor: ...

    def visible(self, new: int, padding: Tensor | None, window: int | None) -> Tensor | None: ...


class _Held:
    """Keys and values of one layer, (N, heads, room, width) each, and the tokens so far."""

    __slots__ = ("_keys", "_length", "_values")

    def __init__(self) -> None:
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def reorder(self, rows: Tensor) -> None:
        """Makes row i of the batch what row `rows[i]` was."""
        if self._keys is not None and self._values is not None:
            self._keys = F.index_select(self._keys, 0, rows)
            self._values = F.index_select(self._values, 0, rows)


class KeyValues(_Held):
    """The keys and values of one layer, (N, heads, S, width) each, in buffers that double.

    >>> layer = KeyValues()
    >>> x = tw.ones(1, 2, 3, 4)
    >>> [y.shape for y in layer.append(x, x)]
    [(1, 2, 3, 4), (1, 2, 3, 4)]
    >>> layer.append(x, x)[0].shape, len(layer)
    ((1, 2, 6, 4), 6)
    """

    __slots__ = ()

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Takes those of new tokens; gives those of all, as views of the buffers.

        RuntimeError where they want gradients (what is kept has none), ValueError where the shapes
        are not those from before.
        """
        refuse_gradients(keys, values)
        before = self._length
        end = before + keys.shape[2]
        self._keys = _room(self._keys, before, keys, end)
        self._values = _room(self._values, before, values, end)
        self._keys[:, :, before:end] = keys
        self._values[:, :, before:end] = values
        self._length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, window: int | None,
        **options: Any,
    ) -> Tensor:  # fmt: skip
        """What attend() gives, of keys k and values v of new tokens and those before."""
        return _scaled(q, *self.append(k, v), mask, window, options)

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


class RingKeyValues(_Held):
    """The keys and values of one layer's last `window` tokens, (N, heads, window, width) at most:
    those of token p lie in slot p % window.

    >>> layer, x = RingKeyValues(2), tw.ones(1, 2, 3, 4)
    >>> layer.attend(x, x, x, None, 2).shape, len(layer)
    ((1, 2, 3, 4), 3)
    """

    __slots__ = ("_window",)

    def __init__(self, window: int) -> None:
        super().__init__()
        self._window = window

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, window: int | None,
        **options: Any,
    ) -> Tensor:  # fmt: skip
        """What attend() gives, of keys k and values v of new tokens and those before.

        ValueError where the model sees farther than the ring reaches.
        """
        self.check(window)
        refuse_gradients(k, v)
        new, kept = q.shape[2], min(self._length, self._window - 1)
        keys, values = self._behind(self._keys, k, kept), self._behind(self._values, v, kept)
        self._write(k, v)
        if new > 1:
            return _scaled(q, keys, values, mask, window, options)
        # All in the ring are seen, in whatever order.
        assert self._keys is not None
        assert self._values is not None
        held = min(self._length, self._window)
        return _scaled(q, self._keys[:, :, :held], self._values[:, :, :held], mask, None, options)

    def check(self, window: int | None) -> None:
        """Refuses a model that sees farther, or less far, than the ring reaches."""
        if window != self._window:
            raise error(
                ValueError, "cache", f"a model whose window is the ring's, {self._window}", window,
                "take the cache that model.new_cache() gives",
            )  # fmt: skip

    def _behind(self, ring: Tensor | None, new: Tensor, kept: int) -> Tensor:
        """What is new, behind the last `kept` in their order, where there is more than one."""
        if ring is None or kept == 0 or new.shape[2] == 1:
            return new
        begin = (self._length - kept) % self._window
        around = max(begin + kept - self._window, 0)  # what lies behind the seam
        return F.cat([ring[:, :, begin : begin + kept - around], ring[:, :, :around], new], 2)

    def _write(self, keys: Tensor, values: Tensor) -> None:
        before, self._length = self._length, self._length + keys.shape[2]
        most = min(self._length, self._window)
        self._keys = _room(self._keys, before, keys, most, self._window)
        self._values = _room(self._values, before, values, most, self._window)
        count = min(keys.shape[2], self._window)
        begin = (self._length - count) % self._window
        first = min(count, self._window - begin)
        for ring, new in ((self._keys, keys), (self._values, values)):
            kept = new[:, :, new.shape[2] - count :]
            ring[:, :, begin : begin + first] = kept[:, :, :first]
            ring[:, :, : count - first] = kept[:, :, first:]

    def places(self, new: int) -> Tensor:
        """The tokens whose keys attend() gives `new` more tokens, in its order."""
        total = self._length + new
        if new > 1:
            return F.arange(total - new - min(self._length, self._window - 1), total)
        slots = F.arange(min(total, self._window))
        return total - 1 - (total - 1 - slots) % self._window


def refuse_gradients(keys: Tensor, values: Tensor) -> None:
    """What a cache keeps has none."""
    if keys.requires_grad or values.requires_grad:
        raise error(
            RuntimeError, "cache", "keys and values without gradients", "such that want them",
            "decode under no_grad()",
        )  # fmt: skip


def _room(
    buffer: Tensor | None, used: int, new: Tensor, need: int, most: int | None = None
) -> Tensor:
    """The buffer, or a larger copy, with room for `need` tokens; `most` bounds what it grows to."""
    batch, heads, _, width = new.shape

    def empty(room: int) -> Tensor:
        room = room if most is None else min(room, most)
        return F.empty(batch, heads, room, width, dtype=new.dtype, device=new.device)

    if buffer is None:
        return empty(max(_FIRST, need))
    if buffer.shape[:2] != new.shape[:2] or buffer.shape[3] != width or buffer.dtype != new.dtype:
        raise error(
            ValueError, "cache", f"keys and values ({batch}, {heads}, S, {width}) of {new.dtype}",
            f"a cache of {buffer.shape}, {buffer.dtype}", "start each text with a new cache",
        )  # fmt: skip
    if need <= buffer.shape[2]:
        return buffer
    grown = empty(max(2 * buffer.shape[2], need))
    grown[:, :, :used] = buffer[:, :, :used]
    return grown


def _scaled(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, window: int | None,
    options: dict[str, Any],
) -> Tensor:  # fmt: skip
    """Queries of the last tokens, those of a window or all before them seen."""
    mask = mask if mask is None or mask.device is q.device else mask.to(q.device)
    if window is not None:
        return F.scaled_dot_product_attention(
            q, k, v, mask, causal_alignment="bottom_right", window=(window - 1, 0), **options
        )
    causal = mask is None and q.shape[2] == k.shape[2]
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, **options)


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, cache: Any = None,
    window: int | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """The attention of queries (N, heads, T, width) to their own tokens' keys and values and those
    that `cache`, a layer's, has of the tokens before: later ones are hidden, and with `window` all
    but so many. `mask` is visible()'s; `options` are scaled_dot_product_attention's."""
    if cache is None:
        return _scaled(q, k, v, mask, window, options)
    result: Tensor = cache.attend(q, k, v, mask, window, **options)
    return result


class KeyValueCache:
    """The keys and values of all layers of a decoder, and of what it looks at in an encoder.

    A model takes one as `cache=`, adds the tokens of the call, and answers as if it had been called
    with all tokens since the cache was new. `len(cache)` is their number. With `window` only those
    of so many tokens are kept, in a ring: for a model that sees no farther.

    >>> config = tw.models.GPT2Config(vocab_size=5, n_positions=8, n_embd=4, n_layer=1, n_head=2)
    >>> model, cache = tw.models.GPT2LMHeadModel(config).eval(), KeyValueCache(1)
    >>> with tw.no_grad():
    ...     first = model(tw.tensor([[1, 2]]), cache=cache)
    ...     second = model(tw.tensor([[3]]), cache=cache)
    >>> second.shape, len(cache)
    ((1, 1, 5), 3)
    """

    __slots__ = ("cross", "layers")

    def __init__(self, layers: int, window: int | None = None) -> None:
        if window is not None and window < 1:
            raise error(ValueError, "cache", "a window of at least 1", window, "None keeps all")
        self.layers: Sequence[Any] = [
            KeyValues() if window is None else RingKeyValues(window) for _ in range(layers)
        ]
        self.cross = [KeyValues() for _ in range(layers)]

    def __len__(self) -> int:
        return len(self.layers[0]) if self.layers else 0

    def positions(self, new: int) -> Tensor:
        """Of the next `new` tokens, (new,)."""
        return F.arange(len(self), len(self) + new)

    def visible(self, new: int, padding: Tensor | None, window: int | None) -> Tensor | None:
        """visible() of the keys that the layers give."""
        mask = visible(len(self), new, padding, window)
        first = self.layers[0] if self.layers else None
        if not isinstance(first, RingKeyValues):
            return mask
        first.check(window)
        return None if mask is None else F.index_select(mask, 3, first.places(new).to(mask.device))

    def reorder(self, rows: Tensor) -> None:
        """Makes row i of the batch what row `rows[i]` (N,) was, as beam search asks."""
        for layer in (*self.layers, *self.cross):
            layer.reorder(rows)


def visible(
    before: int, new: int, padding: Tensor | None, window: int | None = None
) -> Tensor | None:
    """Which keys each query of a decoder sees, for `new` tokens after `before` others: bools that
    broadcast to (N, heads, new, before + new), or None where it sees all, or all that are not later
    (is_causal, where there are none before). With a window, attend() sees to what is later.

    `padding` (N, before + new) is 0 for tokens that are none.
    """
    total = before + new
    if padding is None and (before == 0 or new == 1 or window is not None):
        return None
    mask = None
    if window is None:
        at = F.arange(total, device=None if padding is None else padding.device)
        mask = at.reshape(1, total) <= at[before:].reshape(new, 1)
    if padding is None:
        return mask
    if tuple(padding.shape)[1:] != (total,):
        raise error(
            ValueError, "attention_mask", f"(N, {total}), tokens in the cache counted",
            tuple(padding.shape), "give it for all tokens so far",
        )  # fmt: skip
    told = (padding != 0).reshape(-1, 1, 1, total)
    return told if mask is None else mask & told
