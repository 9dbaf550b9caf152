"""Case: one call of the public API, the inputs it gets, and what it must give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tilework.dtypes import is_float
from tilework.testing.inputs import Inputs
from tilework.testing.tolerance import Tolerance

Array = NDArray[Any]
Generator = np.random.Generator
Mode = Literal["forward", "frozen", "backward"]


@dataclass(frozen=True)
class Bench:
    """A case worth timing: its row in the table, and the work that it cannot do without.

    Attributes:
        label: The row's name.
        flops: Floating-point operations of one call; 0 for what memory alone bounds.
        bytes: What must be read and written at least once.
        mode: "forward"; "frozen", forward with weights that nn.utils.freeze has made read-only, of
            which the label tells; or "backward", forward and the gradients of the case's
            differentiable inputs. Of frozen weights alone a packed copy outlives a call.
        dtype: Of the arrays.
        quick: Whether `tilework bench --quick` runs it.
    """

    label: str
    flops: float
    bytes: float
    mode: Mode = "forward"
    dtype: str = "float32"
    quick: bool = False


@dataclass(frozen=True, eq=False)  # a case is itself alone: caches are keyed by it
class Case:
    """One call, its inputs, its answer, and how far from that the answer may lie.

    Attributes:
        family: The floor's name for the group: "gemm", "pointwise", ...
        op: The function.
        label: What is special about this case; unique within its op.
        inputs: From a seeded generator and a dtype name to the call's inputs: float arrays of that
            dtype, integer arrays, or plain Python values.
        call: `call(tw, F, *inputs)` on tensors, where tw is the package and F its functional
            module. PyTorch's spelling is ours, so the same function serves torch and
            torch.nn.functional.
        reference: The same on float64 NumPy arrays.
        tolerance: From the dtype name, the expected array and the inputs, as float64, to a bound on
            each element's error.
        differentiable: The positions of the inputs that gradients are checked for.
        writes: The positions of the inputs that the call writes to.
        dtypes: What the case runs in.
        quick: Whether the default test run includes it; `--full` runs all.
        setup: In place of `call` where state is kept between calls (a training step):
            `setup(tw, F, *inputs)` builds it and returns the call, without arguments.
        peer: PyTorch's spelling where it is not ours; None where PyTorch has no such thing.
        cancels: Whether the answer is what is left of far larger terms, whose rounding the bound
            must allow; it may then be wide beside the answer.
        bench: Set where the case is timed.
        precision: The float32 matmul precision that `call` is made at.
    """

    family: str
    op: str
    label: str
    inputs: Inputs
    reference: Callable[..., Array]
    tolerance: Tolerance
    call: Callable[..., Any] | None = None
    differentiable: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ("float32", "float64")
    quick: bool = True
    setup: Callable[..., Callable[[], Any]] | None = None
    peer: Callable[..., Any] | Literal["same"] | None = "same"
    cancels: bool = False
    bench: Bench | None = None
    precision: str = "highest"

    def __str__(self) -> str:
        return f"{self.family}/{self.op}[{self.label}]"

    def make_inputs(self, dtype: str, seed: int = 0) -> tuple[Any, ...]:
        """The inputs of one seed: the same on every machine."""
        return self.inputs(np.random.default_rng((seed, *self.label.encode())), dtype)

    def bind(self, tw: Any, F: Any, tensors: tuple[Any, ...]) -> Callable[[], Any]:
        """The call as our library makes it, ready to be made any number of times."""
        if self.setup is not None:
            return self.setup(tw, F, *tensors)
        assert self.call is not None
        call = partial(self.call, tw, F, *tensors)
        return call if self.precision == "highest" else partial(self._at_precision, tw, call)

    def _at_precision(self, tw: Any, call: Callable[[], Any]) -> Any:
        before = tw.get_float32_matmul_precision()
        tw.set_float32_matmul_precision(self.precision)
        try:
            return call()
        finally:
            tw.set_float32_matmul_precision(before)

    def bind_peer(self, torch: Any, tensors: tuple[Any, ...]) -> Callable[[], Any]:
        """The call as PyTorch makes it, on PyTorch's tensors."""
        if self.peer == "same":
            return self.bind(torch, torch.nn.functional, tensors)
        if self.peer is None:
            raise ValueError(f"{self} has no twin in PyTorch")
        return partial(self.peer, torch, torch.nn.functional, *tensors)

    def expected(self, inputs: tuple[Any, ...]) -> Array:
        """The reference's answer, in float64 (or the op's own integer or boolean dtype)."""
        with np.errstate(all="ignore"):
            return np.asarray(self.reference(*as_float64(inputs)))


def as_float64(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Float arrays widened; everything else as it is."""
    return tuple(
        x.astype(np.float64) if isinstance(x, np.ndarray) and is_float(x.dtype) else x
        for x in inputs
    )
