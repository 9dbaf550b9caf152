"""Modules that hold parameters: a list and a dict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tilework.errors import error
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor


def _parameter(op: str, value: Any) -> Parameter:
    """A value as a parameter; TypeError on what is no tensor."""
    if isinstance(value, Parameter):
        return value
    if not isinstance(value, Tensor):
        raise error(TypeError, op, "Parameters or Tensors", type(value).__name__, "wrap it")
    return Parameter(value.detach())


class ParameterList(Module):
    """A list of parameters, registered under "0", "1", ...; tensors become parameters.

    >>> len(nn.ParameterList([tw.ones(2), tw.zeros(3)]))
    2
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self.extend(values)

    def append(self, value: Any) -> ParameterList:
        """Adds a parameter at the end; returns the list."""
        self.register_parameter(str(len(self)), _parameter("ParameterList", value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Adds parameters at the end; returns the list."""
        for value in values:
            self.append(value)
        return self

    def _at(self, index: int) -> str:
        count = len(self)
        if not -count <= index < count:
            raise error(
                IndexError, "ParameterList", f"an index within {count} parameters", index,
                "lower it",
            )  # fmt: skip
        return str(index % count)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.__dict__[name] for name in self._names)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return self.__dict__[self._at(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._at(index), _parameter("ParameterList", value))

    def __iadd__(self, values: Iterable[Any]) -> ParameterList:
        return self.extend(values)


class ParameterDict(Module):
    """A dict of parameters, registered with the module that holds it; tensors become parameters.

    >>> list(nn.ParameterDict({"scale": tw.ones(2)}))
    ['scale']
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self.update(parameters or {})

    def update(self, parameters: Any) -> None:
        """Adds or replaces parameters, of a mapping or of pairs."""
        pairs = parameters.items() if hasattr(parameters, "items") else parameters
        for name, value in pairs:
            self[name] = value

    def __getitem__(self, name: str) -> Parameter:
        if name not in self._names:
            raise error(
                KeyError, "ParameterDict", f"one of {list(self._names)}", name, "add it first"
            )
        found: Parameter = self.__dict__[name]
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        self.register_parameter(name, _parameter("ParameterDict", value))

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def get(self, name: str, default: Any = None) -> Any:
        """The parameter of a name, or the default."""
        return dict(self.items()).get(name, default)

    def pop(self, name: str) -> Parameter:
        """Takes a parameter out."""
        found = self[name]
        del self[name]
        return found

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._names.keys()

    def values(self) -> list[Parameter]:
        """The parameters."""
        return [self[name] for name in self]

    def items(self) -> list[tuple[str, Parameter]]:
        """Names and parameters."""
        return [(name, self[name]) for name in self]
