"""What a call costs before its arithmetic: common calls on 8x8, beside PyTorch's in turns.

Each call is one statement that reads alike in both libraries. It runs in short batches, now of one
library and now of the other, in one process: off the tape, and once more on it where its result is
recorded.
"""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import os
import random
import shlex
import statistics
import sys
import timeit
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import tilework
from tilework.benchmarks import noise
from tilework.benchmarks.machine import heading, machine
from tilework.benchmarks.results import Row, Run, Times, duration

VIEW_SECONDS = 3e-6  # what a view may take: no element is touched
BATCH_SECONDS = 4e-4  # long beside the clock, short beside the machine's drifts
ROUNDS = 25
_WARMING = 20
MODES = ("no tape", "tape")
OURS = "tilework"


class Call(NamedTuple):
    """A statement, whether it gives views, what runs before each batch of it, and what holds its
    result where it is no expression."""

    statement: str
    view: bool = False
    before: str = "pass"
    result: str = ""


_COMPUTING = (
    "x + y", "x - y", "x * y", "x / y", "x + 1.0", "x ** 2", "-x",
    "x.exp()", "x.log()", "x.sqrt()", "x.abs()", "x.tanh()", "x.sigmoid()", "F.relu(x)",
    "F.gelu(x)",
    "x > 0", "x == y", "x.clamp(-1.0, 1.0)", "lib.where(mask, x, y)", "x.masked_fill(mask, 0.0)",
    "x @ y", "F.linear(x, weight, bias)", "F.layer_norm(x, (8,), bias, bias)",
    "F.softmax(x, 1)", "F.log_softmax(x, 1)", "F.dropout(x, 0.5)",
    "F.cross_entropy(x, labels)", "F.mse_loss(x, y)", "F.smooth_l1_loss(x, y)",
    "x.sum()", "x.sum(1)", "x.mean()", "x.mean(1)", "x.max()", "x.max(1)", "x.argmax(1)",
    "x.std()", "x.var(1)", "x.cumsum(1)", "x.sort(1)", "x.topk(2)",
    "lib.cat([x, y])", "lib.stack([x, y])", "F.pad(x, (1, 1))",
    "x.gather(1, index)", "x.index_select(0, labels)", "F.embedding(labels, weight)",
    "x[labels]", "x[mask]", "x.clone()", "x.to(lib.float64)",
    "lib.zeros(8, 8)", "lib.ones(8, 8)", "lib.arange(8)", "lib.randn(8, 8)",
    "lib.tensor([1.0, 2.0])", "scalar.item()",
)  # fmt: skip
_VIEWS = (
    "x.reshape(64)", "x.view(64)", "x.flatten()", "x.transpose(0, 1)", "x.t()", "x.permute(1, 0)",
    "x.expand(2, 8, 8)", "x.unsqueeze(0)", "x.squeeze(0)", "x[1:3]", "x[:, 0]", "x[0]",
    "x.split(4)", "x.chunk(2)", "x.detach()",
)  # fmt: skip

CALLS: tuple[Call, ...] = (
    *map(Call, _COMPUTING),
    Call("h += y", before="h = x.clone()", result="h"),
    *(Call(statement, view=True) for statement in _VIEWS),
)


def names_for(library: Any, functional: Any, taped: bool) -> dict[str, Any]:
    """What the statements name, in one library; with `taped` the floats require grad."""
    rng = np.random.default_rng(0)
    floats = {name: rng.uniform(0.5, 1.5, (8, 8)) for name in ("x", "y", "weight")}
    floats["bias"] = rng.uniform(0.5, 1.5, 8)
    floats["scalar"] = np.ones(())
    names = {
        name: library.tensor(value.astype(np.float32), requires_grad=taped)
        for name, value in floats.items()
    }
    names["labels"] = library.tensor(rng.integers(0, 8, 8))
    names["index"] = library.tensor(rng.integers(0, 8, (8, 8)))
    names["mask"] = library.tensor(rng.integers(0, 2, (8, 8)) == 1)
    return names | {"lib": library, "F": functional}


def result_of(call: Call, names: dict[str, Any]) -> Any:
    """What the call gives; of several, the first."""
    scope = dict(names)
    exec(call.before, scope)
    if call.result:
        exec(call.statement, scope)
    result = eval(call.result or call.statement, scope)
    return result[0] if isinstance(result, tuple) else result


def measure(calls: Iterable[Call], libraries: dict[str, Any], rounds: int) -> list[Row]:
    """A row for each call off the tape, and one on it where it is recorded; ours is the first of
    the libraries."""
    rows = []
    for taped, mode in enumerate(MODES):
        scopes = {
            name: names_for(library, importlib.import_module(f"{library.__name__}.nn.functional"),
                            bool(taped))
            for name, library in libraries.items()
        }  # fmt: skip
        for call in calls:
            if taped and not getattr(result_of(call, scopes[OURS]), "requires_grad", False):
                continue
            kind = "view" if call.view else "call"
            row = Row(f"{call.statement}, {mode}", kind, call.statement, mode, "float32", 0.0, 0.0)
            row.times = _in_turns(call, scopes, rounds)
            rows.append(row)
    return rows


def _in_turns(call: Call, scopes: dict[str, dict[str, Any]], rounds: int) -> list[Times]:
    samples: dict[str, list[float]] = {name: [] for name in scopes}
    turns = []
    for name, scope in scopes.items():
        timer = timeit.Timer(call.statement, call.before, globals=scope)
        timer.timeit(_WARMING)  # what the first calls find out, and keep
        each = timer.timeit(_WARMING) / _WARMING
        turns.append((name, timer, max(1, round(BATCH_SECONDS / each))))
    order = random.Random(0)
    for _ in range(rounds):
        order.shuffle(turns)
        for name, timer, times in turns:
            samples[name].append(timer.timeit(times) / times)
    found = []
    for name, taken in samples.items():
        low, middle, high = statistics.quantiles(taken, n=4)
        found.append(Times(name, name == OURS, "CPU", "ready", "", middle, low, high, rounds))
    return found


def run(console: Console, path: Path | None, peers: Sequence[str] | None) -> int:
    """Measures on one thread, prints the table, writes the run to `path`, and returns 0."""
    tilework.set_num_threads(1)
    libraries: dict[str, Any] = {OURS: tilework}
    if (peers is None or "torch" in peers) and importlib.util.find_spec("torch") is not None:
        libraries["PyTorch"] = torch = importlib.import_module("torch")
        torch.set_num_threads(1)
    about, before = machine(1, None, None), noise.read()
    rows = measure(CALLS, libraries, ROUNDS)
    found = noise.verdict(before, noise.read(), rows, 1, len(os.sched_getaffinity(0)))
    when = datetime.datetime.now().astimezone().isoformat(" ", "minutes")
    measured = Run(rows, about, found, shlex.join(["tilework", *sys.argv[1:]]), when)
    show(measured, console)
    if path is not None:
        measured.write(path)
    return 0


def share(row: Row) -> float:
    """Our time over what it may be: PyTorch's, and of a view VIEW_SECONDS; 0 where nothing says."""
    mine, peer = row.best(ours=True), row.best(ours=False)
    assert mine is not None
    limits = [peer.seconds] if peer else []
    if row.family == "view":
        limits.append(VIEW_SECONDS)
    return mine.seconds / min(limits) if limits else 0.0


def show(measured: Run, console: Console) -> None:
    """A line a call, the worst first."""
    table = Table(
        title=f"Calls on 8x8; {heading(measured.machine)}",
        caption="share: our time over PyTorch's, a view's over 3 us too; what is above 1 is "
        "marked. Medians, taken in turns.",
    )
    table.add_column("call", no_wrap=True)
    for mode in MODES:
        table.add_column(f"tilework, {mode}", justify="right")
        table.add_column("PyTorch", justify="right")
        table.add_column("share", justify="right", style="bold")
    calls: dict[str, dict[str, Row]] = {}
    for row in measured.rows:
        calls.setdefault(row.op, {})[row.mode] = row
    for op, found in sorted(calls.items(), key=lambda item: -max(map(share, item[1].values()))):
        view = any(row.family == "view" for row in found.values())
        name = f"{op} (view)" if view else op
        table.add_row(escape(name), *(cell for mode in MODES for cell in _cells(found.get(mode))))
    console.print(table)
    over = sum(share(row) > 1.0 for row in measured.rows)
    for line in (
        measured.noise["text"],
        f"{over} of {len(measured.rows)} take longer than they may",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _cells(row: Row | None) -> tuple[str, str, str]:
    if row is None:
        return "", "", ""
    mine, peer = row.best(ours=True), row.best(ours=False)
    assert mine is not None
    said = f"{share(row):.2f}"
    return (
        duration(mine.seconds),
        duration(peer.seconds) if peer else "",
        f"[red]{said} !" if share(row) > 1.0 else said,
    )
