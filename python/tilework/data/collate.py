"""default_collate: samples stacked into one batch, as torch.utils.data.default_collate does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from tilework import dtypes, functional
from tilework.errors import error
from tilework.tensor import Tensor, fresh

_OP = "default_collate"


def default_collate(batch: Sequence[Any]) -> Any:
    """Stacks samples into one batch: tensors, arrays and numbers along a new first axis.

    Python floats become float64, integers int64, text stays as it is. Dicts, lists and named tuples
    are stacked member by member and keep their type; a plain tuple becomes a list, as in PyTorch.
    TypeError on anything else, and on arrays of a dtype that tilework does not compute in
    (float16, uint16, complex, text); ValueError on members of unequal shapes or lengths.

    >>> images, labels = default_collate([(np.zeros(3), 1), (np.ones(3), 0)])
    >>> images.shape, labels.tolist()
    ((2, 3), [1, 0])
    >>> default_collate([{"x": 0.5, "name": "a"}, {"x": 1.5, "name": "b"}])
    {'x': tensor([0.5, 1.5], dtype=float64), 'name': ['a', 'b']}
    """
    if not len(batch):
        raise error(ValueError, _OP, "one sample or more", "none", "leave empty batches out")
    first = batch[0]
    if isinstance(first, Tensor):
        return _tensors(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, (np.ndarray, np.generic)):
        return _stacked([np.asarray(sample) for sample in batch])
    if isinstance(first, (int, float)):
        return functional.tensor(batch, dtype=dtypes.float64 if isinstance(first, float) else None)
    if isinstance(first, Mapping):
        return _mapping(first, batch)
    if isinstance(first, Sequence):
        return _sequence(first, batch)
    raise error(
        TypeError, _OP, "tensors, arrays, numbers, text, dicts, lists and tuples",
        type(first).__name__, "give the loader a collate_fn",
    )  # fmt: skip


def _tensors(batch: Sequence[Any]) -> Tensor:
    for sample in batch:
        if not isinstance(sample, Tensor):
            raise error(
                TypeError, _OP, "samples of one kind, Tensors", type(sample).__name__,
                "make all of them tensors",
            )  # fmt: skip
    if any(sample.requires_grad or sample.is_cuda for sample in batch):
        return functional.stack(batch)
    return _stacked([sample._array for sample in batch])


def _stacked(arrays: list[Any]) -> Tensor:
    kinds = {dtypes.check(a.dtype.newbyteorder("="), _OP) for a in arrays}
    if len({a.shape for a in arrays}) > 1:
        raise error(
            ValueError, _OP, "samples of one shape", ", ".join(str(a.shape) for a in arrays[:8]),
            "cut or pad them, or give the loader a collate_fn",
        )  # fmt: skip
    return fresh(np.stack(arrays).astype(reduce(dtypes.promote, kinds), copy=False))


def _mapping(first: Mapping[Any, Any], batch: Sequence[Any]) -> Any:
    made = {key: default_collate([sample[key] for sample in batch]) for key in first}
    if type(first) is dict:
        return made
    try:
        if isinstance(first, MutableMapping):  # which may hold more than its items
            twin = copy.copy(first)
            twin.update(made)
            return twin
        return type(first)(made)  # type: ignore[call-arg]
    except TypeError:  # a type that is made in another way
        return made


def _sequence(first: Sequence[Any], batch: Sequence[Any]) -> Any:
    lengths = [len(sample) for sample in batch]
    if len(set(lengths)) > 1:
        raise error(
            ValueError, _OP, "samples of one length", lengths[:8],
            "cut or pad them, or give the loader a collate_fn",
        )  # fmt: skip
    made = [default_collate(members) for members in zip(*batch, strict=True)]
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*made)
    if isinstance(first, tuple) or type(first) is list:
        return made
    kind: Callable[[Any], Any] = type(first)
    try:
        return kind(made)
    except TypeError:  # a range, say
        return made


def default_convert(data: Any) -> Any:
    """Arrays and NumPy's numbers as tensors, within dicts, lists and tuples too; what else there is
    as it is: what a loader without batches may apply to a sample.

    >>> default_convert([np.zeros(2, np.float32), "text"])
    [tensor([0., 0.]), 'text']
    """
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind not in "SUO":
        return functional.as_tensor(data)
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, (list, tuple)):
        return [default_convert(value) for value in data]
    return data


def get_worker_info() -> None:
    """What a dataset asks for its share of the work: None, in the one process that there is.

    >>> get_worker_info() is None
    True
    """
