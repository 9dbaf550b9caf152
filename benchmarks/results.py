"""What was measured, and what is worked out from it; a run's file is this as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tilework.errors import error
from tilework.io.files import replacing

Roof = dict[str, float] | None


@dataclass
class Times:
    """One contestant at one case. Seconds a call: the median of the rounds and its quartiles."""

    name: str
    ours: bool
    device: str
    state: str  # "ready", "absent", "wrong" or "failed"
    why: str = ""
    seconds: float = 0.0
    low: float = 0.0
    high: float = 0.0
    rounds: int = 0


@dataclass
class Row:
    """One case, and everybody's times."""

    label: str
    family: str
    op: str
    mode: str
    dtype: str
    flops: float
    bytes: float
    times: list[Times] = field(default_factory=list)

    def ready(self, ours: bool) -> list[Times]:
        return [t for t in self.times if t.state == "ready" and t.ours == ours]

    def best(self, ours: bool) -> Times | None:
        """The fastest of ours, or of the peers."""
        return min(self.ready(ours), key=lambda t: t.seconds, default=None)

    def named(self, name: str) -> Times | None:
        """What `name` did, unless it had nothing to do here."""
        return next((t for t in self.times if t.name == name and t.state != "absent"), None)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def row_from_json(content: dict[str, Any]) -> Row:
    return Row(**{**content, "times": [Times(**times) for times in content["times"]]})


def names(rows: Iterable[Row], ours: bool) -> list[str]:
    """Who played at least one case, in the order of their turns."""
    played = (t.name for row in rows for t in row.times if t.ours == ours and t.state != "absent")
    return list(dict.fromkeys(played))


@dataclass
class Run:
    """A run's rows, the machine they were taken on, and how quiet that was (noise.py)."""

    rows: list[Row]
    machine: dict[str, Any]
    noise: dict[str, Any]
    command: str = ""
    when: str = ""

    def write(self, path: Path) -> None:
        """Everything that was measured, in seconds."""
        content = {**vars(self), "rows": [row.as_json() for row in self.rows]}
        write_whole(path, json.dumps(content, indent=1) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Writes a file, of which what was there stays until all is written."""
    with replacing(path, "bench") as file:
        file.write(text.encode())


def read(path: Path) -> Run:
    """A run that was written; ValueError on another file."""
    try:
        content = json.loads(path.read_text())
        rows = [row_from_json(row) for row in content["rows"]]
        return Run(
            rows,
            content["machine"],
            content.get("noise") or {"reasons": [], "text": ""},
            content.get("command", ""),
            content.get("when", ""),
        )
    except (KeyError, TypeError, ValueError) as reason:  # JSON's own is a ValueError
        wrong = f"{path}: {type(reason).__name__}: {reason}"
        raise error(
            ValueError, "bench", "a file that tilework bench --json wrote", wrong, "measure anew"
        ) from reason


def has_device(path: Path) -> bool:
    """Whether a file was written with a device's columns; False where it cannot be read."""
    try:
        return "device" in json.loads(path.read_text())
    except (OSError, TypeError, ValueError):
        return False


def geometric_mean(ratios: Iterable[float]) -> float:
    """1 where there are none."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(math.fsum(logs) / len(logs)) if logs else 1.0


class Headline(NamedTuple):
    """How many times as fast as the best peer of each case, over the cases that have one.

    Even are those whose quartiles overlap.
    """

    ratio: float
    cases: int
    faster: int
    even: int
    slower: int
    alone: int  # cases without a peer

    def __str__(self) -> str:
        if not self.cases:
            return f"no case of {self.alone} has a peer"
        alone = f"; {self.alone} more have no peer" if self.alone else ""
        return (
            f"{self.ratio:.2f}x the speed of the best peer: the geometric mean of {self.cases} "
            f"cases, {self.faster} faster, {self.even} even, {self.slower} slower{alone}"
        )


def headline(rows: Iterable[Row]) -> Headline:
    """A run in a line."""
    ratios: list[float] = []
    faster = even = slower = alone = 0
    for row in rows:
        mine, peer = row.best(ours=True), row.best(ours=False)
        if mine is None:
            continue
        if peer is None:
            alone += 1
            continue
        ratios.append(peer.seconds / mine.seconds)
        if mine.high < peer.low:
            faster += 1
        elif peer.high < mine.low:
            slower += 1
        else:
            even += 1
    return Headline(geometric_mean(ratios), len(ratios), faster, even, slower, alone)


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


def duration(seconds: float) -> str:
    """For people."""
    for scale, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * scale < 1000:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.3g} s"
