"""Datasets, as in torch.utils.data: something with a length and items, or something to iterate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework import functional
from tilework.data.collate import default_collate
from tilework.errors import error
from tilework.functional.generator import Generator
from tilework.tensor import Tensor, fresh

Indices = NDArray[np.int64]


def fetch(dataset: Any, indices: Indices) -> Any:
    """The samples at `indices`, collated: by the dataset itself where it knows how."""
    if isinstance(dataset, Dataset):
        return dataset.batch(indices)
    return default_collate([dataset[int(i)] for i in indices])


def length_of(dataset: Any, op: str) -> int:
    """len(dataset); TypeError where it has none."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        raise error(
            TypeError, op, "a dataset with a length", type(dataset).__name__,
            "give its class __len__, or count the samples while iterating",
        ) from None  # fmt: skip


def is_stream(dataset: Any) -> bool:
    """Whether a dataset can only be iterated over; TypeError where it is no dataset at all."""
    if isinstance(dataset, IterableDataset):
        return True
    if hasattr(dataset, "__getitem__"):
        return False
    if hasattr(dataset, "__iter__"):
        return True
    raise error(
        TypeError, "DataLoader", "a dataset: a list, or what has __len__ and __getitem__, or "
        "__iter__", type(dataset).__name__, "wrap arrays in data.TensorDataset",
    )  # fmt: skip


class Dataset:
    """A sequence of samples: subclasses give `__len__` and `__getitem__`.

    A list serves as well, and so does any class with these two.
    """

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError

    def batch(self, indices: Indices) -> Any:
        """The samples at `indices`, collated. Datasets of arrays gather them in one call."""
        return default_collate([self[int(i)] for i in indices])


class IterableDataset:
    """A stream of samples, with no length: subclasses give `__iter__`."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError


class TensorDataset(Dataset):
    """Samples that are rows of arrays or tensors, all of one length.

    >>> data = TensorDataset(np.arange(6.0).reshape(3, 2), np.array([0, 1, 0]))
    >>> len(data), data[1]
    (3, (tensor([2., 3.], dtype=float64), tensor(1)))
    """

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tuple(functional.as_tensor(t) for t in tensors)
        lengths = [t.shape[0] if t.shape else None for t in self.tensors]
        if not lengths or None in lengths or len(set(lengths)) != 1:
            raise error(
                ValueError, "TensorDataset", "tensors of one length along axis 0",
                f"lengths {lengths}", "cut them to the same length",
            )  # fmt: skip

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(np.asarray(t._array[index])) if t.is_cpu else t.detach()[index].clone()
            for t in self.tensors
        )

    def batch(self, indices: Indices) -> tuple[Tensor, ...]:
        return tuple(
            fresh(np.take(t._array, indices, axis=0)) if t.is_cpu else t.detach()[indices]
            for t in self.tensors
        )


class Subset(Dataset):
    """The samples of `dataset` at `indices`."""

    def __init__(self, dataset: Any, indices: Sequence[int] | Indices) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def batch(self, indices: Indices) -> Any:
        return fetch(self.dataset, self.indices[indices])


class TransformedDataset(Dataset):
    """The samples of `dataset`, which are tuples, as `transform(*sample)` makes them.

    A transform sees whole batches: samples stacked along a first axis.

    >>> pairs = TensorDataset(np.zeros((4, 1, 8, 8)), np.arange(4))
    >>> doubled = TransformedDataset(pairs, lambda images, labels: (images + 1, labels * 2))
    >>> doubled.batch([1, 3])[1], doubled[3][0].shape
    (tensor([2, 6]), (1, 8, 8))
    """

    def __init__(self, dataset: Any, transform: Callable[..., Any]) -> None:
        self.dataset = dataset
        self.transform = transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(member[0] for member in self.batch(np.array([index])))

    def batch(self, indices: Indices) -> tuple[Tensor, ...]:
        made: tuple[Tensor, ...] = self.transform(*fetch(self.dataset, indices))
        return made


def random_split(
    dataset: Any,
    lengths: Sequence[int | float],
    generator: np.random.Generator | Generator | int | None = None,
    *,
    stratify: Any = None,
) -> list[Subset]:
    """Cuts a permutation of `dataset` into parts of the given lengths, or fractions that sum to 1.

    `generator` is a seed, a tilework.Generator or a NumPy generator; by default tilework's own
    decides. `stratify`, a label for each sample (beyond PyTorch's arguments), gives each part its
    share of each label, as scikit-learn's argument of that name does for two parts. ValueError
    where the lengths do not sum to the dataset's, or there are not as many labels. What fractions
    leave over goes one sample each to the first parts, as in PyTorch.

    >>> samples, labels = TensorDataset(np.zeros(10)), ["a", "b", "b", "b", "b"] * 2
    >>> [len(part) for part in random_split(samples, [0.75, 0.25], generator=0)]
    [8, 2]
    >>> train, validation, test = random_split(samples, [5, 2, 3], generator=0, stratify=labels)
    >>> sorted(labels[i] for i in train.indices)
    ['a', 'b', 'b', 'b', 'b']
    """
    from tilework.data.loader import permutation

    total = length_of(dataset, "random_split")
    sizes = [int(n) for n in lengths]
    if any(isinstance(n, float) for n in lengths) and abs(sum(lengths) - 1) < 1e-6:
        sizes = [int(total * fraction) for fraction in lengths]
        for i in range(total - sum(sizes)):
            sizes[i % len(sizes)] += 1
    if sum(sizes) != total or min(sizes, default=0) < 0:
        raise error(
            ValueError, "random_split", f"lengths that sum to {total}, or fractions to 1",
            list(lengths), "give the last part what is left",
        )  # fmt: skip
    order = permutation(total, generator)
    if stratify is not None:
        parts = _stratified(order, sizes, _classes(stratify, total))
    else:
        parts = np.split(order, np.cumsum(sizes)[:-1])
    return [Subset(dataset, part) for part in parts]


def _classes(stratify: Any, total: int) -> Indices:
    """The number of each sample's label among those that there are."""
    labels = stratify.cpu().numpy() if isinstance(stratify, Tensor) else np.asarray(stratify)
    if labels.shape != (total,):
        raise error(
            ValueError, "random_split", f"stratify ({total},), a label for each sample",
            labels.shape, "give the classes' numbers or names",
        )  # fmt: skip
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _stratified(order: Indices, sizes: Sequence[int], classes: Indices) -> list[Indices]:
    """`order` dealt to parts of these sizes. A part takes of each class its share of what the parts
    before have left, rounded so that the part is full: the largest fractions are rounded up."""
    members = [order[classes[order] == label] for label in range(classes.max(initial=-1) + 1)]
    left = np.array([len(m) for m in members], np.int64)
    part_of = np.empty(len(order), np.int64)
    for part, size in enumerate(sizes):
        share = left * size / max(1, left.sum())
        taken = np.floor(share).astype(np.int64)
        for label in np.argsort(taken - share, kind="stable")[: size - taken.sum()]:
            taken[label] += 1
        for label, count in enumerate(taken):
            part_of[members[label][len(members[label]) - left[label] :][:count]] = part
        left -= taken
    return [order[part_of[order] == part] for part in range(len(sizes))]
