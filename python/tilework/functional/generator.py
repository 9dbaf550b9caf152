"""Where random numbers stand: a seed, and how many calls have drawn from it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from tilework import dtypes
from tilework.arrays import host
from tilework.devices import CPU, resolved
from tilework.devices import device as device_type
from tilework.errors import error, word
from tilework.functional.common import operand
from tilework.tensor import Tensor, fresh

_LAST = 2**64 - 1


class Generator:
    """A stream of random numbers of its own, for the functions that take `generator=`, samplers and
    splits: the numbers that manual_seed of the same seed gives. Each drawing is one event: no two
    threads draw the same numbers, and a look at the state moves nothing.

    `device`: "cpu"; the numbers are the same on all. RuntimeError where it is not here.

    >>> a = tw.rand(3, generator=tw.Generator().manual_seed(5))
    >>> tw.manual_seed(5)
    >>> tw.equal(a, tw.rand(3))
    True
    """

    def __init__(self, device: Any = "cpu") -> None:
        self._device = CPU if device == "cpu" else resolved("Generator", device)
        self._seed = self._calls = 0
        self._unlock()

    def _unlock(self) -> None:
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[Any, ...]:
        return self._device, *self._peek()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._device, self._seed, self._calls = state
        self._unlock()

    @property
    def device(self) -> device_type:
        """Where it was made for."""
        return self._device

    def manual_seed(self, seed: int) -> Generator:
        """Starts anew from a seed of up to 64 bits; the generator itself. ValueError outside
        [-2**63, 2**64)."""
        if not -(2**63) <= seed < 2**64:
            raise error(
                ValueError, "manual_seed", "a seed of 64 bits", seed, "take it modulo 2**64"
            )
        self._restart(int(seed) % 2**64, 0)
        return self

    def seed(self) -> int:
        """Starts anew from a seed that the system draws, which is given."""
        seed = int.from_bytes(os.urandom(8), "little")
        self._restart(seed, 0)
        return seed

    def initial_seed(self) -> int:
        """The seed in use."""
        return self._peek()[0]

    def get_state(self) -> Tensor:
        """The seed and the number of drawings so far, for set_state: (2,), int64."""
        return fresh(host.array(self._peek(), host.uint64).view(host.int64))

    def set_state(self, new_state: Tensor) -> None:
        """Goes on from a state of get_state. ValueError on another thing."""
        state = operand(new_state, "set_rng_state", "new_state")
        if state.shape != (2,) or state.dtype != dtypes.int64:
            raise error(
                ValueError, "set_rng_state", "a state of get_rng_state", state.shape, "pass one on"
            )
        self._restart(*state.cpu()._array.view(host.uint64).tolist())

    def _restart(self, seed: int, calls: int) -> None:
        with self._lock:
            self._seed, self._calls = seed, calls

    def _next(self) -> tuple[int, int]:
        """(seed, call): one for each drawing."""
        with self._lock:
            call = self._calls
            self._calls = call + 1 if call != _LAST else 0
            return self._seed, call

    def _peek(self) -> tuple[int, int]:
        with self._lock:
            return self._seed, self._calls


default_generator = Generator()  # of what names none
if hasattr(os, "register_at_fork"):  # another thread may have been inside when the process forked
    os.register_at_fork(after_in_child=default_generator._unlock)


class _Chosen(threading.local):
    generator: Generator | None = None


_chosen = _Chosen()


def next_call() -> tuple[int, int]:
    """The seed and the number of a new call, for the engine's functions of random numbers."""
    return (_chosen.generator or default_generator)._next()


F = TypeVar("F", bound=Callable[..., Any])


def takes_generator(function: F) -> F:
    """Has a function that draws do so from its argument `generator`, which it need not look at."""

    @wraps(function)
    def called(*args: Any, generator: Generator | None = None, **options: Any) -> Any:
        if generator is None:
            return function(*args, **options)
        if not isinstance(generator, Generator):
            raise error(
                TypeError, function.__name__, "generator a tilework.Generator", word(generator),
                "make one: tilework.Generator().manual_seed(0)",
            )  # fmt: skip
        before, _chosen.generator = _chosen.generator, generator
        try:
            return function(*args, **options)
        finally:
            _chosen.generator = before

    return called  # type: ignore[return-value]
