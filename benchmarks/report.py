"""What a run says: a table for the terminal, JSON for programs."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tilework.benchmarks.environment import worker_environment
from tilework.benchmarks.session import Row, Times

Roof = dict[str, float] | None
_LIBRARIES = ("tilework", "numpy", "torch", "jax", "onnxruntime", "numba")


def machine(threads: int, isa: str | None, precision: str | None) -> dict[str, Any]:
    """What the figures are taken on; its roof is measured in a process set up as the workers."""
    command = [sys.executable, "-m", "tilework.hardware"]
    env = worker_environment(threads, isa, precision)
    answer = subprocess.run(command, env=env, capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(answer.stderr.strip().splitlines()[-1])
    return {
        **json.loads(answer.stdout),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES if _version(name)},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def show_table(rows: list[Row], about: dict[str, Any], console: Console) -> None:
    """One line a case: our times and best rate, then how many times as long each peer takes."""
    peers = list(dict.fromkeys(t.name for row in rows for t in row.times if not t.ours))
    engines = list(dict.fromkeys(t.name for row in rows for t in row.times if t.ours))
    table = Table(
        title=heading(about),
        caption="A peer's column: its time over our best, so above 1 tilework is faster. "
        "Medians, taken in turns.",
    )
    table.add_column("case", no_wrap=True)
    table.add_column("device")
    for engine in engines:
        table.add_column(engine, justify="right")
    for name in ("rate", "of roof"):
        table.add_column(name, justify="right", no_wrap=True)
    for peer in peers:
        table.add_column(peer, justify="right")
    table.add_column("best peer", justify="right", style="bold")
    for row in rows:
        mine = row.best(ours=True)
        table.add_row(
            row.label,
            row.times[0].device if row.times else "",
            *(_time(_named(row, engine)) for engine in engines),
            *_rate(row, mine, about["roof"]),
            *(_ratio(mine, _named(row, peer)) for peer in peers),
            _ratio(mine, row.best(ours=False)),
        )
    console.print(table)
    gpu = about["gpu"]
    console.print(f"GPU: {gpu['name'] or 'none: ' + gpu['reason']}")
    for row in rows:
        for times in row.times:
            if times.why:
                console.print(
                    f"{row.label}, {times.name}, {times.state}: {times.why}", markup=False
                )


def heading(about: dict[str, Any]) -> str:
    """The machine in a line."""
    precision = "" if about["precision"] == "highest" else f", {about['precision']!r} precision"
    return f"{about['cpu']['model']}, {about['isa']}, {about['threads']} thread(s){precision}"


def write_json(path: Path, rows: list[Row], about: dict[str, Any], command: str) -> None:
    """Everything that was measured, in seconds."""
    content = {"command": command, "machine": about, "rows": [row.as_json() for row in rows]}
    path.write_text(json.dumps(content, indent=1) + "\n")


def rate(row: Row, times: Times, roof: Roof) -> tuple[float, str, float | None]:
    """GFLOP/s where arithmetic bounds the case, GB/s where memory does, and the share of that roof.

    What bounds a case is what would take longer at the machine's limit; without a measured limit,
    arithmetic, if there is any. bfloat16 is held against float32's limit, which it passes where the
    CPU multiplies it faster.
    """
    arithmetic = row.flops > 0
    if roof is not None:
        roof = {"bfloat16": roof["float32"], **roof}
        arithmetic = row.flops / roof[row.dtype] > row.bytes / roof["bandwidth"]
    speed = (row.flops if arithmetic else row.bytes) / times.seconds
    limit = None if roof is None else roof[row.dtype if arithmetic else "bandwidth"]
    return speed / 1e9, "GFLOP/s" if arithmetic else "GB/s", limit and speed / limit


def _named(row: Row, name: str) -> Times | None:
    return next((t for t in row.times if t.name == name), None)


def _ready(times: Times | None) -> bool:
    return times is not None and times.state == "ready"


def _time(times: Times | None) -> str:
    if times is None or not _ready(times):
        return times.state.upper() if times else ""
    for scale, unit in ((1e6, "us"), (1e3, "ms")):
        if times.seconds * scale < 1000:
            return f"{times.seconds * scale:.3g} {unit}"
    return f"{times.seconds:.3g} s"


def _rate(row: Row, times: Times | None, roof: Roof) -> tuple[str, str]:
    if times is None or not _ready(times):
        return "", ""
    value, unit, share = rate(row, times, roof)
    return f"{value:.3g} {unit}", "" if share is None else f"{share:.0%}"


def _ratio(mine: Times | None, peer: Times | None) -> str:
    if mine is None or peer is None or peer.state == "absent":
        return ""
    if not _ready(peer):
        return peer.state
    return f"{peer.seconds / mine.seconds:.2f}x"
