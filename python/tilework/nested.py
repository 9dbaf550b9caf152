"""Tensors in what programs pass around: tuples, lists, mappings, dataclasses, one in another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from tilework.tensor import Tensor


def tensors_in(value: Any) -> Iterator[Tensor]:
    """They in their order; whatever else is in it is passed by.

    >>> from tilework.nested import tensors_in
    >>> [x.shape for x in tensors_in({"a": tw.ones(2), "b": [tw.ones(3), 1]})]
    [(2,), (3,)]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for member in value:
            yield from tensors_in(member)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from tensors_in([getattr(value, f.name) for f in dataclasses.fields(value)])
