"""The public border: what goes wrong inside with strange arguments comes out in the one form.

Functions check what people get wrong; what they do not foresee (`"a" < 1` inside, bytes that NumPy
takes for text) is told here, by the function's name, its arguments and the reason. A try around a
call costs nothing until it raises.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import CO_VARARGS
from typing import Any, TypeVar

import ml_dtypes

from tilework.arrays import host, ndarray
from tilework.engines.device import apart
from tilework.errors import error
from tilework.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])

_PACKAGE = os.path.dirname(os.path.dirname(__file__))
_OURS = tuple(
    os.path.join(p, "")
    for p in (_PACKAGE, *(os.path.dirname(m.__file__) for m in (host, ml_dtypes) if m.__file__))
)
_TESTS = os.path.join(_PACKAGE, "tests", "")

# The class that a caller sees, by the first that fits. What is in no line is a fault of ours or the
# system's (NameError, MemoryError, OSError) and stays what it is.
_CLASSES: tuple[tuple[type[Exception], type[Exception]], ...] = (
    (MemoryError, MemoryError),
    (NotImplementedError, NotImplementedError),
    (IndexError, IndexError),
    (TypeError, TypeError),
    (AttributeError, TypeError),
    (KeyError, ValueError),
    (ValueError, ValueError),
    (BufferError, ValueError),
    (ArithmeticError, ValueError),
    (RuntimeError, RuntimeError),
)


def _foreign(reason: Exception) -> bool:
    """Whether a frame between the border and the fault is the caller's own: a hook, a method of a
    stranger's class."""
    trace = reason.__traceback__
    trace = trace and trace.tb_next  # the first is the border's own
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        # "<__array_function__ internals>" and its like are NumPy's.
        if not name.startswith(("<", *_OURS)) or name.startswith(_TESTS):
            return True
        trace = trace.tb_next
    return False


def _shown(value: Any) -> str:
    """A value in few characters."""
    if isinstance(value, (Tensor, ndarray)):
        return f"{type(value).__name__} {value.dtype} {value.shape}"
    try:
        text = repr(value)
    except Exception:
        return type(value).__name__
    return text if len(text) <= 32 else f"{type(value).__name__} {text[:24]}..."


def _homes(values: Iterable[Any]) -> set[type]:
    """The classes of the arrays of all tensors among the values, and in their lists."""
    found: set[type] = set()
    for value in values:
        if isinstance(value, Tensor):
            found.add(value._array.__class__)
        elif isinstance(value, (tuple, list)):
            found |= _homes(value)
    return found


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


def restated(
    op: str, function: Any, reason: Exception, args: tuple[Any, ...], options: dict[str, Any]
) -> Exception | None:
    """`reason` in the one form; None where it has it already, or is none of ours to tell."""
    text = str(reason)
    if text.startswith("[") and "] expected " in text:
        return None
    kind = next((ours for theirs, ours in _CLASSES if isinstance(reason, theirs)), None)
    if kind is None or isinstance(reason, Warning) or _foreign(reason):
        return None
    if len(_homes((*args, *options.values()))) > 1:
        return apart(op)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    given = [_shown(a) for a in args] + [f"{k}={_shown(v)}" for k, v in options.items()]
    return error(
        kind, op, f"arguments that suit {op}({', '.join(names)})", _cut(", ".join(given), 120),
        _cut(text or type(reason).__name__, 140),
    )  # fmt: skip


def refusal(op: str, function: Any, reason: Exception, *args: Any) -> Exception:
    """What a hot function, which has its own try, raises in the place of `reason`."""
    return restated(op, function, reason, args, {}) or reason


def bordered(op: str, function: F) -> F:
    """`function` with its strange exceptions restated."""
    if getattr(function, "__bordered__", False):
        return function

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except Exception as reason:
            inner = _innermost(function)
            spread = options and _spread(inner)
            if spread and spread in options:
                args = (*args, options.pop(spread))
                return called(*args, **options)
            found = restated(op, inner, reason, args, options)
            if found is None:
                raise
            raise found from reason

    return marked(called)  # type: ignore[return-value]


def _spread(function: Any) -> str | None:
    """The name of a function's `*dims`, which PyTorch takes as a keyword too: permute(dims=...)."""
    code = function.__code__
    if not code.co_flags & CO_VARARGS:
        return None
    name: str = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
    return name


def _innermost(function: Any) -> Any:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def marked(function: F) -> F:
    """Says that `function` restates by itself: it is wrapped no more."""
    function.__bordered__ = True  # type: ignore[attr-defined]
    return function


# What is called a thousand times a step, and checks its arguments itself: a wrapper's 60 ns count.
HOT = frozenset((
    "linear", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "bias_activation",
    "matmul", "mm", "relu", "gelu", "silu", "tanh", "sigmoid", "exp", "log", "sqrt", "abs", "neg",
    "add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "mse_loss",
    "detach", "dim", "flatten", "item", "size", "numel", "element_size",

))  # fmt: skip
_OPERATORS = tuple(
    f"__{name}__"
    for name in (
        "getitem", "setitem", "contains", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "xor",
        "rand", "ror", "rxor", "mod", "rmod", "floordiv", "rfloordiv", "isub", "imul",
        "itruediv", "ifloordiv", "imod", "iand", "ior", "ixor", "ipow", "index", "int", "float",
    )
)  # fmt: skip


def border_names(names: Any, namespace: Any) -> None:
    """Puts `bordered` around the functions of these names in a namespace, but the hot ones."""
    for name in names:
        function = namespace[name]
        if name not in HOT and hasattr(function, "__code__"):
            namespace[name] = bordered(name, function)


def border_methods() -> None:
    """The same for Tensor's methods and operators, when all are attached."""
    for name, function in list(vars(Tensor).items()):
        public = not name.startswith("_") or name in _OPERATORS
        if public and name not in HOT and hasattr(function, "__code__"):
            setattr(Tensor, name, bordered(name.strip("_"), function))
