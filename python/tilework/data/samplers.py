"""Samplers, as in torch.utils.data: what says in which order a loader takes samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from tilework import functional
from tilework.data.dataset import length_of
from tilework.data.loader import Source, batch_count, batches, numpy_generator, permutation
from tilework.errors import error
from tilework.tensor import Tensor

T = TypeVar("T", covariant=True)


class Sampler(Generic[T]):
    """The base: a subclass gives `__iter__` of indices, and `__len__`."""

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError


class SequentialSampler(Sampler[int]):
    """The indices of a dataset in order.

    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return length_of(self.data_source, "SequentialSampler")


class RandomSampler(Sampler[int]):
    """The indices of a dataset in random order; `num_samples` of them, with or without
    `replacement`, where that is given: without, one permutation after another.

    `generator` is a NumPy generator or a seed; by default tilework's own seed decides. ValueError
    on a num_samples below 1.

    >>> sorted(RandomSampler("abc"))
    [0, 1, 2]
    """

    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None,
        generator: Source = None,
    ) -> None:  # fmt: skip
        _need_count("RandomSampler", num_samples)
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = None if generator is None else numpy_generator(generator)

    @property
    def num_samples(self) -> int:
        """How many indices a pass gives."""
        if self._num_samples is not None:
            return self._num_samples
        return length_of(self.data_source, "RandomSampler")

    def __iter__(self) -> Iterator[int]:
        n, wanted = length_of(self.data_source, "RandomSampler"), self.num_samples
        if not self.replacement:
            for start in range(0, wanted, max(n, 1)):
                yield from permutation(n, self.generator)[: wanted - start].tolist()
        elif self.generator is None:
            yield from functional.randint(0, n, (wanted,)).tolist()
        else:
            yield from self.generator.integers(0, n, wanted).tolist()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The indices of a list in random order; `generator` as for RandomSampler.

    >>> sorted(SubsetRandomSampler([7, 3]))
    [3, 7]
    """

    def __init__(self, indices: Sequence[int], generator: Source = None) -> None:
        self.indices = indices
        self.generator = None if generator is None else numpy_generator(generator)

    def __iter__(self) -> Iterator[int]:
        for at in permutation(len(self.indices), self.generator).tolist():
            yield int(self.indices[at])

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` indices, each drawn as often as its weight is of all; `generator` as for
    RandomSampler. What is too rare is so seen as often as what is common.

    ValueError on a num_samples below 1, on weights that are not one-dimensional, and where there
    are fewer weights above 0 than samples without `replacement`.

    >>> list(WeightedRandomSampler([0.0, 1.0], 3))
    [1, 1, 1]
    """

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Source = None
    ) -> None:
        _need_count("WeightedRandomSampler", num_samples)
        given = weights.cpu().numpy() if isinstance(weights, Tensor) else weights
        array = np.asarray(given, np.float64)
        if array.ndim != 1:
            raise error(
                ValueError, "WeightedRandomSampler", "weights (n,)", array.shape, "flatten them"
            )
        if not replacement and (array > 0).sum() < num_samples:
            raise error(
                ValueError, "WeightedRandomSampler", f"{num_samples} weights above 0 to draw from",
                int((array > 0).sum()), "set replacement=True, or draw fewer",
            )  # fmt: skip
        self.weights = functional.tensor(array, device="cpu")
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = None if generator is None else numpy_generator(generator)

    def __iter__(self) -> Iterator[int]:
        if self.generator is None:
            drawn = functional.multinomial(self.weights, self.num_samples, self.replacement)
            return iter(drawn.tolist())
        p = self.weights.numpy() / self.weights.numpy().sum()
        found = self.generator.choice(len(p), self.num_samples, self.replacement, p)
        return iter(found.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """The indices of a sampler in lists of `batch_size`, the last of them shorter, or left out with
    `drop_last`. ValueError on a batch size below 1.

    >>> list(BatchSampler(SequentialSampler("abcde"), 2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        if batch_size < 1:
            raise error(ValueError, "BatchSampler", "batch_size of at least 1", batch_size, "raise")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        return batches(self.sampler, self.batch_size, self.drop_last)

    def __len__(self) -> int:
        count = length_of(self.sampler, "BatchSampler")
        return batch_count(count, self.batch_size, self.drop_last)


def _need_count(op: str, count: int | None) -> None:
    if count is not None and (not isinstance(count, int) or count < 1):
        raise error(ValueError, op, "num_samples as a positive integer", count, "raise it")
