"""Cases of gates: an activation times a second operand, of two tensors or of halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing import reference
from tilework.testing.case import Array, Bench, Case, Mode
from tilework.testing.cases.layers import layer_row
from tilework.testing.inputs import LAYOUTS, TAILS, Inputs, arrays, special
from tilework.testing.rows import Row, rows
from tilework.testing.tolerance import eps, stored, tiny

# name -> (call of two operands or of one, the gate's activation in NumPy)
_CALLS: dict[str, tuple[Callable[..., Any], Callable[[Array], Array]]] = {
    "glu": (lambda F, x, other, dim: F.glu(x, dim), reference.sigmoid),
    "swiglu": (lambda F, x, other, dim: F.swiglu(x, other, dim), reference.silu),
    "geglu": (lambda F, x, other, dim: F.geglu(x, other, dim), reference.gelu),
    "geglu_tanh": (
        lambda F, x, other, dim: F.geglu(x, other, dim, approximate="tanh"),
        reference.gelu_tanh,
    ),
}
_PEERS: dict[str, Callable[..., Any]] = {
    "swiglu": lambda F, gate: F.silu(gate),
    "geglu": lambda F, gate: F.gelu(gate),
    "geglu_tanh": lambda F, gate: F.gelu(gate, approximate="tanh"),
}


def _sides(op: str, x: Array, other: Array | None, dim: int) -> tuple[Array, Array]:
    """(gate, value)."""
    first, second = np.split(x, 2, dim) if other is None else (x, other)
    return (second, first) if op == "glu" else (first, second)


def _case(op: str, label: str, inputs: Inputs, dim: int = -1, **fields: Any) -> Case:
    """Inputs are (x,) or (x, other)."""
    called, activation = _CALLS[op]

    def call(tw: Any, F: Any, x: Any, other: Any = None) -> Any:
        return called(F, x, other, dim)

    def peer(torch: Any, F: Any, x: Any, other: Any = None) -> Any:
        if op == "glu":
            return F.glu(x, dim)
        gate, value = (x, other) if other is not None else x.chunk(2, dim)
        return _PEERS[op](F, gate) * value

    def expected(x: Array, other: Any = None) -> Array:
        gate, value = _sides(op, x, other, dim)
        return np.asarray(activation(gate) * value)

    def bound(dtype: str, expected: Array, x: Array, other: Any = None) -> Any:
        """The activation is x times a gate that may have been rounded by eps."""
        gate, value = _sides(op, x, other, dim)
        working = "float32" if dtype == "bfloat16" else dtype
        size = np.minimum(np.abs(gate), 1000.0)
        error = 4 * np.abs(activation(gate)) + np.where(size < 30, size, 0.0)
        least = tiny(working) * (1.0 + size) * (1.0 + np.abs(value))
        return stored(dtype, expected, eps(working) * (error * np.abs(value)) + least)

    fields.setdefault("peer", peer)
    fields.setdefault("dtypes", ("float32", "float64", "bfloat16"))
    return Case(
        family="gated",
        op=op,
        label=label,
        inputs=inputs,
        call=call,
        reference=expected,
        tolerance=bound,
        **fields,
    )


def _cases() -> Iterator[Case]:
    for op in _CALLS:
        for n in TAILS:
            thorough = n in (1, 8, 17, 33, 65, 129)
            fields: dict[str, Any] = {"quick": thorough, "differentiable": (0,) if thorough else ()}
            yield _case(op, f"halves of {2 * n}", arrays((3, 2 * n)), **fields)
        for dim in (0, 1, -2):
            yield _case(op, f"halves along {dim}", arrays((4, 6, 2, 5)), dim, differentiable=(0,))
        for layout in LAYOUTS:
            inputs = arrays((2, 6, 3, 4), layouts=[layout])
            yield _case(op, f"halves, {layout}", inputs, 1, differentiable=(0,))
        for shape in ((0, 4), (3, 0), (3, 2, 0)):
            yield _case(op, f"halves of {shape}", arrays(shape))
        yield _case(op, "one row streamed", arrays((2, (1 << 20) + 64)), 0, dtypes=("float32",),
                    differentiable=(0,))  # fmt: skip
        if op == "glu":
            continue
        for n in TAILS:
            thorough = n in (1, 8, 17, 33, 65, 129)
            fields = {"quick": thorough, "differentiable": (0, 1) if thorough else ()}
            yield _case(op, f"two of {n}", arrays((n,), (n,)), **fields)
        for layout in LAYOUTS:
            inputs = arrays((2, 5, 3, 4), (2, 5, 3, 4), layouts=[layout, "contiguous"])
            yield _case(op, f"two, {layout}", inputs, differentiable=(0, 1))
        for empty in ((), (0,), (1, 1)):
            yield _case(op, f"two of shape {empty}", arrays(empty, empty))
        yield _case(op, "special values", lambda rng, t: (special(t), np.ones_like(special(t))),
                    dtypes=("float32", "float64"), peer=None)  # fmt: skip
        yield _case(op, "two streamed", arrays((1100, 992), (1100, 992)), dtypes=("float32",),
                    differentiable=(0, 1))  # fmt: skip


def _layers() -> Iterator[Row]:
    makes: tuple[tuple[str, str, Callable[..., Any]], ...] = (
        ("GLU", "glu", lambda nn: nn.GLU(1)),
        ("SwiGLU", "swiglu", lambda nn: nn.SwiGLU(1)),
        ("GEGLU", "geglu", lambda nn: nn.GEGLU(1)),
        ("GEGLU tanh", "geglu_tanh", lambda nn: nn.GEGLU(1, approximate="tanh")),
    )
    for label, op, make in makes:
        same = _case(op, label, arrays((3, 8, 2)), 1)
        own: dict[str, Any] = {} if op == "glu" else {"peer": None}
        how = {"tolerance": same.tolerance, **own}
        yield layer_row(label, make, (3, 8, 2), same.reference, **how)


def _timed() -> Iterator[Case]:
    shape = (4096, 2048)
    modes: tuple[tuple[Mode, float], ...] = (("forward", 3.0), ("backward", 8.0))
    for op, dtype in (("swiglu", "float32"), ("geglu", "float32"), ("swiglu", "bfloat16")):
        for mode, passes in modes:
            label = f"{op} 4096x2048" + " backward" * (mode == "backward")
            label += " bfloat16" * (dtype == "bfloat16")
            moved = passes * 4096 * 2048 * (2.0 if dtype == "bfloat16" else 4.0)
            yield _case(
                op, label, arrays(shape, shape), differentiable=(0, 1), dtypes=(dtype,),
                quick=False, bench=Bench(label, 0.0, moved, mode=mode, dtype=dtype),
            )  # fmt: skip


CASES: tuple[Case, ...] = (*_cases(), *rows("gated", _layers()), *_timed())
