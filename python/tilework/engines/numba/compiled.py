"""How this engine calls Numba and NumPy: the settings that hold for every kernel, said once.

Kernels are compiled on their first call and cached on disk. They release the GIL and run on the
calling thread: Numba's default threading layer aborts the process when two Python threads enter it
at once, and sums cut by the number of threads would change with it.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

# error_model: x / 0 is Inf or NaN, as everywhere in NumPy; Numba's default raises.
vectorize: Any = numba.vectorize
jit: Callable[[Callable[..., Any]], Any] = numba.njit(cache=True, nogil=True, error_model="numpy")


def elementwise(arguments: int) -> Callable[[Callable[..., Any]], Any]:
    """A NumPy ufunc of a scalar function: any strides, broadcasting, float32 and float64.

    Its arithmetic is float64 throughout, so that float32 results carry one rounding: libm's scalar
    functions, which take the time, cost about the same in both.
    """
    signatures = [f"{t}({', '.join([t] * arguments)})" for t in ("float32", "float64")]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        # Compiled on first use: at import, all of them would take seconds.
        @functools.cache
        def compiled() -> Any:
            return vectorize(signatures, cache=True)(function)

        return lambda *inputs, out: compiled()(*inputs, out=out)

    return decorate


def quiet(function: Callable[P, R]) -> Callable[P, R]:
    """NaN and Inf are results here, as on the compiled engine: NumPy does not warn of them."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return wrapped
