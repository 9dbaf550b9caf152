"""tilework: fast neural-network layers under PyTorch's names.

>>> import tilework as tw
>>> from tilework import nn, optim, functional as F
>>> x = tw.tensor([[1.0, -2.0]], requires_grad=True)
>>> F.relu(x).sum().backward()
>>> x.grad
tensor([[1., 0.]])
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from tilework import _command, autograd, config, dtypes, engines, functional
from tilework._version import __version__
from tilework.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from tilework.config import (
    empty_cache,
    get_conv_routine,
    get_float32_matmul_precision,
    get_isa,
    get_num_threads,
    memory_stats,
    set_conv_routine,
    set_float32_matmul_precision,
    set_isa,
    set_memory_limit,
    set_num_threads,
    show_config,
)
from tilework.devices import device, get_default_device, set_default_device
from tilework.dtypes import (
    bfloat16,
    bool,
    double,
    float,
    float32,
    float64,
    int,
    int32,
    int64,
    long,
    result_type,
    uint8,
)
from tilework.engines import use_engine
from tilework.explain import explain_attention, explain_conv2d, explain_recurrent
from tilework.functional import *  # noqa: F403
from tilework.functional.generator import Generator, default_generator
from tilework.layout import channels_last, contiguous_format, preserve_format
from tilework.tensor import Tensor

from tilework import nn, optim  # isort: skip (they stand on all of the above)
from tilework.nn.summary import summary  # isort: skip

del _command  # first of all, for the complaints of the rest

config.from_environment()

# Imported when first asked for: few programs need them all, and import must stay quick.
_LATER = (
    "amp",
    "cuda",
    "data",
    "io",
    "metrics",
    "models",
    "profiler",
    "sklearn",
    "testing",
    "train",
    "utils",
)
_LATER_FUNCTIONS = {  # and their modules
    "are_deterministic_algorithms_enabled": "basics",
    "autocast": "amp",
    "compile": "basics",
    "e": "basics",
    "finfo": "basics",
    "get_autocast_dtype": "amp",
    "get_default_dtype": "basics",
    "iinfo": "basics",
    "inf": "basics",
    "is_autocast_enabled": "amp",
    "is_floating_point": "basics",
    "is_tensor": "basics",
    "load": "serialization",
    "nan": "basics",
    "numel": "basics",
    "pi": "basics",
    "save": "serialization",
    "use_deterministic_algorithms": "basics",
}
if _TYPE_CHECKING:
    from tilework import amp as amp
    from tilework import cuda as cuda
    from tilework import data as data
    from tilework import io as io
    from tilework import metrics as metrics
    from tilework import models as models
    from tilework import profiler as profiler
    from tilework import sklearn as sklearn
    from tilework import testing as testing
    from tilework import train as train
    from tilework import utils as utils
    from tilework.amp import autocast as autocast
    from tilework.amp import get_autocast_dtype as get_autocast_dtype
    from tilework.amp import is_autocast_enabled as is_autocast_enabled
    from tilework.basics import (
        are_deterministic_algorithms_enabled as are_deterministic_algorithms_enabled,
    )
    from tilework.basics import compile as compile
    from tilework.basics import e as e
    from tilework.basics import finfo as finfo
    from tilework.basics import get_default_dtype as get_default_dtype
    from tilework.basics import iinfo as iinfo
    from tilework.basics import inf as inf
    from tilework.basics import is_floating_point as is_floating_point
    from tilework.basics import is_tensor as is_tensor
    from tilework.basics import nan as nan
    from tilework.basics import numel as numel
    from tilework.basics import pi as pi
    from tilework.basics import use_deterministic_algorithms as use_deterministic_algorithms
    from tilework.serialization import load as load
    from tilework.serialization import save as save
else:

    def __getattr__(name: str) -> _Any:
        if name in _LATER:
            return _importlib.import_module(f"tilework.{name}")
        if name in _LATER_FUNCTIONS:
            module = _importlib.import_module(f"tilework.{_LATER_FUNCTIONS[name]}")
            return getattr(module, name)
        raise AttributeError(f"module 'tilework' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATER, *_LATER_FUNCTIONS})


__all__ = [
    "Generator",
    "Tensor",
    "__version__",
    "autograd",
    "bfloat16",
    "bool",
    "channels_last",
    "config",
    "contiguous_format",
    "default_generator",
    "device",
    "double",
    "dtypes",
    "empty_cache",
    "enable_grad",
    "engines",
    "explain_attention",
    "explain_conv2d",
    "explain_recurrent",
    "float",
    "float32",
    "float64",
    "functional",
    "get_conv_routine",
    "get_default_device",
    "get_float32_matmul_precision",
    "get_isa",
    "get_num_threads",
    "inference_mode",
    "int",
    "int32",
    "int64",
    "is_grad_enabled",
    "long",
    "memory_stats",
    "nn",
    "no_grad",
    "optim",
    "preserve_format",
    "result_type",
    "set_conv_routine",
    "set_default_device",
    "set_float32_matmul_precision",
    "set_grad_enabled",
    "set_isa",
    "set_memory_limit",
    "set_num_threads",
    "show_config",
    "summary",
    "uint8",
    "use_engine",
]
__all__ += functional.__all__
