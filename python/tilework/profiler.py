"""Where a program's time goes: each op's time, bytes, variant and routine.

The names are torch.profiler's:

>>> from tilework import profiler
>>> with profiler.profile() as p:
...     with profiler.record_function("first layer"):
...         y = F.linear(tw.ones(8, 4), tw.ones(3, 4))
>>> [(row.key, row.count) for row in p.key_averages()]
[('first layer', 1), ('ones', 2), ('linear', 1)]

`p.key_averages().table(sort_by="self_cpu_time_total")` is a table to read, and
`p.export_chrome_trace("trace.json")` a picture in time for chrome://tracing or ui.perfetto.dev.
"""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ContextDecorator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tilework import engines, explain, hardware
from tilework.errors import error
from tilework.io.files import replacing
from tilework.nested import tensors_in
from tilework.recorder import Call, Recorder

__all__ = ["ProfilerActivity", "profile", "record_function"]

# The kernels, by how their names begin, that a family's variants serve.
FAMILIES = {
    "gemm": ("linear", "matmul"), "conv": ("conv",), "pool": ("pool",),
    "attention": ("attention", "varlen"), "recurrent": ("recurrent",), "sequence": ("ctc",),
    "pointwise": ("unary", "binary", "bias", "gated", "clamp", "dropout", "widen", "narrow"),
    "reduce": ("sum", "mean", "max", "min"), "softmax": ("softmax",),
    "norm": ("batch_norm", "norm_rows"), "loss": ("cross_entropy", "distance"),
    "interpolate": ("interpolate",), "embedding": ("embedding",),
    "random": ("random", "uniform", "normal"), "optim": ("sgd", "adam", "squares", "scale"),
}  # fmt: skip
_SORTS = ("self_cpu_time_total", "cpu_time_total", "count", "bytes")


@dataclass
class Average:
    """What the calls of one op came to, forward and backward apart.

    Attributes:
        key: The op's name, as in tilework.functional; "conv (backward)" for a gradient.
        count: Calls.
        cpu_time_total, self_cpu_time_total: Microseconds; without what was called within.
        bytes: Of the tensors that it took and gave.
        variant: The ISA variants of its kernels, where it has some.
        routine: For convolutions, attention and recurrent layers: the kernel's routine.
    """

    key: str
    count: int = 0
    cpu_time_total: float = 0.0
    self_cpu_time_total: float = 0.0
    bytes: int = 0
    variant: str = ""
    routine: str = ""


class Averages(list[Average]):
    """Rows in the order in which the ops first came."""

    def table(self, sort_by: str = "self_cpu_time_total", row_limit: int = 100) -> str:
        """The rows as text, the largest first. ValueError on a column that is none."""
        if sort_by not in _SORTS:
            raise error(
                ValueError, "profile", f"sort_by of {', '.join(_SORTS)}", sort_by, "name a column"
            )
        from rich.console import Console
        from rich.table import Table

        whole = sum(row.self_cpu_time_total for row in self) or 1.0
        table = Table(box=None, pad_edge=False, header_style="")
        table.add_column("op", no_wrap=True)
        for title in ("self ms", "share", "total ms", "calls", "MB"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("variant", no_wrap=True)
        table.add_column("routine", no_wrap=True)
        for row in sorted(self, key=lambda r: -getattr(r, sort_by))[:row_limit]:
            table.add_row(
                row.key,
                f"{row.self_cpu_time_total / 1e3:.3f}",
                f"{row.self_cpu_time_total / whole:.1%}",
                f"{row.cpu_time_total / 1e3:.3f}",
                f"{row.count:,}",
                f"{row.bytes / 1e6:.2f}",
                row.variant,
                row.routine,
            )
        text = io.StringIO()
        Console(file=text, width=140).print(table)
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        return "\n".join([*lines, f"{whole / 1e3:.3f} ms in all"])


class ProfilerActivity(Enum):
    """What PyTorch's profiler can be told to watch."""

    CPU = 0
    CUDA = 2


class profile:
    """Notes the ops of this thread until it ends; a `with` block.

    Times hold the note-taking too, about a microsecond for each of Python's calls, so that small
    ops seem slower than they are; kernels are timed as they run. PyTorch's arguments are taken and
    change nothing: times, calls and bytes are always noted. RuntimeError where another profiler
    runs in this thread.
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
    ) -> None:
        self._recorder = Recorder()
        self._thread = threading.get_ident()

    def __enter__(self) -> profile:
        self._recorder.__enter__()
        self._thread = threading.get_ident()
        _running[self._thread] = self._recorder
        return self

    def __exit__(self, *_: object) -> None:
        _running.pop(self._thread, None)
        self._recorder.__exit__()

    def events(self) -> list[Call]:
        """The outermost calls, in their order; each has those within it as `inner`."""
        return self._recorder.calls

    def key_averages(self) -> Averages:
        """A row for each op."""
        rows: dict[str, Average] = {}
        variants = {name: row["variant"] for name, row in hardware.variants().items()}
        for call in _rows(self._recorder.calls):
            key = f"{call.name} (backward)" if call.kind == "backward" else call.name
            row = rows.setdefault(key, Average(key))
            within = sum(c.end - c.start for c in _rows(call.inner, call.kind, whole=False))
            row.count += 1
            row.cpu_time_total += (call.end - call.start) / 1e3
            row.self_cpu_time_total += (call.end - call.start - within) / 1e3
            row.bytes += _bytes([*call.arguments.values(), call.result])
            _name_kernels(row, call, variants)
        return Averages(rows.values())

    def table(self, sort_by: str = "self_cpu_time_total", row_limit: int = 100) -> str:
        """key_averages().table()."""
        return self.key_averages().table(sort_by, row_limit)

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Writes all calls, kernels too, as chrome://tracing and ui.perfetto.dev read them."""
        events = [
            {
                "name": call.name, "cat": call.kind, "ph": "X", "pid": os.getpid(),
                "tid": self._thread, "ts": call.start / 1e3, "dur": (call.end - call.start) / 1e3,
                "args": _shapes(call),
            }
            for call in _walk(self._recorder.calls)
        ]  # fmt: skip
        text = json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})
        with replacing(path, "export_chrome_trace") as file:
            file.write(text.encode())


class record_function(ContextDecorator):
    """Names a part of a program within a profile: `with record_function("attention"): ...`, or
    `@record_function("attention")` before a function; does nothing outside of one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open: list[Recorder | None] = []  # a decorated function may call itself

    def __enter__(self) -> record_function:
        recorder = _running.get(threading.get_ident())
        self._open.append(recorder)
        if recorder is not None:
            recorder.begin(self._name, "part", {}, self)
        return self

    def __exit__(self, *_: object) -> None:
        recorder = self._open.pop()
        if recorder is not None and recorder is _running.get(threading.get_ident()):
            recorder.finish()


_running: dict[int, Recorder] = {}  # by thread


def _walk(calls: Sequence[Call]) -> Iterator[Call]:
    for call in calls:
        yield call
        yield from _walk(call.inner)


def _rows(calls: Sequence[Call], kind: str = "part", *, whole: bool = True) -> Iterator[Call]:
    """What has a row of its own: ops, and kernels that no op calls, as an optimiser's. `kind` is
    that of the call around them; with `whole` also what is within."""
    for call in calls:
        if call.kind != "kernel" or kind == "part":
            yield call
        if whole:
            yield from _rows(call.inner, call.kind)


def _bytes(value: Any) -> int:
    """Of the tensors, or in a gradient arrays, in a value."""
    if isinstance(value, (tuple, list)):
        return sum(_bytes(member) for member in value)
    return int(getattr(value, "nbytes", 0))


def _shapes(call: Call) -> dict[str, str]:
    return {
        name: " x ".join(map(str, x.shape))
        for name, value in call.arguments.items()
        for x in tensors_in(value)
    }


def _name_kernels(row: Average, call: Call, variants: dict[str, str]) -> None:
    if call.kind == "part":
        return
    kernels = [c.name for c in (call, *call.inner) if c.kind == "kernel"]
    for kernel in kernels:
        family = next((f for f, starts in FAMILIES.items() if kernel.startswith(starts)), "")
        row.variant = _with(row.variant, variants.get(family, ""))
    if kernels and call.kind == "op":
        row.routine = _with(row.routine, _routine(call))


def _with(known: str, name: str) -> str:
    """A list of names, and one more where it is not in it."""
    names = [n for n in known.split(", ") if n]
    return known if not name or name in names else ", ".join([*names, name])


def _routine(call: Call) -> str:
    """What explain tells of an op of these shapes."""
    a = call.arguments
    if engines.current_engine() != "native":
        return ""
    if call.name == "conv2d":
        x, weight = a["input"], a["weight"]
        how = (a["stride"], a["padding"], a["dilation"], a["groups"])
        rows = explain.explain_conv2d(x.shape, weight.shape, *how, dtype=weight.dtype)
    elif call.name == "scaled_dot_product_attention" and a["query"].ndim == 4:
        query, key = a["query"], a["key"]
        rows = explain.explain_attention(query.shape, key.shape, is_causal=a["is_causal"])
    elif call.name in ("lstm", "gru", "rnn_tanh", "rnn_relu") and a["input"].ndim == 3:
        steps, batch, width = a["input"].shape
        if a["batch_first"]:
            steps, batch = batch, steps
        hidden = a["params"][1].shape[1]
        rows = explain.explain_recurrent(call.name, (steps, batch, width), hidden)
    else:
        return ""
    return rows[0]["routine"]
