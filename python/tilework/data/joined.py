"""Datasets made of others: one after another, or side by side."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from tilework.data.dataset import Dataset, IterableDataset, length_of
from tilework.errors import error


class ConcatDataset(Dataset):
    """The samples of several datasets, one after another. ValueError on none, TypeError on
    streams.

    >>> both = ConcatDataset([[1, 2], [3]])
    >>> len(both), both[2], both[-1]
    (3, 3, 3)
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise error(ValueError, "ConcatDataset", "datasets", "none", "pass one or more")
        lengths = [length_of(d, "ConcatDataset") for d in self.datasets]
        self.cumulative_sizes = list(accumulate(lengths))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        count = len(self)
        if not -count <= index < count:
            raise error(
                IndexError, "ConcatDataset", f"an index within {count} samples", index, "lower it"
            )
        index %= count
        at = bisect_right(self.cumulative_sizes, index)
        return self.datasets[at][index - (self.cumulative_sizes[at - 1] if at else 0)]


class ChainDataset(IterableDataset):
    """The samples of several streams, one after another.

    >>> list(ChainDataset([iter("ab"), iter("c")]))
    ['a', 'b', 'c']
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            yield from dataset


class StackDataset(Dataset):
    """Several datasets of one length side by side: a sample is a tuple of theirs, or a dict where
    they are given by name. ValueError where their lengths differ.

    >>> StackDataset([1, 2], "ab")[1], StackDataset(x=[1, 2], y="ab")[0]
    ((2, 'b'), {'x': 1, 'y': 'a'})
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        held = [*args, *kwargs.values()]
        lengths = {length_of(d, "StackDataset") for d in held}
        if bool(args) == bool(kwargs) or len(lengths) != 1:
            raise error(
                ValueError, "StackDataset", "datasets of one length, by position or by name",
                f"lengths {sorted(lengths)}", "cut them to the same length",
            )  # fmt: skip
        self.datasets: Any = args or kwargs
        self._length = lengths.pop()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, dict):
            return {name: dataset[index] for name, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)
