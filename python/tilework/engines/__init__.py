"""The engines, and the table of functions that the rest of the package calls.

An engine is a module with the functions of `CONTRACT` (their signatures stand in _native.pyi):
`native` is the compiled extension, `numba` serves where that is missing. `ops` holds the functions
of the engine in use; use_engine() swaps them in place, so `ops.linear_forward` is always current.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tilework.engines import device, extension
from tilework.errors import error

__all__ = [
    "CONTRACT",
    "available_engines",
    "changed",
    "current_engine",
    "engine_module",
    "generation",
    "ops",
    "ops_on",
    "serve",
    "use_engine",
]

CONTRACT: tuple[str, ...] = (
    "pack_weight", "matmul", "linear_forward", "linear_backward",
    "pack_conv_weight", "conv_forward", "conv_backward",
    "conv_transpose_forward", "conv_transpose_backward",
    "UNARY_OPS", "BINARY_OPS", "unary_forward", "unary_backward", "binary_forward",
    "clamp_forward", "clamp_backward",
    "bias_activation_forward", "bias_activation_backward", "gated_forward", "gated_backward",
    "dropout_forward", "dropout_backward",
    "accumulate_", "widen", "narrow", "sum", "mean", "max", "min", "sum_to_shape", "cumsum",
    "spread",
    "softmax_forward", "softmax_backward",
    "batch_norm_forward", "batch_norm_backward", "norm_rows_forward", "norm_rows_backward",
    "cross_entropy_forward", "cross_entropy_backward", "distance_forward", "distance_backward",
    "ctc_forward", "ctc_backward",
    "pool_max_forward", "pool_max_backward", "pool_average_forward", "pool_average_backward",
    "interpolate_forward", "interpolate_backward",
    "sgd_step", "adam_step", "squares_of", "scale_", "random_bits", "uniform", "normal",
    "sort", "topk", "gather", "index_select", "scatter", "index_copy", "scatter_reduce",
    "scatter_add", "index_add", "segment_sum", "segment_max", "embedding_bag_forward",
    "embedding_bag_backward", "embedding_bag_weights_backward", "where", "masked_select",
    "masked_scatter", "nonzero", "pad", "pad_backward", "expand", "copy",
    "concatenate", "stack",
    "attention_forward", "attention_backward",
    "varlen_attention_forward", "varlen_attention_backward",
    "recurrent_forward", "recurrent_backward",
)  # fmt: skip

_MODULES: dict[str, str] = {
    "native": "tilework.engines.native",
    "numba": "tilework.engines.numba",
    "cuda": "tilework.engines.cuda",
    "cupy": "tilework.engines.cupy",
}
_OF_DEVICES = ("cuda", "cupy")  # serve a device's arrays, beside one that serves the CPU's
_FIX = (
    "reinstall tilework with a C++ compiler at hand, or `pip install 'tilework[numba]'` for the "
    "pure-Python engine"
)


class _Table:
    """The functions of the engine in use."""


class _WaitingTable(_Table):
    """The table before its engine is imported: the first call of a function does that."""

    def __getattr__(self, name: str) -> Any:
        if name not in CONTRACT:
            raise AttributeError(name)
        _fill(_load(_current))
        return self.__dict__[name]


def _load(name: str) -> ModuleType:
    try:
        if name == "native" and extension.NAME not in sys.modules:
            extension.check_whole(extension.find())
        module = importlib.import_module(_MODULES[name])
    except ImportError as reason:
        # An extension's initialisation dresses whatever stops it, Ctrl-C too, as an ImportError.
        if isinstance(reason.__cause__, KeyboardInterrupt):
            raise reason.__cause__ from None
        raise error(ImportError, "use_engine", f"the {name} engine", reason, _FIX) from reason
    if name == "native":
        extension.check_version(sys.modules[extension.NAME])
    missing = [function for function in CONTRACT if not hasattr(module, function)]
    if missing:
        raise error(
            ImportError, "use_engine", f"the {name} engine whole",
            f"one without {', '.join(missing)}", "rebuild the extension of this very version",
        )  # fmt: skip
    return module


def _fill(module: ModuleType) -> None:
    served = device.provider
    beside = None if served is None else _load(_current_of_devices)
    for function in CONTRACT:
        found = getattr(module, function)
        if beside is not None and served is not None and callable(found):
            found = device.dispatching(function, found, getattr(beside, function), served.kind)
        setattr(ops, function, found)
    object.__setattr__(ops, "__class__", _Table)  # without __getattr__, attributes cost half


def _default() -> str:
    """TILEWORK_ENGINE; else native, and numba where there is no extension.

    An extension that is there and does not load is an error, and never numba.
    """
    asked = os.environ.get("TILEWORK_ENGINE", "")
    if asked or extension.find():
        return asked or "native"
    if importlib.util.find_spec("numba") is None:
        raise error(ImportError, "engines", "the compiled extension or numba", "neither", _FIX)
    return "numba"


if TYPE_CHECKING:
    from tilework import _native as ops  # the contract's types
else:
    ops = _WaitingTable()
_current = "native"
_current_of_devices = "cuda"
generation = 0  # counts the changes of engine, ISA and precision: packed weights are made for one


def current_engine() -> str:
    """The name of the engine in use."""
    return _current


def available_engines() -> list[str]:
    """The engines that this installation can load.

    >>> "native" in available_engines() or "numba" in available_engines()
    True
    """
    needs = {"native": "tilework._native", "numba": "numba"}
    return [name for name, need in needs.items() if importlib.util.find_spec(need) is not None]


def changed() -> None:
    """Says that packed weights made so far no longer fit."""
    global generation
    generation += 1


def use_engine(name: str) -> None:
    """Puts the engine `name` to work for all threads: "native" or "numba" for the CPU's tensors,
    "cuda" (tilework's kernels) or "cupy" (CuPy's functions alone) for those of a CUDA device.

    Raises ValueError on an unknown name, ImportError (with the fix) where the engine is not
    installed, RuntimeError where it is one of a device that is not here, with what is missing
    (tilework.cuda.why_not()). The environment variable TILEWORK_ENGINE does the same at import.
    """
    global _current, _current_of_devices
    if name not in _MODULES:
        known = " or ".join(repr(n) for n in _MODULES)
        raise error(ValueError, "use_engine", known, repr(name), "name one of them")
    if name in _OF_DEVICES:
        device.needed("use_engine", f"the {name} engine")
    module = _load(name)
    if name in _OF_DEVICES:
        _current_of_devices = name
        module = _load(_current)
    else:
        _current = name
    _fill(module)
    changed()


def serve(provider: device.Provider | None) -> None:
    """Lets the functions of `ops` serve a device's arrays beside the CPU's; None: no longer."""
    device.provider = provider
    _fill(_load(_current))


def ops_on(device: Any) -> Any:
    """The functions that make arrays on a device (devices.CPU or CUDA), with the names of `ops`."""
    return ops if device.type == "cpu" else _load(_current_of_devices)


def engine_module(name: str | None = None) -> ModuleType:
    """The module of an engine; of the one in use where no name is given."""
    return _load(_current if name is None else name)


def _start() -> None:
    global _current
    name = _default()
    if name == "numba":
        _current = name  # its import waits for the first call
    else:
        use_engine(name)


_start()
