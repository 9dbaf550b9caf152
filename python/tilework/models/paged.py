"""Keys and values in pages of a pool that many texts share (Kwon et al., "Efficient memory
management for large language model serving with PagedAttention", 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework import functional as F
from tilework.errors import error
from tilework.models.cache import refuse_gradients
from tilework.tensor import Tensor

Array = Any


class _Sequence:
    """One text: its pages, and how many of its tokens each layer has."""

    __slots__ = ("lengths", "pages")

    def __init__(self, pages: list[int], lengths: list[int]) -> None:
        self.pages, self.lengths = pages, lengths


class PagedKeyValueCache:
    """The keys and values of all layers of a decoder for many texts, each of its own length, in
    `pages` pages of `page_size` tokens: a text takes a page when the one before is full.

    `add` begins a text and gives its number, `rows(...)` is what a model takes as `cache=` for the
    texts of a batch, `fork` makes a second text of one so far, whose pages both then share, and
    `free` gives a text's pages back. Attention reads pages where they lie. ValueError where the
    pool has not the pages that a call needs: the cache is then as it was.

    >>> config = tw.models.GPT2Config(vocab_size=5, n_positions=8, n_embd=4, n_layer=1, n_head=2)
    >>> model = tw.models.GPT2LMHeadModel(config).eval()
    >>> cache = PagedKeyValueCache(1, pages=4, page_size=2)
    >>> a, b = cache.add(), cache.add()
    >>> with tw.no_grad():
    ...     _ = model(tw.tensor([[1, 2, 3]]), cache=cache.rows(a))
    ...     _ = model(tw.tensor([[4]]), cache=cache.rows(b))
    ...     scores = model(tw.tensor([[0], [2]]), cache=cache.rows(a, b))
    >>> scores.shape, cache.length(a), cache.length(b), cache.free_pages
    ((2, 1, 5), 4, 2, 1)
    """

    def __init__(self, layers: int, pages: int, page_size: int = 16) -> None:
        for name, value in (("layers", layers), ("pages", pages), ("page_size", page_size)):
            if value < 1:
                raise error(ValueError, "cache", f"{name} of at least 1", value, "raise it")
        self.page_size = page_size
        self.pools: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._shared = np.zeros(pages, np.int64)  # texts that a page is of
        self._free = list(range(pages - 1, -1, -1))
        self._texts: dict[int, _Sequence] = {}
        self._added = 0

    @property
    def free_pages(self) -> int:
        """Pages that are no text's."""
        return len(self._free)

    def add(self) -> int:
        """Begins a text."""
        return self._enter(_Sequence([], [0] * len(self.pools)))

    def fork(self, text: int) -> int:
        """A text that goes on from where `text` is. What is full stays shared; a page that both
        would write to is copied by the first who does."""
        old = self._text(text)
        self._shared[old.pages] += 1
        return self._enter(_Sequence(list(old.pages), list(old.lengths)))

    def free(self, text: int) -> None:
        """Ends a text: pages that are no other's are free again."""
        for page in self._text(text).pages:
            self._give_back(page)
        del self._texts[text]

    def length(self, text: int) -> int:
        """How many tokens a text has."""
        return self._text(text).lengths[0]

    def rows(self, *texts: int) -> PagedRows:
        """What a model takes as `cache=`: row i of the batch is texts[i]."""
        if len(set(texts)) < len(texts):
            raise error(ValueError, "cache", "different texts", texts, "fork one to branch it")
        return PagedRows(self, [self._text(t) for t in texts])

    def _enter(self, text: _Sequence) -> int:
        self._added += 1
        self._texts[self._added] = text
        return self._added

    def _text(self, text: int) -> _Sequence:
        if text not in self._texts:
            raise error(
                ValueError, "cache", "a text that add() or fork() began", text,
                "one that was freed is gone",
            )  # fmt: skip
        return self._texts[text]

    def _give_back(self, page: int) -> None:
        self._shared[page] -= 1
        if self._shared[page] == 0:
            self._free.append(page)

    def reserve(self, texts: Sequence[_Sequence], layer: int, new: int) -> None:
        """Sees to it that each text can write `new` tokens more of a layer to pages of its own."""
        size, copied, wanted = self.page_size, [], []
        claims: dict[int, int] = {}  # how many of the batch want to write to a page
        for text in texts:
            begin = text.lengths[layer] // size
            end = -(-(text.lengths[layer] + new) // size)
            for at, page in enumerate(text.pages[begin:end], begin):
                claims[page] = claims.get(page, 0) + 1
                if claims[page] < self._shared[page]:
                    copied.append((text, at))
            wanted.append(max(end - len(text.pages), 0))
        need = sum(wanted) + len(copied)
        if need > len(self._free):
            raise error(
                ValueError, "cache", f"{need} free pages of {size} tokens", len(self._free),
                "free texts, or make a cache of more pages",
            )  # fmt: skip
        for text, at in copied:
            page = self._take()
            for pool in self.pools:
                for x in pool or ():
                    x[page] = x[text.pages[at]]
            self._give_back(text.pages[at])
            text.pages[at] = page
        for text, count in zip(texts, wanted, strict=True):
            text.pages.extend(self._take() for _ in range(count))

    def _take(self) -> int:
        page = self._free.pop()
        self._shared[page] = 1
        return page

    def pool(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's pages, (pages, heads, page_size, width) of keys and of values."""
        found = self.pools[layer]
        if found is None:
            made = (
                x.new_zeros(len(self._shared), x.shape[1], self.page_size, x.shape[3])
                for x in (keys, values)
            )
            found = self.pools[layer] = (next(made), next(made))
        for have, new in zip(found, (keys, values), strict=True):
            if (have.shape[1], have.shape[3], have.dtype) != (
                new.shape[1],
                new.shape[3],
                new.dtype,
            ):
                raise error(
                    ValueError, "cache",
                    f"keys and values of {have.shape[1]} heads of {have.shape[3]}, {have.dtype}",
                    f"{new.shape[1]} of {new.shape[3]}, {new.dtype}", "a cache is one model's",
                )  # fmt: skip
        return found


class PagedRows:
    """The texts of a batch in a PagedKeyValueCache, as a model takes them; `len` is the longest's
    number of tokens."""

    def __init__(self, cache: PagedKeyValueCache, texts: list[_Sequence]) -> None:
        self.layers: Sequence[Any] = [
            PagedKeyValues(cache, texts, i) for i in range(len(cache.pools))
        ]
        self._texts = texts

    def __len__(self) -> int:
        return max((text.lengths[0] for text in self._texts), default=0)

    @property
    def cross(self) -> Any:
        """ValueError: there are no pages of what an encoder made."""
        raise error(
            ValueError, "cache", "a model of a decoder alone", "one that looks at an encoder",
            "take the cache that model.new_cache() gives",
        )  # fmt: skip

    def positions(self, new: int) -> Tensor:
        """Of each text's next `new` tokens, (N, new)."""
        begins = np.array([text.lengths[0] for text in self._texts], np.int64)
        return F.from_numpy(begins[:, None] + np.arange(new))

    def visible(self, new: int, padding: Tensor | None, window: int | None) -> None:
        """None: each text has its own length. ValueError where there is padding."""
        if padding is not None:
            raise error(
                ValueError, "cache", "no attention_mask with pages", tuple(padding.shape),
                "give each text its own tokens alone, one call a length",
            )  # fmt: skip


class PagedKeyValues:
    """One layer's of a batch of texts."""

    __slots__ = ("_cache", "_layer", "_texts")

    def __init__(self, cache: PagedKeyValueCache, texts: list[_Sequence], layer: int) -> None:
        self._cache, self._texts, self._layer = cache, texts, layer

    def __len__(self) -> int:
        return max((text.lengths[self._layer] for text in self._texts), default=0)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, window: int | None,
        **options: Any,
    ) -> Tensor:  # fmt: skip
        """What attend() gives, of keys k and values v of new tokens and those before."""
        refuse_gradients(k, v)
        batch, heads, new, width = q.shape
        if batch != len(self._texts):
            raise error(
                ValueError, "cache", f"a batch of {len(self._texts)} rows, one a text", batch,
                "name the texts of the batch in cache.rows(...)",
            )  # fmt: skip
        if options.pop("dropout_p", 0.0):
            raise error(ValueError, "cache", "no dropout with pages", "some", "call model.eval()")
        keys, values = self._cache.pool(self._layer, k, v)
        self._cache.reserve(self._texts, self._layer, new)
        table = self._table()
        self._write(table, (keys, k), (values, v))
        used = np.array([text.lengths[self._layer] for text in self._texts], np.int64)
        ends = F.from_numpy(np.arange(batch + 1) * new)
        reach = (-1 if window is None else window - 1, 0)
        y = F.varlen_attn(
            q.transpose(1, 2).reshape(batch * new, heads, width), keys.transpose(1, 2),
            values.transpose(1, 2), ends, None, window_size=reach,
            seqused_k=F.from_numpy(used), block_table=F.from_numpy(table), **options,
        )  # fmt: skip
        return y.reshape(batch, new, heads, v.shape[3]).transpose(1, 2)

    def _table(self) -> Array:
        """The pages of each text, padded."""
        longest = max((len(text.pages) for text in self._texts), default=0)
        table = np.zeros((len(self._texts), longest), np.int64)
        for row, text in zip(table, self._texts, strict=True):
            row[: len(text.pages)] = text.pages
        return table

    def _write(self, table: Array, *pairs: tuple[Tensor, Tensor]) -> None:
        """Puts what is new behind what each text has."""
        size, new = self._cache.page_size, pairs[0][1].shape[2]
        begins = np.array([text.lengths[self._layer] for text in self._texts], np.int64)
        places = begins[:, None] + np.arange(new)  # (N, new)
        pages = F.from_numpy(np.take_along_axis(table, places // size, 1).reshape(-1))
        slots = F.from_numpy((places % size).reshape(-1))
        for pool, x in pairs:
            rows = x.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])
            pool.transpose(1, 2)[pages, slots] = rows
        for text in self._texts:
            text.lengths[self._layer] += new
