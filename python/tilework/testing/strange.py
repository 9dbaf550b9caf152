"""Random calls of the public API with strange arguments: each succeeds, or refuses in the one form.

    python -m tilework.testing.strange --calls 200000 --seed 7      minutes; prints each fault
    python -m tilework.testing.strange --seed 7 --only 1234         that one call again

A call is told by the seed and its number alone. It is a valid one (`calls.py` lists one for every
function, method and layer), in which one or two arguments are replaced by strange values.
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import fractions
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import tilework as tw
from tilework import nn
from tilework.testing.calls import FUNCTIONS, LAYERS, METHODS, OPERATORS, Call, Made

KINDS = (
    TypeError, ValueError, IndexError, RuntimeError, NotImplementedError, MemoryError,
)  # fmt: skip


class Stranger:
    """An object that answers to nothing."""


_NUMBERS: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 7, -(2**31), 2**62, 2**63, 10**30, 1.5, -0.0, 1e-300,
    1e308, float("nan"), float("inf"), 1j, decimal.Decimal("1.5"), fractions.Fraction(1, 3),
    np.float64(2.5), np.float32("nan"), np.int8(2), np.int64(1), np.uint64(2**63), np.bool_(True),
    np.complex64(1j), np.datetime64("2020-01-01"), np.timedelta64(1),
    tw.bfloat16.type(1.5),
)  # fmt: skip
_OTHERS: tuple[Any, ...] = (
    "", "abc", "mean", "cpu", "cuda", "float32", "same", "1", b"abc", np.str_("abc"),
    np.bytes_(b"abc"), bytearray(b"ab"), (), [], {}, set(), {1: 2}, (1,), [2], (1, 2), [1, 2],
    (0, 0), (1.5, 2), (-1, -1), ("a", 1), [None], [[1, 2], [3]], (2, 2, 2), (1,) * 40, range(2),
    slice(None), slice(0, "a"), Ellipsis, NotImplemented, len, int, float, str, object, np.float16,
    np.dtype("M8[s]"), tw.bfloat16, tw.int64, tw.bool, datetime.date(2020, 1, 1), Stranger(),
    Stranger, Exception("x"), nn, nn.ReLU,
)  # fmt: skip
_ARRAYS: tuple[Callable[[], Any], ...] = (
    lambda: np.ones((2, 3)),
    lambda: np.ones((3, 4), np.float32),
    lambda: np.array(3),
    lambda: np.array([1, 2]),
    lambda: np.array([True, False]),
    lambda: np.array(["a", "b"]),
    lambda: np.array([None, 1], object),
    lambda: np.ones(3, np.complex64),
    lambda: np.ones(3, np.float16),
    lambda: np.ones(3, ">f4"),
    lambda: np.zeros((0, 3)),
    lambda: np.matrix([[1.0, 2.0]]),
    lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    lambda: np.zeros(2, [("a", np.float32)]),
    lambda: tw.ones(()),
    lambda: tw.tensor(1),
    lambda: tw.tensor(-1),
    lambda: tw.tensor(True),
    lambda: tw.tensor([]),
    lambda: tw.tensor([0, 1]),
    lambda: tw.tensor([[True], [False]]),
    lambda: tw.zeros(0, 4),
    lambda: tw.ones(3, 4),
    lambda: tw.ones(3, 4, dtype=tw.float64),
    lambda: tw.ones(3, 4, dtype=tw.bfloat16),
    lambda: tw.ones(3, 4, dtype=tw.uint8),
    lambda: tw.ones(3, 4, requires_grad=True),
    lambda: tw.ones(1, 4).expand(3, 4),
    lambda: tw.ones(2, 3, 4, 5),
    lambda: tw.full((3, 4), float("nan")),
    lambda: tw.ones((1,) * 12),
    lambda: (v for v in (1, 2)),
    lambda: [tw.ones(2), np.ones(2)],
    lambda: nn.Linear(2, 2),
)  # fmt: skip


@dataclass
class Fault:
    """A call that neither succeeded nor refused in the form."""

    number: int
    text: str
    reason: str

    def __str__(self) -> str:
        return f"#{self.number} {self.text}\n    {self.reason}"


def _strange(rng: np.random.Generator) -> Any:
    group = rng.integers(3)
    if group == 0:
        return _NUMBERS[rng.integers(len(_NUMBERS))]
    if group == 1:
        return _OTHERS[rng.integers(len(_OTHERS))]
    return _ARRAYS[rng.integers(len(_ARRAYS))]()


def _bent(value: Any, rng: np.random.Generator) -> Any:
    """A strange value in the place of `value`, or within it."""
    if isinstance(value, (tuple, list)) and value and rng.integers(2):
        bent = list(value)
        bent[rng.integers(len(bent))] = _strange(rng)
        return type(value)(bent)
    return _strange(rng)


def _shown(value: Any) -> str:
    if isinstance(value, tw.Tensor):
        return f"Tensor({value.shape}, {value.dtype})"
    return " ".join(repr(value).split())[:80]


ALL: tuple[tuple[str, Call], ...] = (
    *((f"F.{name}", call) for name, call in FUNCTIONS.items()),
    *((f"Tensor.{name}", call) for name, call in METHODS.items()),
    *((f"operator.{name}", call) for name, call in OPERATORS.items()),
    *((f"nn.{name}", call) for name, call in LAYERS.items()),
)


def _arguments(call: Call, rng: np.random.Generator) -> tuple[list[Any], dict[str, Any]]:
    """Valid arguments, the optional ones by name now and then."""
    dtype = (
        ("float32", "float64", "bfloat16")[min(int(rng.integers(6)), 2)] if call.floats else None
    )
    args = [_made(a, rng, dtype) for a in call.args]
    given = [k for k in call.options if rng.integers(3) == 0]
    return args, {k: _made(call.options[k], rng, dtype) for k in given}


def _made(value: Any, rng: np.random.Generator, dtype: str | None) -> Any:
    if isinstance(value, list):
        return [_made(v, rng, dtype) for v in value]
    return value.make(rng, dtype) if isinstance(value, Made) else value


def _bend(call: Call, args: list[Any], options: dict[str, Any], rng: np.random.Generator) -> None:
    """One or two arguments replaced."""
    names = [*range(len(args)), *call.options]
    if not names:
        return
    for _ in range(1 + int(rng.integers(4) == 0)):
        which = names[rng.integers(len(names))]
        if isinstance(which, int):
            args[which] = _bent(args[which], rng)
        else:
            options[which] = _bent(options.get(which), rng)


def _run(name: str, call: Call, args: list[Any], options: dict[str, Any]) -> None:
    if not name.startswith("nn."):
        call.function(*args, **options)
        return
    layer = call.function(*args[call.inputs :], **options)
    layer(*args[: call.inputs])


def _fault_of(name: str, reason: BaseException) -> str:
    """What is wrong with an exception; empty where it is as it should be."""
    text, kind = str(reason), type(reason)
    # Python's own words where neither side serves an operator.
    if name.startswith("operator.") and kind is TypeError and "operand type" in text:
        return ""
    if kind not in KINDS:
        return f"{kind.__name__}: {text[:300]}"
    after = text.partition("] expected ")[2].partition("; got ")[2]
    if not text.startswith("[") or ": " not in after or len(text) > 500:
        return f"not in the form: {kind.__name__}: {text[:300]}"
    return ""


def make_call(seed: int, number: int, say: Callable[[str], None] | None = None) -> Fault | None:
    """Makes the call of that number; `say` hears of it before it is made."""
    rng = np.random.default_rng((seed, number))
    name, call = ALL[rng.integers(len(ALL))]
    args, options = _arguments(call, rng)
    _bend(call, args, options, rng)
    shown = [_shown(a) for a in args] + [f"{k}={_shown(v)}" for k, v in options.items()]
    text = f"{name}({', '.join(shown)})"
    if say is not None:
        say(f"#{number} {text}")
    tw.manual_seed(number)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _run(name, call, args, options)
    except Exception as reason:
        wrong = _fault_of(name, reason)
        return Fault(number, text, wrong) if wrong else None
    return None


def faults(calls: int, seed: int, say: Callable[[str], None] | None = None) -> Iterator[Fault]:
    """The faults among so many calls of a seed."""
    for number in range(calls):
        found = make_call(seed, number, say)
        if found is not None:
            yield found


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tilework.testing.strange")
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one call to make again")
    parser.add_argument("--say", action="store_true", help="name each call first (after a crash)")
    options = parser.parse_args(argv)
    say = (lambda line: print(line, file=sys.stderr, flush=True)) if options.say else None
    if options.only is not None:
        found = [make_call(options.seed, options.only, print)]
    else:
        found = list(faults(options.calls, options.seed, say))
    for fault in filter(None, found):
        print(fault)
    count = sum(fault is not None for fault in found)
    print(f"{count} faults")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
