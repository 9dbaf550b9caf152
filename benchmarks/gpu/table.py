"""CPU beside GPU, in the terminal: seconds everywhere, and how many times as fast the GPU is."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tilework.benchmarks.gpu.results import NOT_MEASURED, DeviceRun, on_cpu
from tilework.benchmarks.machine import heading
from tilework.benchmarks.report import cell
from tilework.benchmarks.results import Row, duration, geometric_mean


def show_table(run: DeviceRun, console: Console) -> None:
    """One line a case."""
    beside, measured = run.beside, run.beside.device.measured
    here = _names(run, run.rows, "CPU")
    there = _names(beside, beside.rows, "CUDA") if measured else []
    table = Table(title=title(run), caption=caption(run))
    table.add_column("case", no_wrap=True)
    for name in here:
        table.add_column(name, justify="right")
    if measured:
        for name in there:
            table.add_column(name, justify="right")
        table.add_column("of bound", justify="right")
    else:
        table.add_column(f"{beside.device.card}: {NOT_MEASURED}", justify="right")
    for name in ("to device", "to host", "CPU / GPU", "with transfers"):
        table.add_column(name, justify="right")
    for row in run.rows:
        table.add_row(
            escape(row.label),
            *(cell(row.named(name)) for name in here),
            *(_device_cells(run, row, there)),
            *transfer_cells(run, row),
            *gain_cells(run, row),
        )
    console.print(table)


def _names(run: DeviceRun, rows: list[Row], device: str) -> list[str]:
    played = [
        t for row in rows for t in row.times if t.device == device and t.state != "absent"
    ]  # ours first
    return list(dict.fromkeys(t.name for t in sorted(played, key=lambda t: not t.ours)))


def _device_cells(run: DeviceRun, row: Row, names: list[str]) -> list[str]:
    beside = run.beside
    least = beside.device.bound(row, beside.machine["precision"])
    if not beside.device.measured:
        return ["" if least is None else f">= {duration(least)}"]
    played = {t.name: t for t in run.device_times(row) if t.state != "absent"}
    mine = run.fastest_on_device(row)
    share = "" if least is None or mine is None else f"{least / mine.seconds:.0%}"
    return [*(cell(played.get(name)) for name in names), share]


def transfer_cells(run: DeviceRun, row: Row) -> list[str]:
    """The inputs' way to the device, and the answer's back."""
    moved = run.beside.device.transfer(row.label)
    if moved is None:
        return ["", ""]
    sign = "" if run.beside.device.measured else ">= "
    return [f"{sign}{duration(seconds) if seconds >= 1e-9 else '0 us'}" for seconds in moved]


def gains(run: DeviceRun, row: Row) -> tuple[float | None, float | None]:
    """How many times as fast as our fastest on the CPU the device is, alone and with transfers."""
    cpu, seconds = on_cpu(row), run.device_seconds(row)
    if cpu is None or seconds is None:
        return None, None
    moved = run.beside.device.transfer(row.label)
    alone = cpu.seconds / seconds if seconds else None
    return alone, None if moved is None else cpu.seconds / (seconds + sum(moved))


def gain_cells(run: DeviceRun, row: Row) -> list[str]:
    sign = "" if run.beside.device.measured else "<= "
    return ["" if gain is None else f"{sign}{times(gain)}" for gain in gains(run, row)]


def times(ratio: float) -> str:
    """A ratio in three digits: 7.94x, 1,640x."""
    short = f"{ratio:.3g}"
    return f"{float(short):,.0f}x" if ratio >= 100.0 else f"{short}x"


def title(run: DeviceRun) -> str:
    """Both machines in a line."""
    beside = run.beside
    of = f" (measured {beside.when})" if run.other is not None else ""
    return f"{heading(run.machine)}, beside {beside.device.card}{of}"


def caption(run: DeviceRun) -> str:
    """What the device's column is."""
    device = run.beside.device
    if device.measured:
        return (
            "Medians. The device's times are by its own events, without transfers, which stand "
            "apart: from the host's ordinary memory and back. CPU / GPU: our fastest on each."
        )
    assert device.peaks is not None
    return (
        f"{NOT_MEASURED}: {device.why}. What {device.peaks.name}'s published peaks leave at best, "
        f"no launch counted ({device.peaks.source})."
    )


def show_summary(run: DeviceRun, left_out: int, console: Console) -> None:
    """What went wrong, the card, and the whole in a line."""

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    for row in run.rows:
        for one in [*row.times, *(run.device_times(row) if run.other else ())]:
            if one.why:
                say(f"{row.label}, {one.name}, {one.state}: {one.why}")
    if left_out:
        say(f"{left_out} case(s) were left out: the time was up")
    for line in about(run):
        say(line)
    say(run.noise["text"], "bold red" if run.noise["reasons"] else "dim")
    say(headline(run), "bold")


def about(run: DeviceRun) -> list[str]:
    """The device, and how it ran."""
    device = run.beside.device
    if not device.measured:
        return [f"GPU: {NOT_MEASURED}: {device.why}"]
    return [f"GPU: {device.card}, {device.about.get('clocks', 'clocks unknown')}"]


def headline(run: DeviceRun) -> str:
    """The geometric means."""
    found = [gains(run, row) for row in run.rows]
    alone = [gain for gain, _ in found if gain is not None]
    with_them = [gain for _, gain in found if gain is not None]
    if not alone:
        return "no case has both a CPU's time and a GPU's"
    how = "" if run.beside.device.measured else f"at most ({NOT_MEASURED}) "
    text = f"GPU: {how}{times(geometric_mean(alone))} our CPU, the geometric mean of {len(alone)}"
    if with_them:
        text += f"; {times(geometric_mean(with_them))} with the transfers of {len(with_them)}"
    return text
