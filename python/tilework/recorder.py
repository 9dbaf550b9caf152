"""Notes what a program computes: each call at the functional boundary, and each of a kernel's.

The interpreter's own hook (`sys.setprofile`) tells of calls while a recorder runs, so that without
one nothing is asked anywhere, and no function is wrapped. `tilework.profiler` and
`tilework.io.onnx` read what it notes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import cache
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType
from typing import Any

from tilework.autograd import Op
from tilework.engines import CONTRACT
from tilework.errors import error

# Entrances that layers take, by the op that they are.
_ENTRANCES = (
    ("tilework.functional.gemm", "fused_linear", "linear"),
    ("tilework.functional.conv", "fused_conv2d", "conv2d"),
    ("tilework.functional.attention", "weights_under", "attention_weights"),
    ("tilework.functional.packing", "pack", "pack_padded_sequence"),
    ("tilework.functional.packing", "pad", "pad_packed_sequence"),
)


class Call:
    """One call of an op, or of a kernel.

    Attributes:
        name: The op's, as in `tilework.functional`, or a method's of Tensor; a kernel's in its
            engine.
        kind: "op", "backward", "kernel", or "part" of a program that was named.
        arguments: By their names; of a kernel none.
        result: What it gave; None where it raised.
        start, end: Nanoseconds of time.perf_counter_ns.
        inner: The calls within it, in their order.
    """

    __slots__ = ("arguments", "end", "inner", "kind", "name", "result", "start")

    def __init__(self, name: str, kind: str, arguments: dict[str, Any]) -> None:
        self.name = name
        self.kind = kind
        self.arguments = arguments
        self.result: Any = None
        self.inner: list[Call] = []
        self.end = 0
        self.start = time.perf_counter_ns()


class Recorder:
    """Notes the calls of the thread that enters it, until it leaves: `with Recorder() as r: ...`.

    RuntimeError where another recorder, or a profiler of Python's, runs in this thread.

    >>> from tilework.recorder import Recorder
    >>> with Recorder() as recorder:
    ...     y = F.relu(tw.ones(2)) + 1
    >>> [call.name for call in recorder.calls]
    ['ones', 'relu', '__add__']
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._open: list[tuple[object, Call]] = []  # what ends each

    def __enter__(self) -> Recorder:
        if sys.getprofile() is not None:
            raise error(
                RuntimeError, "Recorder", "a thread that nothing profiles", "one that is profiled",
                "leave the other recorder or profiler first",
            )  # fmt: skip
        _functions()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def begin(self, name: str, kind: str, arguments: dict[str, Any], ender: object) -> None:
        """Notes that a call begins, within the one that is open; `ender` is what ends it."""
        call = Call(name, kind, arguments)
        (self._open[-1][1].inner if self._open else self.calls).append(call)
        self._open.append((ender, call))

    def finish(self, result: Any = None) -> None:
        """The innermost open call has ended."""
        call = self._open.pop()[1]
        call.end = time.perf_counter_ns()
        call.result = result

    def _note(self, frame: FrameType, event: str, value: Any) -> None:
        if event == "call":
            named = _functions().get(frame.f_code)
            if named is not None:
                name, kind = named(frame)
                self.begin(name, kind, dict(frame.f_locals), frame)
        elif event == "return":
            if self._open and self._open[-1][0] is frame:
                self.finish(value)
        elif event == "c_call":
            if type(value) is BuiltinFunctionType and _is_kernel(value):
                self.begin(value.__name__, "kernel", {}, value)
        elif self._open and self._open[-1][0] is value:  # c_return, c_exception
            self.finish()


_KERNELS = frozenset(CONTRACT)


def _is_kernel(function: BuiltinFunctionType) -> bool:
    return function.__name__ in _KERNELS and function.__module__ == "tilework._native"


Named = Callable[[FrameType], "tuple[str, str]"]


@cache
def _functions() -> dict[CodeType, Named]:
    """The public functions, methods and gradients by their code: within what is wrapped, as the
    arguments are bound by name there."""
    import importlib

    from tilework import functional
    from tilework.tensor import Tensor

    found: dict[CodeType, list[tuple[str, FunctionType]]] = {}

    def add(name: str, function: Any) -> None:
        # A wrapper has the name of what it wraps; a method that writes in place has its own.
        while (
            inner := getattr(function, "__wrapped__", None)
        ) is not None and inner.__name__ == function.__name__:
            function = inner
        if isinstance(function, FunctionType):
            found.setdefault(function.__code__, []).append((name, function))

    for name in functional.__all__:
        add(name, getattr(functional, name))
    for module, name, op in _ENTRANCES:
        add(op, getattr(importlib.import_module(module), name))
    for name, function in vars(Tensor).items():
        if isinstance(function, property):
            function = function.fget if name in _VIEWS else None
        private = name.startswith("_") and not name.startswith("__")
        if isinstance(function, FunctionType) and name not in _NOT_OPS and not private:
            add(name, function)
    table = {code: _named(named) for code, named in found.items()}
    return {**_gradients(), **table}


_VIEWS = frozenset({"T", "mT"})
_NOT_OPS = frozenset(
    {
        *("__init__", "__repr__", "__str__", "__len__", "__iter__", "__bool__", "__format__"),
        *("__array__", "__dlpack__", "__dlpack_device__", "__array_function__", "__setattr__"),
        *("__reduce__", "__reduce_ex__", "__copy__", "__deepcopy__", "backward", "size", "dim"),
        *("numel", "element_size", "nelement", "register_hook", "requires_grad_", "retain_grad"),
        *("detach_", "stride", "is_contiguous", "is_floating_point", "get_device", "data_ptr"),
        *("item", "tolist", "numpy"),
    }
)


def _named(known: list[tuple[str, FunctionType]]) -> Named:
    """From a frame to the name: functions that one factory made share their code, and differ in
    what they close over."""
    first = known[0][0]
    free = known[0][1].__code__.co_freevars
    if len(known) == 1 or not free:
        return lambda frame: (first, "op")

    def name(frame: FrameType) -> tuple[str, str]:
        for candidate, function in known:
            cells = function.__closure__ or ()
            here = frame.f_locals
            if all(here.get(v) is c.cell_contents for v, c in zip(free, cells, strict=True)):
                return candidate, "op"
        return first, "op"

    return name


def _gradients() -> dict[CodeType, Named]:
    """The gradients of all ops, by the ops' names: many share their code, and the tape, which calls
    it, knows the op."""
    import gc

    def named(frame: FrameType) -> tuple[str, str]:
        caller = frame.f_back
        op = None if caller is None else caller.f_locals.get("op")
        return getattr(op, "name", frame.f_code.co_name), "backward"

    return {
        op.backward.__code__: named
        for op in gc.get_objects()
        # By its type: a weak reference's stand-in answers for an object that may be gone.
        if issubclass(type(op), Op) and isinstance(op.backward, FunctionType)
    }
