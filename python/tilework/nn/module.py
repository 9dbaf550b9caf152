"""Module: the base of layers and networks.

Parameters, buffers and children are plain attributes; a module keeps beside them only their names
and kinds, in the order of registration, so that reading `layer.weight` costs what any attribute
costs.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tilework import dtypes
from tilework.arrays import namespace, set_writeable
from tilework.autograd import no_grad
from tilework.devices import Device, moved, names_device, resolved
from tilework.errors import error
from tilework.functional.border import bordered, restated
from tilework.functional.inplace import check_writable, written
from tilework.hooks import RemovableHandle
from tilework.layout import MemoryFormat, preserve_format
from tilework.nn.backward_hooks import BackwardHook, watched
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor, fresh

M = TypeVar("M", bound="Module")
Hook = Callable[..., Any]
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")

# Raised when a module gets or loses a hook, or a forward of its own: fused plans
# (containers.Sequential) are made anew.
hook_generation = itertools.count(1)
hooks_changed = 0


class IncompatibleKeys(NamedTuple):
    """What load_state_dict(strict=False) could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def _count_hooks() -> None:
    global hooks_changed
    hooks_changed = next(hook_generation)


def _placed(op: str, init: Any) -> Any:
    """The constructor of a layer that takes a dtype, with `device` beside it, as in PyTorch."""
    code = init.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if "dtype" not in names or "device" in names:
        return init

    @functools.wraps(init)
    def placed(self: Module, *args: Any, device: Device = None, **options: Any) -> None:
        if device is None:
            init(self, *args, **options)
            return
        with resolved(op, device):
            init(self, *args, **options)

    return placed


class Module:
    """A piece of a network: parameters, buffers, children, and a forward().

    >>> class Twice(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.inner = nn.Linear(2, 2)
    ...     def forward(self, x):
    ...         return self.inner(self.inner(x))
    >>> [name for name, _ in Twice().named_parameters()]
    ['inner.weight', 'inner.bias']
    """

    training: bool = True
    # The activations, by their `fused` names, that forward(activation=) applies in its own pass.
    fuses: Container[str] = ()
    _names: dict[
        str, str
    ]  # attribute -> "parameter", "buffer", "hidden" (a buffer not saved), "module"
    _forward_hooks: dict[int, Hook] | None = None
    _forward_pre_hooks: dict[int, Hook] | None = None
    _backward_hooks: dict[int, BackwardHook] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.startswith("tilework.nn.") and "__init__" in vars(cls):
            made = _placed(cls.__name__, cls.__init__)
            cls.__init__ = bordered(cls.__name__, made)  # type: ignore[method-assign]

    def __init__(self) -> None:
        object.__setattr__(self, "_names", {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        # copy.copy hands over the registry itself: what one of the two registers, the other lacks.
        self.__dict__.update(state)
        for name in ("_names", *_HOOKS):
            held = state.get(name)
            if held is not None:
                self.__dict__[name] = dict(held)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; each subclass says it."""
        raise NotImplementedError(
            f"[{type(self).__name__}] expected a forward(); got none: define it in the class"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if self._forward_pre_hooks or self._forward_hooks or self._backward_hooks:
                return self._call_hooked(args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as reason:
            # Layers of ours speak in the one form; a user's own module as its author wrote it.
            found = None
            if type(self).__module__.startswith("tilework.nn."):
                name, function = type(self).__name__, type(self).forward
                found = restated(name, function, reason, args, kwargs)
            if found is None:
                raise
            raise found from reason

    def _call_hooked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in list((self._forward_pre_hooks or {}).values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        if self._backward_hooks:
            output = watched(self, self._backward_hooks, args, kwargs)
        else:
            output = self.forward(*args, **kwargs)
        for hook in list((self._forward_hooks or {}).values()):
            changed = hook(self, args, output)
            if changed is not None:
                output = changed
        return output

    def register_forward_hook(self, hook: Hook) -> RemovableHandle:
        """Calls hook(module, args, output) after forward; what it returns, if anything, is the
        output."""
        return self._register_hook("_forward_hooks", hook)

    def register_forward_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Calls hook(module, args) before forward; what it returns (but None) are the arguments."""
        return self._register_hook("_forward_pre_hooks", hook)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Calls hook(module, grad_input, grad_output) when the gradients of the arguments are
        known: tuples, with None for what is no tensor or wants no gradient. What it returns, if
        anything, are the gradients of the arguments. `prepend`: before the other hooks.

        Arguments and results are copied in forward: an activation in place does not reach them.
        """
        return self._register_hook("_backward_hooks", BackwardHook(hook, False), prepend)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Calls hook(module, grad_output) before the module's own backward; what it returns, if
        anything, are the gradients of the results."""
        return self._register_hook("_backward_hooks", BackwardHook(hook, True), prepend)

    def _register_hook(self, name: str, hook: Any, prepend: bool = False) -> RemovableHandle:
        hooks = getattr(self, name)
        if hooks is None:
            hooks = {}
            object.__setattr__(self, name, hooks)
        return RemovableHandle(hooks, hook, prepend, _count_hooks)

    def _is_hooked(self) -> bool:
        return any(getattr(self, name) for name in _HOOKS)

    def compile(self, *args: Any, **options: Any) -> None:
        """Does nothing: see tilework.compile."""

    # --- registration ---

    def __setattr__(self, name: str, value: Any) -> None:
        names = self.__dict__.get("_names")
        if names is None:
            if isinstance(value, (Parameter, Module)):
                raise error(
                    AttributeError, type(self).__name__, "Module.__init__ called first",
                    f"an assignment to {name}", "begin __init__ with super().__init__()",
                )  # fmt: skip
        elif isinstance(value, Parameter):
            names[name] = "parameter"
        elif isinstance(value, Module):
            names[name] = "module"
        elif name in names:
            self._check_replacement(name, names[name], value)
        elif name == "forward":
            _count_hooks()
        object.__setattr__(self, name, value)

    def _check_replacement(self, name: str, kind: str, value: Any) -> None:
        allowed = value is None or (kind in ("buffer", "hidden") and isinstance(value, Tensor))
        if not allowed:
            wanted = {"parameter": "a Parameter", "module": "a Module"}.get(kind, "a Tensor")
            raise error(
                TypeError, f"{type(self).__name__}.{name}", f"{wanted} or None",
                type(value).__name__, "wrap it, or delete the attribute first",
            )  # fmt: skip

    def __delattr__(self, name: str) -> None:
        self._names.pop(name, None)
        object.__delattr__(self, name)
        if name == "forward":
            _count_hooks()

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Registers a parameter, or the place of one (None)."""
        self._check_name(name, "parameter")
        self._check_kind("register_parameter", param, Parameter)
        self._names[name] = "parameter"
        object.__setattr__(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Registers a tensor that is part of the state but not trained."""
        self._check_name(name, "buffer", "hidden")
        self._check_kind("register_buffer", tensor, Tensor)
        self._names[name] = "buffer" if persistent else "hidden"
        object.__setattr__(self, name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Registers a child under a name."""
        self._check_name(name, "module")
        self._check_kind("add_module", module, Module)
        self._names[name] = "module"
        object.__setattr__(self, name, module)

    register_module = add_module

    def _check_name(self, name: str, *kinds: str) -> None:
        """A name is free, or that of something of one of these kinds, which is then replaced."""
        taken = self._names.get(name) not in kinds and hasattr(self, name)
        if not name or "." in name or taken:
            raise error(
                KeyError, type(self).__name__, "a free name without dots", repr(name), "rename it"
            )

    @staticmethod
    def _check_kind(op: str, value: Any, kind: type) -> None:
        if value is not None and not isinstance(value, kind):
            raise error(
                TypeError, op, f"a {kind.__name__} or None", type(value).__name__, "wrap it first"
            )

    # --- what it holds ---

    def _own(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        for name, kind in self._names.items():
            if kind in kinds:
                value = self.__dict__[name]
                if value is not None:
                    yield name, value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The children, each once, and their names."""
        seen: set[int] = set()
        for name, child in self._own("module"):
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The children, each once."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all under it, each once, with dotted names."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            below = [
                (f"{name}.{child_name}" if name else child_name, child)
                for child_name, child in module.named_children()
            ]
            stack.extend(reversed(below))

    def modules(self) -> Iterator[Module]:
        """This module and all under it, each once."""
        return (module for _, module in self.named_modules())

    def _named(self, prefix: str, recurse: bool, *kinds: str) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, value in module._own(*kinds):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters, each once, with dotted names."""
        return self._named(prefix, recurse, "parameter")

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (p for _, p in self.named_parameters("", recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """The buffers, each once, with dotted names."""
        return self._named(prefix, recurse, "buffer", "hidden")

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (b for _, b in self.named_buffers("", recurse))

    def get_submodule(self, target: str) -> Module:
        """The module under a dotted name; AttributeError where there is none."""
        module: Module = self
        for part in target.split(".") if target else []:
            found = getattr(module, part, None)
            if not isinstance(found, Module):
                raise error(
                    AttributeError, "get_submodule", f"a module called {target!r}",
                    f"none called {part!r} in {type(module).__name__}", "see named_modules()",
                )  # fmt: skip
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter under a dotted name; AttributeError where there is none."""
        found: Parameter = self._held(target, "get_parameter", Parameter)
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer under a dotted name; AttributeError where there is none."""
        found: Tensor = self._held(target, "get_buffer", Tensor)
        return found

    def _held(self, target: str, op: str, kind: type) -> Any:
        path, _, name = target.rpartition(".")
        found = getattr(self.get_submodule(path), name, None)
        if not isinstance(found, kind):
            raise error(
                AttributeError, op, f"a {kind.__name__} called {target!r}", type(found).__name__,
                "see named_parameters() and named_buffers()",
            )  # fmt: skip
        return found

    # --- state ---

    def _state(self) -> dict[str, Tensor]:
        """What is saved, by dotted name; tied tensors under each of their names."""
        state: dict[str, Tensor] = dict(self._own("parameter", "buffer"))
        for name, child in self._own("module"):
            state.update((f"{name}.{key}", value) for key, value in child._state().items())
        return state

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers by dotted name, detached, on the module's own memory."""
        return {name: value.detach() for name, value in self._state().items()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies a state into the module: of tensors, NumPy arrays, or a live PyTorch state_dict.

        With `strict` every key must match. With `assign` the state's tensors take the place of the
        module's, whose dtype and device they keep: make the optimiser after it. ValueError lists
        all missing, unexpected and mismatched keys, and the module stays as it was.
        """
        if not isinstance(state_dict, Mapping):
            raise error(
                TypeError, "load_state_dict", "names mapped to tensors",
                type(state_dict).__name__, "pass the result of state_dict() or io.load()",
            )  # fmt: skip
        own = self._state()
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        arrays = {name: _as_array(name, state_dict[name]) for name in own if name in state_dict}
        mismatched = [
            f"{name}: {own[name].shape} here, {array.shape} there"
            for name, array in arrays.items()
            if array.shape != own[name].shape
        ]
        faults = [f"mismatched: {'; '.join(mismatched)}"] if mismatched else []
        if strict:
            faults += [f"missing: {', '.join(missing)}"] if missing else []
            faults += [f"unexpected: {', '.join(map(str, unexpected))}"] if unexpected else []
        if faults:
            raise error(
                ValueError, "load_state_dict", f"the state of a {type(self).__name__}",
                " | ".join(faults), "load into a model of the same shape"
                + ("" if mismatched else ", or pass strict=False"),
            )  # fmt: skip
        if assign:
            for name in arrays:
                self._assign(name, own[name], state_dict[name], arrays[name])
            return IncompatibleKeys(missing, unexpected)
        with no_grad():
            for name in arrays:
                check_writable("load_state_dict", own[name])
            for name, array in arrays.items():
                own[name]._array[...] = moved(array, own[name].device)
                written(own[name])
        return IncompatibleKeys(missing, unexpected)

    def _assign(self, name: str, old: Tensor, given: Any, array: Any) -> None:
        """Puts a state's tensor in a parameter's or buffer's place."""
        parent, _, leaf = name.rpartition(".")
        value = given.detach() if isinstance(given, Tensor) else fresh(array.copy())
        if isinstance(old, Parameter):
            value = Parameter(value, requires_grad=old.requires_grad)
        setattr(self.get_submodule(parent), leaf, value)

    # --- modes and conversions ---

    def train(self: M, mode: bool = True) -> M:
        """Puts this module and all under it in training mode (or out of it); returns it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Puts this module and all under it in evaluation mode; returns it."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Asks for (or refuses) gradients of all parameters; returns the module."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters, or fills them with zeros."""
        for p in self.parameters():
            if set_to_none:
                p._grad = None
            elif p.grad is not None:
                p.grad = fresh(namespace(p._array).zeros_like(p._array))

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Calls fn on all modules, children first; returns this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(
        self: M,
        *args: Any,
        dtype: Any = None,
        device: Device = None,
        memory_format: MemoryFormat = preserve_format,
    ) -> M:
        """Moves parameters and buffers to a device, and converts those of floats to a float dtype,
        in place; returns the module. Those of four axes go over to a memory format where one is
        given. An optimiser is made after the move, as in PyTorch.

        TypeError on another dtype, RuntimeError on a device that is not here.
        """
        for arg in args:
            if names_device(arg):
                device = arg
            else:
                dtype = arg.dtype if isinstance(arg, Tensor) else arg
                device = arg.device if isinstance(arg, Tensor) else device
        if device is not None:
            to = resolved("to", device)
            for t in itertools.chain(self.parameters(), self.buffers()):
                _move(t, to)
        if dtype is not None:
            wanted = dtypes.check(dtype, "to")
            if not dtypes.is_float(wanted):
                raise error(TypeError, "to", "a float dtype", wanted, "use float32")
            for t in itertools.chain(self.parameters(), self.buffers()):
                _convert(t, wanted)
        if memory_format is not preserve_format:
            for t in itertools.chain(self.parameters(), self.buffers()):
                if t.ndim == 4:
                    t.data = t.detach().contiguous(memory_format)
        return self

    def cpu(self: M) -> M:
        """Moves parameters and buffers to the CPU's memory, in place; returns the module."""
        return self.to("cpu")

    def cuda(self: M, device: Device = None) -> M:
        """Moves parameters and buffers to a CUDA device, in place; returns the module.
        RuntimeError, which says what is missing, where there is no device."""
        return self.to("cuda" if device is None else device)

    def float(self: M) -> M:
        """All float parameters and buffers as float32."""
        return self.to(dtypes.float32)

    def double(self: M) -> M:
        """All float parameters and buffers as float64."""
        return self.to(dtypes.float64)

    def bfloat16(self: M) -> M:
        """All float parameters and buffers as bfloat16."""
        return self.to(dtypes.bfloat16)

    # --- repr ---

    def extra_repr(self) -> str:
        """What stands in the brackets of the module's repr."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines = [
            f"  ({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self._own("module")
        ]
        extra = self.extra_repr()
        if not lines:
            return f"{self._get_name()}({extra})"
        head = f"{self._get_name()}({extra}" if extra else f"{self._get_name()}("
        return "\n".join([head, *lines, ")"])


def _as_array(name: str, value: Any) -> Any:
    """The array in whatever a state holds under `name`."""
    if isinstance(value, Tensor):
        return value._array
    if not isinstance(value, np.ndarray) and hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) in ("torch.bfloat16", "torch.float16"):
            value = value.float()  # float32 holds both exactly; NumPy lacks one, tilework the other
        value = value.numpy()
    try:
        array = np.asarray(value)
        dtypes.check(array.dtype, "load_state_dict")
    except (TypeError, ValueError) as reason:
        raise error(
            TypeError, "load_state_dict", f"an array under {name!r}",
            f"{type(value).__name__} ({reason})", "pass tensors or arrays of a dtype named here",
        ) from reason  # fmt: skip
    return array


def _move(t: Tensor, to: Any) -> None:
    """Another device for a tensor that modules hold by identity, and for its gradient."""
    if t.device.type == to.type:
        return
    frozen = t._storage.frozen
    t.data = t.detach().to(to)
    _freeze(t, frozen)
    if t._grad is not None:
        t.grad = t.grad.to(to)  # type: ignore[union-attr]


def _freeze(t: Tensor, frozen: bool) -> None:
    """Keeps a tensor read-only, where it was."""
    set_writeable(t._array, not frozen)
    t._storage.frozen = frozen


def _convert(t: Tensor, dtype: dtypes.DType) -> None:
    """Another float dtype for a tensor that modules and optimisers hold by identity."""
    if not dtypes.is_float(t.dtype) or t.dtype == dtype:
        return
    frozen = t._storage.frozen
    t.data = t.detach().to(dtype)
    _freeze(t, frozen)
    if t._grad is not None:
        t.grad = fresh(t.grad._array.astype(dtype))  # type: ignore[union-attr]
