"""DataLoader: batches of a dataset, in order or shuffled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tilework import cuda, functional
from tilework.data.collate import default_collate
from tilework.data.dataset import fetch, is_stream, length_of
from tilework.errors import error
from tilework.functional.generator import Generator
from tilework.nested import mapped

Order = NDArray[np.int64]
Source = np.random.Generator | Generator | int | None
T = TypeVar("T")


def numpy_generator(
    source: np.random.Generator | Generator | int,
) -> np.random.Generator:
    """The generator itself, or one of a seed, or of one that a tilework.Generator draws."""
    if isinstance(source, np.random.Generator):
        return source
    if isinstance(source, Generator):
        source = int(functional.random_seed(generator=source))
    # PCG64 by name: default_rng may change its generator some day, and a seed's numbers must not.
    return np.random.Generator(np.random.PCG64(source))


def permutation(length: int, source: Source) -> Order:
    """The integers below `length`, shuffled by a NumPy generator, a seed, or tilework's seed."""
    if source is None:
        return functional.randperm(length, device="cpu").numpy()  # type: ignore[no-any-return]
    return numpy_generator(source).permutation(length)


def batches(items: Iterable[T], size: int, drop_last: bool) -> Iterator[list[T]]:
    """Lists of `size` items, the last of them shorter, or left out with `drop_last`."""
    left = iter(items)
    while batch := list(islice(left, size)):
        if len(batch) < size and drop_last:
            return
        yield batch


def batch_count(items: int, size: int, drop_last: bool) -> int:
    """How many lists batches() makes of so many items."""
    return items // size if drop_last else -(-items // size)


class DataLoader:
    """Iterates over a dataset in batches; each `iter()` is one pass, shuffled anew.

    A dataset is a list, anything with `__len__` and `__getitem__`, or a stream: anything with
    `__iter__` alone.

    Args: as torch.utils.data.DataLoader's. `batch_size=None` yields samples as they are;
    `batch_sampler` gives each batch's indices. `generator` is a NumPy generator or a seed; by
    default the order follows from tilework.manual_seed(). Batches of a TensorDataset are gathered
    in one indexing call, which is why there are no worker processes: what PyTorch's arguments say
    of them (`num_workers`, `worker_init_fn` and so on) is taken and changes nothing. `pin_memory`
    puts batches where a device reads them by itself (Tensor.pin_memory), where there is one.

    Raises ValueError for a batch size below 1, for shuffling a stream, and for a batch_sampler
    beside what it decides; TypeError for what is no dataset.

    >>> from tilework.data import TensorDataset
    >>> loader = DataLoader(TensorDataset(np.arange(5)), batch_size=2)
    >>> [batch.tolist() for batch, in loader], len(loader)
    ([[0, 1], [2, 3], [4]], 3)
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Sequence[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Source = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise error(
                ValueError, "DataLoader", "batch_size of at least 1", batch_size, "or give None"
            )
        self._streams = is_stream(dataset)
        if self._streams and (shuffle or sampler is not None):
            raise error(
                ValueError, "DataLoader", "a dataset with a length, to shuffle or sample",
                type(dataset).__name__, "shuffle inside the dataset's __iter__",
            )  # fmt: skip
        if shuffle and sampler is not None:
            raise error(
                ValueError, "DataLoader", "shuffle or sampler", "both", "leave one of them out"
            )
        if batch_sampler is not None and (
            batch_size != 1 or shuffle or sampler is not None or drop_last or self._streams
        ):
            raise error(
                ValueError, "DataLoader", "a batch_sampler alone, of a dataset with a length",
                "batch_size, shuffle, sampler or drop_last beside it, or a stream",
                "leave them out",
            )  # fmt: skip
        self.dataset = dataset
        self.batch_size = batch_size if batch_sampler is None else None
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.shuffle = bool(shuffle)
        self.sampler = sampler
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        # Made once, so that each pass has another order.
        self.generator = None if generator is None else numpy_generator(generator)

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return length_of(self.batch_sampler, "DataLoader")
        if self._streams or self.sampler is None:
            samples = length_of(self.dataset, "DataLoader")
        else:
            samples = length_of(self.sampler, "DataLoader")
        if self.batch_size is None:
            return samples
        return batch_count(samples, self.batch_size, self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        if self.pin_memory and cuda.is_available():
            return map(_pinned, self._batches())
        return self._batches()

    def _batches(self) -> Iterator[Any]:
        if self._streams:
            return self._stream(iter(self.dataset))
        if self.batch_sampler is not None:
            return (self._batch(np.asarray(indices, np.int64)) for indices in self.batch_sampler)
        return self._gather(self._order())

    def _order(self) -> Order:
        if self.sampler is not None:
            return np.fromiter(self.sampler, np.int64)
        length = length_of(self.dataset, "DataLoader")
        if self.shuffle:
            return permutation(length, self.generator)
        return np.arange(length)

    def _gather(self, order: Any) -> Iterator[Any]:
        size = self.batch_size
        if size is None:
            yield from (self.dataset[int(i)] for i in order)
            return
        for start in range(0, len(order), size):
            indices = order[start : start + size]
            if len(indices) < size and self.drop_last:
                return
            yield self._batch(indices)

    def _batch(self, indices: Order) -> Any:
        if self.collate_fn is not None:
            return self.collate_fn([self.dataset[int(i)] for i in indices])
        batch = fetch(self.dataset, indices)
        return list(batch) if type(batch) is tuple else batch

    def _stream(self, samples: Iterator[Any]) -> Iterator[Any]:
        if self.batch_size is None:
            yield from samples
            return
        for batch in batches(samples, self.batch_size, self.drop_last):
            yield (self.collate_fn or default_collate)(batch)


def _pinned(batch: Any) -> Any:
    """A batch with its tensors in pinned memory."""
    return mapped(lambda x: x.pin_memory() if x.is_cpu else x, batch)
