"""Who takes part: each contestant turns a case and its inputs into a call without arguments."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilework.dtypes import bfloat16
from tilework.testing.case import Case
from tilework.testing.inputs import placed

Arrays = list[np.ndarray[Any, Any]]
Inputs = tuple[Any, ...]


@dataclass
class Prepared:
    """A case ready to be timed.

    `answer()` makes the call once and gives its output, then its gradients (none, when forward).
    """

    call: Callable[[], Any]
    answer: Callable[[], Arrays]


class Contestant:
    """One library, or one engine of ours. `prepare` gives None for a case that it does not play."""

    name: str
    ours = False
    device = "CPU"

    def prepare(self, case: Case, inputs: Inputs, grad: np.ndarray[Any, Any]) -> Prepared | None:
        raise NotImplementedError

    def running(self, case: Case) -> AbstractContextManager[None]:
        """Held around the timed calls."""
        return contextlib.nullcontext()

    def timed(self, calls: Sequence[Callable[[], Any]]) -> float:
        """Makes the calls, and gives the seconds that they took."""
        start = time.perf_counter()
        for call in calls:
            call()
        return time.perf_counter() - start

    def transfers(self, given: Arrays, answer: Arrays) -> tuple[float, float]:
        """Seconds to bring arrays to where this one computes, and others back."""
        return 0.0, 0.0


class TensorLibrary(Contestant):
    """What tilework and PyTorch share: tensors, a tape, and the names."""

    def __init__(self, library: Any) -> None:
        self.library = library

    def bind(self, case: Case, tensors: Inputs) -> Callable[[], Any] | None:
        raise NotImplementedError

    def share(self, x: np.ndarray[Any, Any]) -> Any:
        """A tensor on x's memory: nothing may be cached of what somebody else can write."""
        return self.library.from_numpy(x)

    def fetched(self, x: Any) -> np.ndarray[Any, Any]:
        """A tensor's array."""
        return to_numpy(x)

    def prepare(self, case: Case, inputs: Inputs, grad: np.ndarray[Any, Any]) -> Prepared | None:
        share = self.share
        tensors = tuple(share(x) if isinstance(x, np.ndarray) else x for x in inputs)
        leaves = []
        if _backward(case):
            leaves = [tensors[i].requires_grad_() for i in case.differentiable]
        call = self.bind(case, tensors)
        if call is None:
            return None
        if leaves:
            call = _with_backward(call, leaves, share(grad))

        def answer() -> Arrays:
            with self.running(case):
                output = call()
            return [self.fetched(x) for x in (output, *(leaf.grad for leaf in leaves))]

        return Prepared(call, answer)

    @contextlib.contextmanager
    def running(self, case: Case) -> Iterator[None]:
        if _backward(case) or case.setup is not None:
            yield
        else:
            with self.library.no_grad():
                yield


class Tilework(TensorLibrary):
    """One of our engines."""

    ours = True

    def __init__(self, engine: str) -> None:
        super().__init__(importlib.import_module("tilework"))
        if engine not in self.library.engines.available_engines():
            raise ImportError(f"the engine {engine!r} is not installed")
        self.engine = engine
        self.name = "tilework" if engine == "native" else f"tilework ({engine})"

    def bind(self, case: Case, tensors: Inputs) -> Callable[[], Any]:
        with self._chosen():
            return case.bind(self.library, self.library.functional, tensors)

    @contextlib.contextmanager
    def running(self, case: Case) -> Iterator[None]:
        with self._chosen(), super().running(case):
            yield

    @contextlib.contextmanager
    def _chosen(self) -> Iterator[None]:
        before = self.library.engines.current_engine()
        if before == self.engine:
            yield
            return
        self.library.use_engine(self.engine)
        try:
            yield
        finally:
            self.library.use_engine(before)


class PyTorch(TensorLibrary):
    """PyTorch, eager."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(importlib.import_module("torch"))
        self.name = name
        self.library.set_num_threads(threads)
        if self.library.get_num_interop_threads() != 1:  # PyTorch takes it once a process
            self.library.set_num_interop_threads(1)

    def share(self, x: np.ndarray[Any, Any]) -> Any:
        if x.dtype != bfloat16:
            return super().share(x)
        return super().share(x.view(np.int16)).view(self.library.bfloat16)

    def bind(self, case: Case, tensors: Inputs) -> Callable[[], Any] | None:
        return None if case.peer is None else case.bind_peer(self.library, tensors)


class _ChannelsLast(TensorLibrary):
    """A library whose images lie as inside of a network: in the order that its kernels want."""

    def prepare(self, case: Case, inputs: Inputs, grad: np.ndarray[Any, Any]) -> Prepared | None:
        images = any(isinstance(x, np.ndarray) and x.ndim == 4 for x in inputs)
        return super().prepare(case, inputs, grad) if images else None

    def share(self, x: np.ndarray[Any, Any]) -> Any:
        if x.ndim == 4:
            x = placed(x.transpose(0, 2, 3, 1), 0).transpose(0, 3, 1, 2)
        return super().share(x)


class TileworkChannelsLast(_ChannelsLast, Tilework):
    """One of our engines, in its own layout."""

    def __init__(self, engine: str) -> None:
        super().__init__(engine)
        self.name += ", channels last"


class PyTorchChannelsLast(_ChannelsLast, PyTorch):
    """PyTorch, in the layout of its faster kernels."""


class Compiled(PyTorch):
    """PyTorch through torch.compile; what it cannot compile, it does not play."""

    def bind(self, case: Case, tensors: Inputs) -> Callable[[], Any] | None:
        call = super().bind(case, tensors)
        return None if call is None or case.setup is not None else self.library.compile(call)


_NUMPY: dict[str, Callable[..., Any]] = {"matmul": np.matmul, "add": np.add}


class NumPy(Contestant):
    """NumPy, for the ops that are one call there."""

    name = "NumPy"

    def prepare(self, case: Case, inputs: Inputs, grad: np.ndarray[Any, Any]) -> Prepared | None:
        function = _NUMPY.get(case.op)
        if function is None or _backward(case) or case.setup is not None:
            return None
        if any(isinstance(x, np.ndarray) and x.dtype == bfloat16 for x in inputs):
            return None  # which it multiplies one by one, in minutes
        return Prepared(lambda: function(*inputs), lambda: [np.asarray(function(*inputs))])


def to_numpy(x: Any) -> np.ndarray[Any, Any]:
    if str(getattr(x, "dtype", "")) == "torch.bfloat16":  # which has no way to NumPy
        return np.asarray(x.detach().float().numpy(), bfloat16)
    return np.asarray(x.detach().numpy() if hasattr(x, "detach") else x)


def _backward(case: Case) -> bool:
    return case.bench is not None and case.bench.mode == "backward"


def _with_backward(call: Callable[[], Any], leaves: Sequence[Any], grad: Any) -> Callable[[], Any]:
    def step() -> Any:
        for leaf in leaves:
            leaf.grad = None
        output = call()
        output.backward(grad)
        return output

    return step


_OTHERS = {
    "jax": ("tilework.benchmarks.jax_peer", "Jax"),
    "onnxruntime": ("tilework.benchmarks.onnx_peer", "OnnxRuntime"),
}
# What needs a CUDA device, and is imported where one is asked for.
ON_CUDA = {
    "tilework-cuda": ("tilework.benchmarks.gpu.contestants", "TileworkOnCuda"),
    "cublas": ("tilework.benchmarks.gpu.contestants", "CuBlas"),
    "torch-cuda": ("tilework.benchmarks.gpu.contestants", "PyTorchOnCuda"),
}
TILEWORK = ("tilework", "tilework-channels-last")  # each with an engine's name behind it
_PYTORCH: dict[str, tuple[type[PyTorch], str]] = {
    "torch": (PyTorch, "PyTorch"),
    "torch-channels-last": (PyTorchChannelsLast, "PyTorch, channels last"),
    "torch-compiled": (Compiled, "PyTorch, compiled"),
    "torch-keeping-memory": (PyTorch, "PyTorch, keeping memory"),
}
# Who plays unless told otherwise; "torch-compiled" takes a minute a case, so it waits to be asked.
PEERS = ("numpy", "torch", "torch-channels-last", *_OTHERS)


def installed(peers: Sequence[str]) -> list[str]:
    """Those of `peers` that can be imported here."""
    return [p for p in peers if importlib.util.find_spec("torch" if p in _PYTORCH else p)]


def make(kind: str, threads: int) -> Contestant:
    """A contestant by name: one of ours, "torch-keeping-memory", a peer's, or one of ON_CUDA."""
    ours, _, engine = kind.partition(":")
    if engine:
        return (TileworkChannelsLast if ours == "tilework-channels-last" else Tilework)(engine)
    if kind == "numpy":
        return NumPy()
    if kind in _PYTORCH:
        variant, name = _PYTORCH[kind]
        return variant(threads, name)
    module, name = {**_OTHERS, **ON_CUDA}[kind]
    contestant: Contestant = getattr(importlib.import_module(module), name)(threads)
    return contestant
