"""A run that has a device's columns beside the CPU's, and its file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tilework.benchmarks.gpu import cards
from tilework.benchmarks.gpu.cards import Card
from tilework.benchmarks.gpu.work import Moved, Work, work
from tilework.benchmarks.results import Row, Run, Times, read, write_whole
from tilework.errors import error

NOT_MEASURED = "bound, not measured"


@dataclass
class Device:
    """What the device's columns hold.

    Attributes:
        card: The card's name: the one that was measured, or the one whose peaks bound.
        measured: Whether a card was there.
        why: Why nothing was measured; empty where it was.
        model: The key in cards.CARDS of the card that bounds; empty where none is known.
        about: Driver, clocks and versions.
        moved: Bytes of each case's inputs and answer, by its label.
        transfers: Seconds of each case's transfers, by its label.
    """

    card: str
    measured: bool
    why: str = ""
    model: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    moved: dict[str, Moved] = field(default_factory=dict)
    transfers: dict[str, Moved] = field(default_factory=dict)

    @property
    def peaks(self) -> Card | None:
        """The published peaks that times are held against."""
        return cards.CARDS.get(self.model)

    def bound(self, row: Row, precision: str) -> float | None:
        """The least seconds of a case on the card; None where its peaks are not known."""
        return None if self.peaks is None else cards.bound(work(row, precision), self.peaks)

    def transfer(self, label: str) -> Moved | None:
        """Seconds to the device and back: measured, or the bound of its link; None where neither is
        known."""
        if label in self.transfers or self.measured or self.peaks is None:
            return self.transfers.get(label)
        bytes_ = self.moved.get(label)
        return bytes_ and Moved(*(cards.transfer(each, self.peaks) for each in bytes_))


@dataclass
class DeviceRun(Run):
    """A run with a device's columns. `tests` and `crossing` are there where they were asked for.

    With `other`, a run of another machine, the device's columns are that one's.
    """

    device: Device = field(default_factory=lambda: Device("", False))
    crossing: list[dict[str, Any]] = field(default_factory=list)
    tests: dict[str, Any] = field(default_factory=dict)
    other: DeviceRun | None = None

    @property
    def beside(self) -> DeviceRun:
        """The run that the device's columns come from."""
        return self.other or self

    def device_times(self, row: Row) -> list[Times]:
        """Who played a case on the device."""
        rows = {r.label: r for r in self.beside.rows}
        found = rows.get(row.label)
        return [] if found is None else [t for t in found.times if t.device != "CPU"]

    def fastest_on_device(self, row: Row) -> Times | None:
        """The fastest of ours on the device."""
        ready = [t for t in self.device_times(row) if t.ours and t.state == "ready"]
        return min(ready, key=lambda t: t.seconds, default=None)

    def device_seconds(self, row: Row) -> float | None:
        """Ours on the device, measured; else its bound."""
        mine = self.fastest_on_device(row)
        if mine is not None:
            return mine.seconds
        beside = self.beside
        if beside.device.measured:
            return None
        return beside.device.bound(row, beside.machine["precision"])

    def write(self, path: Path) -> None:
        """Everything, and each kernel's place under the roof."""
        write_whole(path, json.dumps(self.content(), indent=1) + "\n")

    def content(self) -> dict[str, Any]:
        from tilework.benchmarks.gpu.roofline import points

        return {
            "rows": [row.as_json() for row in self.rows],
            "machine": self.machine,
            "noise": self.noise,
            "command": self.command,
            "when": self.when,
            "device": asdict(self.device),
            "roofline": [asdict(point) for point in points(self)],
            "crossing": self.crossing,
            "tests": self.tests,
            "other": None if self.other is None else self.other.content(),
        }


def on_cpu(row: Row) -> Times | None:
    """The fastest of ours on the CPU."""
    ready = [t for t in row.ready(ours=True) if t.device == "CPU"]
    return min(ready, key=lambda t: t.seconds, default=None)


def read_device(path: Path) -> DeviceRun:
    """A run that DeviceRun.write wrote. ValueError on another file."""
    run = read(path)
    try:
        content = json.loads(path.read_text())
        about = dict(content["device"])
        for name in ("moved", "transfers"):
            about[name] = {label: Moved(*pair) for label, pair in about[name].items()}
        return DeviceRun(
            run.rows, run.machine, run.noise, run.command, run.when, Device(**about),
            content["crossing"], content["tests"],
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError) as reason:
        wrong = f"{path}: {type(reason).__name__}: {reason}"
        raise error(
            ValueError, "bench", "a file that tilework gpu-report wrote", wrong, "measure anew"
        ) from reason


def work_of(run: DeviceRun, row: Row) -> Work:
    """A row's work at the precision that its device's column was taken at."""
    return work(row, run.beside.machine["precision"])
