"""Tensors in what programs pass around: tuples, lists, mappings, dataclasses, one in another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
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


def mapped(change: Callable[[Tensor], Any], value: Any) -> Any:
    """The same, with change(x) in the place of each tensor x; dataclasses stay as they are.

    >>> from tilework.nested import mapped
    >>> mapped(lambda x: x.shape, {"a": tw.ones(2), "b": [tw.ones(3), 1]})
    {'a': (2,), 'b': [(3,), 1]}
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return type(value)({k: mapped(change, v) for k, v in value.items()})  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(change, v) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(change, v) for v in value)
    return value
