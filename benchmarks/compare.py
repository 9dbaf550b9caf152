"""`tilework bench --compare`: two runs, case by case, and what of it is more than noise.

A machine is never twice as fast as it was, so the peers, which did not change, are the control: by
how much their times moved as a whole is taken out of ours, and a case has changed only where it
moved further than nineteen of twenty of theirs, and further than the quartiles of both runs allow.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tilework.benchmarks.machine import changed_libraries, differences
from tilework.benchmarks.results import Row, Run, Times, duration, geometric_mean

SLOWER = 3  # the exit status where a case got slower beyond noise

# Where no peer is in both runs: what a quiet machine's speed drifts by.
_DRIFT = 0.05
_CONTROLS = 10  # fewer tell nothing of a twentieth


@dataclass
class Change:
    """One case of both runs, the best of ours in each: above 1 it is faster now.

    `low` and `high` bound the ratio by the quartiles of both. All three are as measured; `verdict`
    is of what is left once the machine's own change is taken out.
    """

    label: str
    old: Times
    new: Times
    ratio: float
    low: float
    high: float
    verdict: Literal["faster", "slower", "noise"] = "noise"


@dataclass
class Comparison:
    """`drift` is the peers' ratio, in the median, `noise` how far theirs lie from it."""

    changes: list[Change]
    drift: float
    noise: float
    controls: int
    gone: list[str]  # labels of the old run alone
    fresh: list[str]  # and of the new one
    machines: list[str]  # what differs: nothing is judged then
    libraries: list[str]
    noisy: bool  # one of the runs: then what is judged is no reason to fail

    @property
    def ratio(self) -> float:
        """The geometric mean, as measured."""
        return geometric_mean(c.ratio for c in self.changes)

    def having(self, verdict: str) -> list[Change]:
        return [c for c in self.changes if c.verdict == verdict]

    @property
    def status(self) -> int:
        """The exit status."""
        return SLOWER if self.having("slower") and not self.noisy else 0


def compare(old: Run, new: Run) -> Comparison:
    """Holds a run against an earlier one."""
    before = {row.label: row for row in old.rows}
    after = {row.label: row for row in new.rows}
    both = [(before[label], row) for label, row in after.items() if label in before]
    machines = differences(old.machine, new.machine)
    libraries = changed_libraries(old.machine, new.machine)
    control = [] if libraries else _control(both)
    drift = statistics.median(control) if control else 0.0
    away = sorted(abs(c - drift) for c in control)
    enough = len(away) >= _CONTROLS
    noise = away[math.ceil(0.95 * len(away)) - 1] if enough else math.log1p(_DRIFT)
    changes = []
    for a, b in both:
        mine, now = a.best(ours=True), b.best(ours=True)
        if mine is not None and now is not None:
            change = Change(
                b.label, mine, now, mine.seconds / now.seconds, mine.low / now.high,
                mine.high / now.low,
            )  # fmt: skip
            if not machines:
                change.verdict = _verdict(change, drift, noise)
            changes.append(change)
    gone, fresh = [x for x in before if x not in after], [x for x in after if x not in before]
    noisy = bool(old.noise["reasons"] or new.noise["reasons"])
    return Comparison(
        changes, math.exp(drift), math.expm1(noise), len(control), gone, fresh, machines,
        libraries, noisy,
    )  # fmt: skip


def _control(both: list[tuple[Row, Row]]) -> list[float]:
    """The logarithm of old over new for each peer at each case of both runs."""
    found = []
    for old, new in both:
        now = {t.name: t for t in new.ready(ours=False)}
        found += [
            math.log(t.seconds / now[t.name].seconds)
            for t in old.ready(ours=False)
            if t.name in now
        ]
    return found


def _verdict(change: Change, drift: float, noise: float) -> Literal["faster", "slower", "noise"]:
    moved = math.log(change.ratio) - drift
    if abs(moved) > noise:
        if math.log(change.low) - drift > 0.0:
            return "faster"
        if math.log(change.high) - drift < 0.0:
            return "slower"
    return "noise"


_STYLES = {"noise": "dim", "slower": "bold red", "faster": "green"}


def show(found: Comparison, old: Run, new: Run, console: Console) -> None:
    """The table, the geometric mean, and what got slower."""
    table = Table(
        title="Old over new: above 1 tilework is faster now",
        caption="In brackets from quartile to quartile of both runs; dimmed: within noise.",
    )
    table.add_column("case")
    for name in ("old", "new", "old/new", "", "peers"):
        table.add_column(name, justify="right", no_wrap=True)
    before = {row.label: row for row in old.rows}
    for change, row in _with_rows(found, new):
        style = _STYLES[change.verdict]
        table.add_row(
            escape(change.label),
            duration(change.old.seconds),
            duration(change.new.seconds),
            f"{change.ratio:.2f}x",
            f"[{change.low:.2f}, {change.high:.2f}]".replace("[", r"\["),
            _peers(before[row.label], row),
            style=style,
        )
    console.print(table)
    for line in lines(found, old, new):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _with_rows(found: Comparison, new: Run) -> list[tuple[Change, Row]]:
    rows = {row.label: row for row in new.rows}
    return [(change, rows[change.label]) for change in found.changes]


def _peers(old: Row, new: Row) -> str:
    control = _control([(old, new)])
    return f"{math.exp(statistics.fmean(control)):.2f}x" if control else ""


def lines(found: Comparison, old: Run, new: Run) -> list[str]:
    """What the table comes to."""
    said = [f"{found.ratio:.3f}x: the geometric mean of {len(found.changes)} cases"]
    if found.controls:
        said[0] += f"; the peers, in the median of {found.controls}, {found.drift:.3f}x"
    for name, run in (("old", old), ("new", new)):
        if run.noise["reasons"]:
            said.append(f"The {name} run was too noisy: {'; '.join(run.noise['reasons'])}")
    if found.libraries:
        changed = ", ".join(found.libraries)
        said.append(f"The peers are no control: other versions of {changed}")
    if found.gone or found.fresh:
        said.append(f"In one run alone: {_some(found.gone)} (old); {_some(found.fresh)} (new)")
    if found.machines:
        said.append(f"Two machines, so nothing is judged: {'; '.join(found.machines)}")
        return said
    how = "the peers' own" if found.controls >= _CONTROLS else "what machines drift by"
    said.append(f"Noise: {found.noise:.1%} ({how}), and the quartiles of both runs")
    for verdict in ("faster", "slower"):
        changes = sorted(found.having(verdict), key=lambda c: c.ratio)
        each = ", ".join(f"{c.label} ({c.ratio:.2f}x)" for c in changes)
        said.append(f"{verdict.capitalize()} beyond noise: {each or 'none'}")
    return said


def _some(labels: list[str]) -> str:
    shown = ", ".join(labels[:3])
    return f"{shown} and {len(labels) - 3} more" if len(labels) > 3 else shown or "none"
