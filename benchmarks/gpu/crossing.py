"""From which size the GPU pays, its transfers included: a sweep, and its picture."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from pathlib import Path
from typing import Any

from rich.console import Console

from tilework.benchmarks.gpu import cards, sweep
from tilework.benchmarks.gpu.results import NOT_MEASURED, Device, DeviceRun, on_cpu
from tilework.benchmarks.gpu.sweep import Series
from tilework.benchmarks.gpu.timing import DeviceSession
from tilework.benchmarks.gpu.work import Moved, work
from tilework.benchmarks.results import Row, duration

_SECONDS = 0.3  # a size


def sweep_all(session: DeviceSession, run: DeviceRun) -> list[dict[str, Any]]:
    """Each op's sizes, and the seconds on the CPU and on the device, alone and with transfers.

    A device that is not here gets its bound and the launches that every call must make; where the
    run has another's columns, the device's seconds are from there.
    """
    theirs = None if run.other is None else {one["name"]: one for one in run.other.crossing}
    found = []
    for one in sweep.SERIES:
        if theirs is not None and one.name not in theirs:
            continue
        rows = [session.measure(sweep.sized(one, size), _SECONDS) for size in one.sizes]
        cpu = {n: t.seconds for n, row in zip(one.sizes, rows, strict=True) if (t := on_cpu(row))}
        if theirs is not None:
            that = theirs[one.name]
            pairs = zip(that["device"], that["with_transfers"], strict=True)
            there = dict(zip(that["sizes"], pairs, strict=True))
        else:
            device = dataclasses.replace(
                run.device, moved=session.moved, transfers=session.transfers
            )
            there = _there(one, rows, device, run.machine["precision"])
        found.append(_columns(one, cpu, there, run.beside.device.measured))
    return found


def _there(
    one: Series, rows: list[Row], device: Device, precision: str
) -> dict[int, tuple[float, float]]:
    """The device's seconds by size: alone, and with transfers."""
    found = {}
    for size, row in zip(one.sizes, rows, strict=True):
        alone = _alone(one, row, device, precision)
        moved = _transfers(one, size, row.label, device)
        if alone is not None and moved is not None:
            found[size] = (alone, alone + sum(moved))
    return found


def _columns(
    one: Series, cpu: dict[int, float], there: dict[int, tuple[float, float]], measured: bool
) -> dict[str, Any]:
    """A series as the file keeps it: the sizes that both sides have."""
    sizes = [n for n in one.sizes if n in cpu and n in there]
    columns = {
        "cpu": [cpu[n] for n in sizes],
        "device": [there[n][0] for n in sizes],
        "with_transfers": [there[n][1] for n in sizes],
    }
    return {
        "name": one.name,
        "unit": one.unit,
        "axis": one.axis,
        "sizes": sizes,
        **columns,
        "measured": measured,
        "pays_from": _from(sizes, columns, "with_transfers"),
        "pays_from_without_transfers": _from(sizes, columns, "device"),
    }


def _from(sizes: list[int], columns: dict[str, list[float]], what: str) -> float | None:
    """The crossing point of a column with the CPU's."""
    return sweep.crossing(sizes, columns["cpu"], columns[what]) if sizes else None


def _alone(one: Series, row: Row, device: Device, precision: str) -> float | None:
    """Seconds on the device without transfers."""
    if device.measured:
        ready = [t.seconds for t in row.ready(ours=True) if t.device != "CPU"]
        return min(ready, default=None)
    assert device.peaks is not None
    return cards.bound(work(row, precision), device.peaks) + one.launches * cards.LAUNCH_SECONDS


def _transfers(one: Series, size: int, label: str, device: Device) -> Moved | None:
    """Seconds of what a call moves: its share of what was measured, which has weights in it."""
    needed = sweep.bytes_of(one, size)
    if not device.measured:
        assert device.peaks is not None
        return Moved(*(cards.transfer(each, device.peaks) for each in needed))
    taken, all_of_it = device.transfers.get(label), device.moved.get(label)
    if taken is None or all_of_it is None:
        return None
    pairs = zip(taken, needed, all_of_it, strict=True)
    return Moved(*(seconds * part / max(whole, 1) for seconds, part, whole in pairs))


def show(run: DeviceRun, console: Console) -> None:
    """A line an op."""
    for one in run.crossing:
        how = "" if one["measured"] else f" ({NOT_MEASURED})"
        console.print(
            f"{one['name']}: the GPU {pays(one['pays_from'], one)}, transfers included; "
            f"where the data stay there it {pays(one['pays_from_without_transfers'], one)}{how}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def pays(size: float | None, one: dict[str, Any]) -> str:
    """The crossing point in words: of a bound, where it lies at the earliest."""
    if not one["sizes"]:
        return "has no size that both sides have"
    verb = "pays" if one["measured"] else "may pay"
    if size is None:
        return f"pays at no size up to {one['sizes'][-1]}"
    if size <= one["sizes"][0]:
        return f"{verb} from {one['sizes'][0]} {one['unit']} or fewer"
    return f"{verb} from some {float(f'{size:.2g}'):,.0f} {one['unit']}"


def write_plot(path: Path, run: DeviceRun) -> None:
    """Draws a panel an op; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(15, 8.5))
    flat = list(panels.flat)
    for axes, one in zip(flat, run.crossing, strict=False):
        _panel(axes, one)
    for axes in flat[len(run.crossing) :]:
        axes.set_axis_off()
    handles, labels = flat[0].get_legend_handles_labels()
    rest = flat[len(run.crossing)]
    rest.legend(handles, labels, loc="upper left", frameon=False, fontsize=10)
    rest.text(0.02, 0.45, note(run), fontsize=9, va="top", transform=rest.transAxes, wrap=True)
    figure.suptitle("From which size the GPU pays", fontsize=13)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def note(run: DeviceRun) -> str:
    """What the picture's device is."""
    device = run.beside.device
    if device.measured:
        return f"{device.card}, measured: events, and transfers from ordinary memory."
    assert device.peaks is not None
    text = (
        f"{device.card}: {NOT_MEASURED}: {device.why}. Published peaks: "
        f"{device.peaks.bandwidth / 1e9:.4g} GB/s of memory, {device.peaks.pcie / 1e9:.3g} GB/s to "
        f"and from the host. A launch is taken to cost {duration(cards.LAUNCH_SECONDS)}, which no "
        "datasheet says."
    )
    return textwrap.fill(text, 58)


def _panel(axes: Any, one: dict[str, Any]) -> None:
    axes.set_title(f"{one['name']}: {pays(one['pays_from'], one)}", fontsize=9.5)
    if not one["sizes"]:
        axes.set_axis_off()
        return
    how = "" if one["measured"] else f", {NOT_MEASURED}"
    axes.plot(one["sizes"], one["cpu"], "o-", color="C0", label="CPU, measured")
    style = "s-" if one["measured"] else "s--"
    axes.plot(
        one["sizes"], one["with_transfers"], style, color="C1", label=f"GPU with transfers{how}"
    )
    axes.plot(
        one["sizes"], one["device"], style, color="C2", alpha=0.7, label=f"GPU, data there{how}"
    )
    if one["pays_from"] is not None:
        axes.axvline(one["pays_from"], color="C1", linewidth=1, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda y, _: duration(y))
    axes.grid(which="major", linewidth=0.4)
    axes.set_xlabel(one["axis"])
    axes.spines[["top", "right"]].set_visible(False)


def measured_anew(args: argparse.Namespace, kinds: list[str], run: DeviceRun) -> None:
    """Runs the sweep in a session of its own, and keeps it in the run."""
    with DeviceSession(kinds, args.threads, args.isa, args.precision) as session:
        run.crossing = sweep_all(session, run)
