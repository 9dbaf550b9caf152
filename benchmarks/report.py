"""What a run says in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tilework.benchmarks.machine import gpu, heading
from tilework.benchmarks.results import Roof, Row, Run, Times, duration, headline, names, rate


def show_table(run: Run, console: Console) -> None:
    """One line a case: our times and best rate, then how many times as long each peer takes."""
    rows = run.rows
    peers, engines = names(rows, ours=False), names(rows, ours=True)
    devices = len({t.device for row in rows for t in row.times}) > 1
    table = Table(
        title=heading(run.machine),
        caption="A peer's column: its time over our best, so above 1 tilework is faster. "
        "Medians, taken in turns.",
    )
    table.add_column("case", no_wrap=True)
    if devices:
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
            escape(row.label),
            *([row.times[0].device if row.times else ""] if devices else []),
            *(cell(row.named(engine)) for engine in engines),
            *rates(row, mine, run.machine["roof"]),
            *(ratio(mine, row.named(peer)) for peer in peers),
            ratio(mine, row.best(ours=False)),
        )
    console.print(table)


def show_summary(run: Run, left_out: int, console: Console) -> None:
    """What went wrong, the headline, and whether it may be trusted."""

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    say(f"GPU: {gpu(run.machine)}")
    for row in run.rows:
        for times in row.times:
            if times.why:
                say(f"{row.label}, {times.name}, {times.state}: {times.why}")
    if left_out:
        say(f"{left_out} case(s) were left out: the time was up")
    say(run.noise["text"], "bold red" if run.noise["reasons"] else "dim")
    say(f"tilework: {headline(run.rows)}", "bold")


def cell(times: Times | None) -> str:
    """A time, or what became of it; blank for who had nothing to do."""
    if times is None:
        return ""
    return duration(times.seconds) if times.state == "ready" else times.state.upper()


def rates(row: Row, times: Times | None, roof: Roof) -> tuple[str, str]:
    """The rate of a time, and its share of the roof."""
    if times is None or times.state != "ready":
        return "", ""
    value, unit, share = rate(row, times, roof)
    return f"{value:.3g} {unit}", "" if share is None else f"{share:.0%}"


def ratio(mine: Times | None, peer: Times | None) -> str:
    """A peer's time over ours, or what became of it."""
    if mine is None or peer is None:
        return ""
    return f"{peer.seconds / mine.seconds:.2f}x" if peer.state == "ready" else peer.state
