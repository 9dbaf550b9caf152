"""Rooflines: the rate of each kernel against its intensity, below what the machine allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilework.benchmarks.gpu import cards
from tilework.benchmarks.gpu.results import NOT_MEASURED, DeviceRun, on_cpu, work_of
from tilework.benchmarks.gpu.work import Work, work

# What a roof is called in the picture.
_UNITS = {
    "float64": "float64", "float32": "float32, CUDA cores", "tf32": "tf32, tensor cores",
    "bfloat16": "bfloat16, tensor cores", "float16": "float16, tensor cores",
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A case in the roofline: operations a byte, and operations a second (0 where it only moves:
    bytes a second tell of it)."""

    label: str
    family: str
    device: str
    measured: bool
    unit: str
    intensity: float
    rate: float  # attained, or the bound
    bytes_a_second: float
    roof: float | None  # at this intensity; None where no peaks are known


def points(run: DeviceRun) -> list[Point]:
    """Of each case one on the CPU and one on the device."""
    found = []
    for row in run.rows:
        cpu, seconds = on_cpu(row), run.device_seconds(row)
        if cpu is not None:
            on_this = work(row, run.machine["precision"])
            top = _cpu_roof(on_this, run.machine["roof"])
            found.append(_point(row.label, row.family, "CPU", True, on_this, cpu.seconds, top))
        if seconds:
            beside, on_that = run.beside.device, work_of(run, row)
            top = None if beside.peaks is None else cards.roof(on_that, beside.peaks)
            found.append(
                _point(row.label, row.family, beside.card, beside.measured, on_that, seconds, top)
            )
    return found


def _point(
    label: str, family: str, device: str, measured: bool, on: Work, seconds: float,
    top: float | None,
) -> Point:  # fmt: skip
    return Point(
        label, family, device, measured, on.unit, on.intensity, on.operations / seconds,
        on.bytes / seconds, top,
    )  # fmt: skip


def _cpu_roof(on: Work, roof: dict[str, float] | None) -> float | None:
    """Operations a second that the CPU's measured limits allow."""
    if roof is None or not on.bytes:
        return None
    return min(roof[on.plain], on.intensity * roof["bandwidth"])


def write_plot(path: Path, run: DeviceRun) -> None:
    """Draws CPU and device side by side; needs matplotlib. What only moves bytes is not drawn."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    every = [p for p in points(run) if p.intensity]
    here = [p for p in every if p.device == "CPU"]
    there = [p for p in every if p.device != "CPU"]
    figure, panels = plt.subplots(1, 2, figsize=(15, 6.4))
    device, limits = run.beside.device, run.machine["roof"]
    how = "measured" if device.measured else NOT_MEASURED
    _panel(panels[0], here, f"CPU: {run.machine['cpu']['model']}")
    _panel(panels[1], there, f"{device.card}: {how}")
    if limits is not None:
        _roofs(panels[0], {"float32, measured": limits["float32"]}, limits["bandwidth"], here)
    if device.peaks is not None:
        used = {p.unit for p in there} | {"float32"}
        flops = {_UNITS[unit]: peak for unit, peak in device.peaks.flops.items() if unit in used}
        _roofs(panels[1], flops, device.peaks.bandwidth, there)
    panels[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(axes: Any, found: list[Point], title: str) -> None:
    families = list(dict.fromkeys(p.family for p in found))
    for i, family in enumerate(families):
        own = [p for p in found if p.family == family]
        hollow = "none" if own and not own[0].measured else None
        axes.plot(
            [p.intensity for p in own], [p.rate / 1e9 for p in own], "osD^v<>ph*X"[i % 11],
            color=f"C{i % 10}", markerfacecolor=hollow, markersize=6, alpha=0.85, label=family,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(which="major", linewidth=0.4)
    axes.set_xlabel("operations a byte")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _roofs(axes: Any, flops: dict[str, float], bandwidth: float, found: list[Point]) -> None:
    """The slope of the memory, and a line for each unit."""
    low = min((p.intensity for p in found), default=0.1) / 2
    top = max(flops.values())
    ridge = top / bandwidth
    high = max([*(p.intensity for p in found), ridge]) * 2
    axes.plot([low, ridge], [low * bandwidth / 1e9, top / 1e9], color="black", linewidth=1)
    middle = (low * ridge) ** 0.5
    axes.annotate(
        f"{bandwidth / 1e9:.4g} GB/s", (middle, middle * bandwidth / 1e9), fontsize=8, ha="right",
        xytext=(-8, 6), textcoords="offset points",
    )  # fmt: skip
    levels: dict[float, list[str]] = {}
    for unit, peak in flops.items():
        levels.setdefault(peak, []).append(unit)
    for peak, names in levels.items():
        axes.plot([peak / bandwidth, high], [peak / 1e9] * 2, color="black", linewidth=1)
        axes.annotate(
            "; ".join(names), (high, peak / 1e9), fontsize=8, ha="right", xytext=(0, 4),
            textcoords="offset points",
        )  # fmt: skip
    lowest = min((p.rate for p in found if p.rate), default=top) / 1e9
    axes.set_ylim(min(lowest, low * bandwidth / 1e9) / 2, top / 1e9 * 3)
