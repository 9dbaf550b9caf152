"""What the lines of the CUDA kernels cost of memory, counted on the simulated device: bank
conflicts of shared memory, sectors of global memory.

    python -m tilework.testing.traffic            the programs below, the dearest lines of each
    python -m tilework.testing.traffic gemm       those whose name has it
    python -m tilework.testing.traffic --all      every line

A warp reads or writes 32 banks of 4 bytes of shared memory in one pass, and global memory in
sectors of 32 bytes. What the same bytes would cost laid out best stands beside; a line is dear by
what it takes above that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tilework as tw
from tilework import functional as F
from tilework import optim
from tilework.testing import simulated


class Line(NamedTuple):
    """The sums over all times that warps came to a line of a kernel."""

    kernel: str
    place: str  # "softmax.cuh:42"
    shared: bool  # shared memory; else global
    bytes: int  # of a thread's access
    store: bool
    warps: int
    cost: int  # passes, or sectors
    ideal: int


def _products(dtype: Any, flip: bool, precision: str = "highest") -> None:
    a, b = tw.randn(256, 96, dtype=dtype), tw.randn(96, 256, dtype=dtype)
    before = tw.get_float32_matmul_precision()
    tw.set_float32_matmul_precision(precision)
    try:
        (b.t() @ a.t() if flip else a @ b).sum()
    finally:
        tw.set_float32_matmul_precision(before)


def _attention(dtype: Any) -> None:
    q, k, v = (tw.randn(1, 2, 96, 64, dtype=dtype, requires_grad=True) for _ in range(3))
    F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()


def _normed() -> None:
    x, weight, bias = (tw.randn(*s, requires_grad=True) for s in ((32, 768), (768,), (768,)))
    F.layer_norm(x, (768,), weight, bias).sum().backward()


def _losses() -> None:
    x = tw.randn(32, 1000, requires_grad=True)
    F.cross_entropy(x, tw.randint(1000, (32,))).backward()


def _embedded() -> None:
    table = tw.randn(50, 64, requires_grad=True)
    F.embedding(tw.randint(50, (300,)), table).sum().backward()


def _stepped() -> None:
    weights = [tw.randn(n, requires_grad=True) for n in (5000, 70)]
    for w in weights:
        w.grad = tw.ones_like(w)
    optim.AdamW(weights).step()


PROGRAMS: Mapping[str, Callable[[], Any]] = {
    "gemm float": lambda: _products(tw.float32, False),
    "gemm float, both sides transposed": lambda: _products(tw.float32, True),
    "gemm bfloat16": lambda: _products(tw.bfloat16, False),
    "gemm bfloat16, both sides transposed": lambda: _products(tw.bfloat16, True),
    "gemm tf32": lambda: _products(tw.float32, False, "high"),
    "gemm tf32, both sides transposed": lambda: _products(tw.float32, True, "high"),
    "gemm float in bfloat16": lambda: _products(tw.float32, False, "medium"),
    "gemm float in bfloat16, both sides transposed": lambda: _products(tw.float32, True, "medium"),
    "attention float": lambda: _attention(tw.float32),
    "attention bfloat16": lambda: _attention(tw.bfloat16),
    "pointwise": lambda: F.gelu(tw.randn(20000)) + tw.randn(20000),
    "pointwise, broadcast": lambda: tw.randn(128, 1) * tw.randn(1, 160),
    "copy, transposed": lambda: tw.randn(96, 160).t().contiguous(),
    "softmax": lambda: F.softmax(tw.randn(64, 1000), 1),
    "softmax, the first axis": lambda: F.softmax(tw.randn(200, 96), 0),
    "sum of rows": lambda: tw.randn(100, 1000).sum(1),
    "sum of columns": lambda: tw.randn(1000, 100).sum(0),
    "layer norm": _normed,
    "cross entropy": _losses,
    "embedding": _embedded,
    "dropout": lambda: F.dropout(tw.randn(20000), 0.5),
    "AdamW": _stepped,
}


def counted(program: Callable[..., Any], *args: Any) -> list[Line]:
    """What the lines of program(*args) cost, the dearest above their best first."""
    with simulated.device("forward", races=False) as device, tw.device("cuda"):
        module = device.module
        module.set_traffic(True)
        try:
            tw.manual_seed(0)
            program(*args)
            return [Line(*row) for row in module.take_traffic()]
        finally:
            module.set_traffic(False)


def table(name: str, lines: list[Line]) -> Any:
    """The lines as a table that a person reads."""
    from rich.table import Table

    made = Table(title=name, title_justify="left", box=None, pad_edge=False)
    for heading in ("kernel", "line", "memory", "access"):
        made.add_column(heading)
    for heading in ("warps", "a warp's", "best", "times"):
        made.add_column(heading, justify="right")
    for line in lines:
        made.add_row(
            line.kernel, line.place, "shared" if line.shared else "global",
            f"{'store' if line.store else 'load'} of {line.bytes}", f"{line.warps:,}",
            f"{line.cost / line.warps:.2f} {'passes' if line.shared else 'sectors'}",
            f"{line.ideal / line.warps:.2f}", f"{line.cost / max(line.ideal, 1):.2f}",
        )  # fmt: skip
    return made


def main(argv: list[str] | None = None) -> int:
    from rich.console import Console

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="of a program's name")
    parser.add_argument("--all", action="store_true", help="every line, not the ten dearest")
    options = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if reason := simulated.refusal():
        console.print(reason)
        return 1
    for name, program in PROGRAMS.items():
        if not options.parts or any(part in name for part in options.parts):
            lines = counted(program)
            console.print(table(name, lines if options.all else lines[:10]), "")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
