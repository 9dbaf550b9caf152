"""Modules that hold modules, or parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from tilework.errors import error
from tilework.nn import module as module_state
from tilework.nn.activation import Activation
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor

Held = TypeVar("Held")


class _Numbered(Module, Generic[Held]):
    """What is held under the names "0", "1", ...: what lists of modules and of parameters share."""

    _kind = "modules"

    def _at(self, index: int) -> str:
        count = len(self)
        if not -count <= index < count:
            raise error(
                IndexError, type(self).__name__, f"an index within {count} {self._kind}", index,
                "lower it",
            )  # fmt: skip
        return str(index % count)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Held]:
        return iter(self.__dict__[name] for name in self._names)


class _Named(Module, Generic[Held]):
    """What is held under names: what dicts of modules and of parameters share."""

    def __getitem__(self, name: str) -> Held:
        if name not in self._names:
            raise error(
                KeyError, type(self).__name__, f"one of {list(self._names)}", name, "add it first"
            )
        found: Held = self.__dict__[name]
        return found

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._names.keys()

    def values(self) -> list[Held]:
        """The values."""
        return [self[name] for name in self]

    def items(self) -> list[tuple[str, Held]]:
        """Names and values."""
        return [(name, self[name]) for name in self]


class _Chain(_Numbered[Module]):
    """Children in a row: what Sequential and ModuleList share."""

    def _put(self, modules: Iterable[Module]) -> None:
        """Holds exactly these."""
        for name in list(self._names):
            delattr(self, name)
        for i, child in enumerate(modules):
            self.add_module(str(i), child)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)._of(list(self)[index])
        return self.__dict__[list(self._names)[int(self._at(index))]]

    def __setitem__(self, index: int, child: Module) -> None:
        self.add_module(list(self._names)[int(self._at(index))], child)

    def __delitem__(self, index: int) -> None:
        kept = list(self)
        del kept[int(self._at(index))]
        self._put(kept)

    @classmethod
    def _of(cls, modules: list[Module]) -> _Chain:
        raise NotImplementedError

    def append(self, module: Module) -> Any:
        """Adds a module at the end; returns the container."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Adds modules at the end; returns the container."""
        for child in modules:
            self.append(child)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Puts a module before position `index`; returns the container."""
        held = list(self)
        held.insert(index, module)
        self._put(held)
        return self


class Sequential(_Chain):
    """Runs modules one after the other; takes them in order, or a dict of names.

    A linear layer, convolution or batch norm followed by an activation runs as one fused call where
    neither has hooks: same numbers in both directions, one pass over memory less.

    >>> nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))(tw.ones(5, 3)).shape
    (5, 2)
    """

    _plan: tuple[int, list[Any]] | None = None

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, child in modules[0].items():
                self.add_module(name, child)
        else:
            self._put(modules)

    @classmethod
    def _of(cls, modules: list[Module]) -> Sequential:
        return cls(*modules)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self._names:
            self._replan()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._replan()

    def add_module(self, name: str, module: Module | None) -> None:
        """Registers a child under a name, at the end or in the place of its namesake."""
        if not isinstance(module, Module):
            raise error(
                TypeError, type(self).__name__, "Modules", type(module).__name__, "wrap functions"
            )
        super().add_module(name, module)
        self._replan()

    def _replan(self) -> None:
        object.__setattr__(self, "_plan", None)

    def __getstate__(self) -> dict[str, Any]:
        # A plan's generation counts this process's hooks: elsewhere it could seem to be in date.
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}

    def _make_plan(self) -> list[Any]:
        """The steps of forward: modules; and for a plain layer that can apply an activation, itself
        with the one behind it, or what stands for none."""
        steps: list[Any] = []
        for child in self:
            before = steps[-1] if steps else None
            if _is_plain(child) and child.fuses:
                steps.append((child, _NO_ACTIVATION))
            elif (
                before.__class__ is tuple
                and before[1] is _NO_ACTIVATION
                and isinstance(child, Activation)
                and _is_plain(child)
                and child.fused in before[0].fuses
            ):
                steps[-1] = (before[0], child)
            else:
                steps.append(child)
        object.__setattr__(self, "_plan", (module_state.hooks_changed, steps))
        return steps

    def forward(self, input: Any) -> Any:
        """The output of the last module."""
        plan = self._plan
        if plan is not None and plan[0] == module_state.hooks_changed:
            steps = plan[1]
        else:
            steps = self._make_plan()
        for step in steps:
            if step.__class__ is tuple:
                layer, activation = step
                input = layer.forward(input, activation=activation.fused)
            else:
                input = step(input)
        return input


class _NoActivation:
    fused = "none"


_NO_ACTIVATION = _NoActivation()


def _is_plain(module: Any) -> bool:
    """Whether a call of `module` is exactly its class's own forward, and the class one of ours."""
    return (
        isinstance(module, Module)
        and type(module).__module__.startswith("tilework.nn.")
        and "forward" not in module.__dict__
        and not module._is_hooked()
    )


class ModuleList(_Chain):
    """A list of modules, registered: their parameters are those of the module that holds it.

    >>> len(nn.ModuleList([nn.ReLU(), nn.ReLU()]))
    2
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    @classmethod
    def _of(cls, modules: list[Module]) -> ModuleList:
        return cls(modules)


class ModuleDict(_Named[Module]):
    """A dict of modules, registered: their parameters are those of the module that holds it.

    >>> list(nn.ModuleDict({"a": nn.ReLU()}))
    ['a']
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        """Adds or replaces modules."""
        for name, child in modules.items():
            self.add_module(name, child)

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)


def _parameter(op: str, value: Any) -> Parameter:
    """A value as a parameter; TypeError on what is no tensor."""
    if isinstance(value, Parameter):
        return value
    if not isinstance(value, Tensor):
        raise error(TypeError, op, "Parameters or Tensors", type(value).__name__, "wrap it")
    return Parameter(value.detach())


class ParameterList(_Numbered[Parameter]):
    """A list of parameters, registered under "0", "1", ...; tensors become parameters.

    >>> len(nn.ParameterList([tw.ones(2), tw.zeros(3)]))
    2
    """

    _kind = "parameters"

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

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return self.__dict__[self._at(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._at(index), _parameter("ParameterList", value))

    def __iadd__(self, values: Iterable[Any]) -> ParameterList:
        return self.extend(values)


class ParameterDict(_Named[Parameter]):
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

    def __setitem__(self, name: str, value: Any) -> None:
        self.register_parameter(name, _parameter("ParameterDict", value))

    def get(self, name: str, default: Any = None) -> Any:
        """The parameter of a name, or the default."""
        return self.__dict__[name] if name in self._names else default

    def pop(self, name: str) -> Parameter:
        """Takes a parameter out."""
        found = self[name]
        del self[name]
        return found
