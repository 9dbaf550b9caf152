"""Calls of the compiled engine itself with wrong arguments: each is served or refused, and no more.

    python -m tilework.testing.fuzz --seconds 120              what the gate runs
    python -m tilework.testing.fuzz --calls 1000000 --seed 3   prints each fault
    python -m tilework.testing.fuzz --seed 3 --only 1234       that one call again, in this process

A call is told by the seed and its number alone: a valid one (native_calls.py) in which one argument
or two are of a wrong kind, rank, size, dtype, stride, alignment, read-only, overlapping, None,
empty or huge. A fault is a crash, a call without end, another class of error than those of ERRORS,
a write outside of what the call may write, and a result that was not written: a second call, with
other bytes where its results come to lie, must give the same. Calls run in batches in a process of
their own, which may die.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tilework import _native
from tilework.testing.call_parts import Given, Packed
from tilework.testing.fenced import Fence, Side
from tilework.testing.native_calls import CALLS

Array = NDArray[Any]
Generator = np.random.Generator

ERRORS = (TypeError, ValueError, IndexError, MemoryError, BufferError)
NAMES = sorted(CALLS)
BATCH = 2000
LOOK_SECONDS = 0.2
STALL_SECONDS = 30.0  # more than any call of these takes, on a machine that does much else
# What a batch may map beyond what it starts with (AddressSanitizer's shadow is terabytes): a size
# that a machine with much memory would work through for minutes is a MemoryError.
MEMORY_BYTES = 1 << 30
DTYPES = (
    "f4", "f8", ml_dtypes.bfloat16, "i8", "i4", "u1", "u4", "?", "f2", "c8", ">f4", "M8[s]", "U1",
)  # fmt: skip
INTEGERS = (-1, 0, 1, 2, 7, 33, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64, 2**100)
STRANGERS: tuple[Any, ...] = (
    None,
    "x",
    b"x",
    1.5,
    float("nan"),
    [],
    [1.0],
    (),
    {},
    object(),
    np.float32(2),
    True,
)


def _one_of(rng: Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


# --- arguments, bent ---


class Arguments:
    """The arrays of a call, each in a fence of its own, and what each may have changed."""

    def __init__(self, rng: Generator, fences: list[Fence]) -> None:
        self._rng = rng
        self._free = fences.copy()
        self._used: list[tuple[Fence, Array, bool]] = []
        self.arrays: list[Array] = []

    def place(self, given: Given, shape: Callable[[Array], Array] = lambda x: x) -> Array:
        """given's values in a fence, seen through `shape`."""
        fence = self._free.pop() if self._free else None
        side: Side = "end" if self._rng.integers(2) else "start"
        base = fence.put(given.values.copy(order="C"), side) if fence else None
        array = shape(given.values.copy() if base is None else base)
        if fence is not None and base is not None:
            self._used.append((fence, array, given.written))
        self.arrays.append(array)
        return array

    def allow(self, array: Array) -> None:
        """Says that the call may write to an array of another argument."""
        self._used = [(f, a, written or a is array) for f, a, written in self._used]

    def watch(self) -> None:
        for fence, _, _ in self._used:
            fence.remember()

    def damage(self) -> str | None:
        for fence, array, written in self._used:
            may = written and array.flags.writeable
            if fence.written_outside(array if may else None):
                return f"wrote outside of what it may write, at an array {array.shape}"
        return None


def _resized(rng: Generator, x: Array) -> Array:
    """Another size along an axis: one more, one fewer, none, one, twice."""
    if x.ndim == 0:
        return x.reshape(1)
    axis = int(rng.integers(x.ndim))
    n = x.shape[axis]
    wanted = _one_of(rng, (n + 1, max(n - 1, 0), 0, 1, 2 * n))
    return np.take(x, np.arange(wanted) % max(n, 1), axis) if n else np.repeat(x, 1, axis)


def _ranked(rng: Generator, x: Array) -> Array:
    way = int(rng.integers(5))
    if way == 0:
        return x[0] if x.ndim and len(x) else x.reshape(-1)
    if way == 1:
        return x.reshape(-1)
    if way == 2:
        return x.reshape(-1)[:1].reshape(()) if x.size else x
    return x.reshape((1,) * way + x.shape)


def _revalued(rng: Generator, x: Array) -> Array:
    """Numbers that none of these arrays should have, or that arithmetic is careful with."""
    if x.dtype.kind in "iu":
        numbers: Any = _one_of(rng, (-1, 2**31, 2**62, 255, -(2**63)))
        bent = x.copy()
        with np.errstate(all="ignore"):
            bent.reshape(-1)[: _one_of(rng, (1, x.size))] = np.array(numbers).astype(x.dtype)
        return bent
    with np.errstate(all="ignore"):
        number = _one_of(rng, (np.nan, np.inf, -np.inf, 1e38, 1e-40))
        return np.full_like(x, np.array(number).astype(x.dtype))


def _relaid(rng: Generator, x: Array, place: Callable[..., Array]) -> Array:
    """The same numbers with other strides."""
    way = _one_of(rng, ("negative", "gaps", "turned", "expanded"))
    if x.ndim == 0:
        return place(x)
    axis = int(rng.integers(x.ndim))
    if way == "negative":
        return place(np.flip(x, axis), lambda a: np.flip(a, axis))
    if way == "gaps":
        thin = (*(slice(None),) * axis, slice(None, None, 2))
        return place(np.repeat(x, 2, axis), lambda a: a[thin])
    if way == "turned":
        order = rng.permutation(x.ndim)
        return place(x.transpose(order), lambda a: a.transpose(np.argsort(order)))
    if x.shape[axis] == 0:
        return place(x)
    shape = x.shape

    def expanded(a: Array) -> Array:
        strides = [0 if i == axis else s for i, s in enumerate(a.strides)]
        return np.lib.stride_tricks.as_strided(a, shape, strides)

    return place(np.take(x, [0], axis), expanded)


def _bent_array(rng: Generator, given: Given, made: Arguments) -> Any:
    x, written = given.values, given.written

    def place(values: Array, shape: Callable[[Array], Array] = lambda a: a) -> Array:
        return made.place(Given(np.ascontiguousarray(values).reshape(values.shape), written), shape)

    way = _one_of(
        rng,
        ("none", "empty", "axes", "kind", "rank", "size", "dtype", "strides", "alignment",
         "read-only", "overlap", "huge", "numbers"),
    )  # fmt: skip
    if way == "none":
        return None
    if way == "empty" and x.ndim:
        return place(np.take(x, [], int(rng.integers(x.ndim))))
    if way == "axes":
        return place(x.reshape((1,) * int(rng.integers(28, 64 - x.ndim)) + x.shape))
    if way == "kind":
        return _one_of(rng, STRANGERS)
    if way == "rank":
        return place(_ranked(rng, x))
    if way == "size":
        return place(_resized(rng, x))
    if way == "dtype":
        with np.errstate(all="ignore"), contextlib.suppress(TypeError, ValueError):
            return place(np.abs(x).astype(_one_of(rng, DTYPES)))
        return place(x)
    if way == "strides":
        return _relaid(rng, x, place)
    if way == "alignment":
        raw = np.frombuffer(b"\0" + x.tobytes() + b"\0" * 8, np.uint8)
        shape, dtype, size = x.shape, x.dtype, x.nbytes
        return place(raw, lambda a: a[1 : 1 + size].view(dtype).reshape(shape))
    if way == "read-only":
        array = place(x)
        array.flags.writeable = False
        return array
    if way == "overlap" and made.arrays:
        other = _one_of(rng, made.arrays)
        if written:
            made.allow(other)
        with contextlib.suppress(ValueError, TypeError):
            flat = other.reshape(-1)[int(rng.integers(2)) :]
            return flat[: x.size].view(x.dtype).reshape(x.shape)
        return other
    if way == "huge" and x.ndim and x.size:
        axis, n = int(rng.integers(x.ndim)), int(_one_of(rng, (2**42, 2**48, 2**56)))
        shape = tuple(n if i == axis else s for i, s in enumerate(x.shape))
        with contextlib.suppress(ValueError):
            return np.broadcast_to(np.take(x, [0], axis), shape)
    return place(_revalued(rng, x))


def _bent(rng: Generator, value: Any, made: Arguments) -> Any:
    if isinstance(value, Given):
        return _bent_array(rng, value, made)
    if isinstance(value, (tuple, list)) and value and rng.integers(4):
        items = list(value)
        at = int(rng.integers(len(items)))
        way = int(rng.integers(5))
        if way == 0:
            del items[at]
        elif way == 1:
            items.insert(at, items[at])
        elif way == 2 and isinstance(items[at], int):
            items = [int(_one_of(rng, INTEGERS))] * len(items)
        else:
            items[at] = _bent(rng, items[at], made)
        return type(value)(_plain(rng, item, made) for item in items)
    if isinstance(value, bool) or value is None or rng.integers(4) == 0:
        return _one_of(rng, STRANGERS)
    if isinstance(value, str):
        return _one_of(rng, ("", "sum", "relu", "tanh", "x" * 300, "\0", 3))
    if isinstance(value, float):
        return _one_of(rng, (-1.0, 0.0, float("inf"), float("nan"), 1e308, 10**400))
    return int(_one_of(rng, INTEGERS)) if isinstance(value, int) else _one_of(rng, STRANGERS)


def _plain(rng: Generator, value: Any, made: Arguments) -> Any:
    if isinstance(value, Given):
        return made.place(value)
    if isinstance(value, list):
        return [_plain(rng, item, made) for item in value]
    return value


def arguments(seed: int, number: int, fences: list[Fence]) -> tuple[str, dict[str, Any], Arguments]:
    """The function's name and the arguments of a call."""
    rng = np.random.default_rng([seed, number])
    name = NAMES[number % len(NAMES)]
    call = CALLS[name](rng)
    bent = set(rng.choice(list(call), _one_of(rng, (0, 1, 1, 1, 1, 2)) if len(call) > 1 else 1))
    made = Arguments(rng, fences)
    given: dict[str, Any] = {}
    for key, value in call.items():
        if isinstance(value, Packed):
            continue
        given[key] = (_bent if key in bent else _plain)(rng, value, made)
    for key, value in call.items():
        if not isinstance(value, Packed):
            continue
        weight = given[value.of]
        if key in bent:  # of another weight, or no packed weight at all
            small = isinstance(weight, np.ndarray) and weight.size < 10_000
            numbers = small and weight.dtype.kind not in "MU"  # no dates, no text
            weight = 2 * weight + 1 if numbers and rng.integers(2) else _one_of(rng, STRANGERS)
        pack = getattr(_native, value.function)
        given[key] = weight
        if isinstance(weight, np.ndarray):
            with contextlib.suppress(*ERRORS):
                given[key] = pack(weight)
    return name, given, made


# --- one call ---


def _arrays_of(result: Any) -> list[Array]:
    """What was written: not a view that shows an element of an argument many times."""
    if isinstance(result, np.ndarray):
        return [result] if result.flags.writeable else []
    return [a for a in result if isinstance(a, np.ndarray)] if isinstance(result, tuple) else []


def _alike(a: Array, b: Array) -> bool:
    """To a few roundings: what is packed may be summed in another order."""
    wide = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        return (
            np.allclose(*wide, rtol=0.05, atol=0.05, equal_nan=True) or not np.isfinite(wide).all()
        )


def _stained(arrays: list[Array], byte: int) -> None:
    """Leaves blocks full of `byte` where the next results of these sizes will lie."""
    blocks = [_native.copy(np.full(a.nbytes, byte, np.uint8), False) for a in arrays]
    del blocks


def _once(seed: int, number: int, fences: list[Fence]) -> tuple[str | None, list[Array]]:
    """The fault of a call, and its results."""
    name, given, made = arguments(seed, number, fences)
    made.watch()
    function = getattr(_native, name)
    try:
        results = _arrays_of(function(**given))
    except ERRORS:
        results = []
    except RuntimeError as e:
        if not str(e).startswith("["):
            return f"RuntimeError without an op: {e}", []
        results = []
    except BaseException as e:
        return f"{type(e).__name__}: {e}", []
    if results and given.get("packed") is not None and made.damage() is None:
        plain = _arrays_of(function(**{**given, "packed": None}))
        if not _alike(results[0], plain[0]):
            return "another result than without packed weights", results
    return made.damage(), results


def fault(seed: int, number: int, fences: list[Fence]) -> str | None:
    """What is wrong with a call, or None."""
    wrong, results = _once(seed, number, fences)
    if wrong or not results:
        return wrong
    first = [r.tobytes() for r in results]
    sizes = [np.empty(r.nbytes, np.uint8) for r in results]
    del results
    for byte in (0x00, 0x7B):
        _stained(sizes, byte)
        wrong, results = _once(seed, number, fences)
        if wrong:
            return wrong
        if [r.tobytes() for r in results] != first:
            return "a result that was not written, or not the same twice"
        del results
    return None


def shown(seed: int, number: int, fences: list[Fence]) -> str:
    """The call in words."""
    name, given, _ = arguments(seed, number, fences)

    def word(value: Any) -> str:
        if isinstance(value, np.ndarray):
            aligned = "" if value.flags.aligned else " misaligned"
            return f"{value.dtype}{value.shape} strides {value.strides}{aligned}"
        if isinstance(value, list):
            return f"[{', '.join(map(word, value))}]"
        return re.sub(" at 0x[0-9a-f]+", "", repr(value))[:80]

    return f"{name}({', '.join(f'{k}={word(v)}' for k, v in given.items())})"


# --- many calls ---


def limit_memory() -> None:
    """Lets this process map MEMORY_BYTES more, and no further."""
    with open("/proc/self/statm") as file:
        limit = int(file.read().split()[0]) * mmap.PAGESIZE + MEMORY_BYTES
    with contextlib.suppress(ValueError):  # where a lower limit is set
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _work(seed: int, first: int, count: int, place: str) -> None:
    """A batch: the number of the call that runs stands in the file `place`, faults are printed."""
    fences = [Fence() for _ in range(24)]
    limit_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(place, "r+b") as file:
        at = np.frombuffer(mmap.mmap(file.fileno(), 8), np.int64)
        for number in range(first, first + count):
            at[0] = number
            wrong = fault(seed, number, fences)
            if wrong:
                print(f"{number} {' '.join(wrong.split())}", flush=True)


def _batch(seed: int, first: int, count: int) -> Iterator[tuple[int, str]]:
    """Runs a batch in another process, and in further ones behind each call that ends it."""
    end = first + count
    while first < end:
        with (
            tempfile.NamedTemporaryFile() as place,
            tempfile.TemporaryFile("w+") as output,
            tempfile.TemporaryFile("w+") as errors,
        ):
            place.seek(0)
            place.write(np.int64(first).tobytes())
            place.flush()
            command = [sys.executable, "-m", __spec__.name, "--seed", str(seed), "--work",
                       str(first), str(end - first), place.name]  # fmt: skip
            process = subprocess.Popen(command, stdout=output, stderr=errors)
            stalled = _wait(process, place.name)
            output.seek(0)
            for line in output:
                number, words = line.split(" ", 1)
                yield int(number), words.strip()
            if process.returncode == 0:
                return
            at = int(np.fromfile(place.name, np.int64)[0])
            errors.seek(0)
            lines = errors.read().splitlines()
            told = [x for x in lines if "ERROR" in x or "runtime error" in x] or lines
            yield at, "no end" if stalled else f"died of {process.returncode}: {told[-1:]}"
            first = at + 1


def _wait(process: subprocess.Popen[bytes], place: str) -> bool:
    """Until the process ends; True where a call did not, and it was killed."""
    seen, looks = -1, 0  # no clock: both processes may have been stopped meanwhile
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_SECONDS)
            return False
        now = int(np.fromfile(place, np.int64)[0])
        looks = looks + 1 if now == seen else 0
        seen = now
        if looks * LOOK_SECONDS > STALL_SECONDS:
            process.kill()
            process.wait()
            return True


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("tilework.testing.fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="that call alone, in this process")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        _work(options.seed, int(options.work[0]), int(options.work[1]), options.work[2])
        return 0
    if options.only is not None:
        fences = [Fence() for _ in range(24)]
        print(shown(options.seed, options.only, fences), flush=True)
        print(fault(options.seed, options.only, fences) or "nothing is wrong")
        return 0
    started, done, faults = time.monotonic(), 0, 0
    while done < options.calls and time.monotonic() - started < options.seconds:
        count = min(BATCH, options.calls - done)
        for number, words in _batch(options.seed, done, count):
            faults += 1
            name = NAMES[number % len(NAMES)]
            print(f"--seed {options.seed} --only {number}  {name}: {words}", flush=True)
        done += count
    print(f"{done} calls, {faults} faults")
    return faults > 0


if __name__ == "__main__":
    sys.exit(main())
