"""Whether the machine was quiet enough for its times to mean anything.

What is looked at: a loop of fixed work at the start and at the end, the time that the hypervisor
gave to other machines, the CPUs' time that went to other processes, the load average, and how far
the rounds of one contestant lie apart.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tilework.benchmarks.results import Row

# Above these a difference of 10 % may be the machine's alone.
_CALIBRATION = 0.10  # the loop's speed at the end over that at the start, and its quartiles
_STOLEN = 0.02  # of the CPUs' time
_OTHERS = 0.10  # of the CPUs' time
_CROWD = 0.5  # load average beyond our threads, of the CPUs
_SPREAD = 0.10  # a case's quartiles over its median, in the median of all

_LOOPS = 60


class Cpus(NamedTuple):
    """Seconds of all CPUs together, so far."""

    busy: float  # with processes
    stolen: float  # by the hypervisor, for other machines
    total: float


@dataclass
class Reading:
    """The machine at one moment; None where the system does not tell."""

    loop: tuple[float, float, float]  # seconds of the fixed work: quartiles and median
    load: float | None
    cpus: Cpus | None
    own: float  # CPU seconds of this process and of those it has waited for


def read(stat: Path = Path("/proc/stat")) -> Reading:
    """Takes a quarter of a second."""
    cpus = _cpus(stat)
    try:
        load = os.getloadavg()[0]
    except OSError:
        load = None
    low, middle, high = statistics.quantiles([_fixed_work() for _ in range(_LOOPS)], n=4)
    return Reading((low, middle, high), load, cpus, sum(os.times()[:4]))


def _fixed_work() -> float:
    """Seconds that a loop takes, which no memory and no library slows."""
    start = time.perf_counter()
    x = 1
    for _ in range(40_000):
        x = x * 5 % 65537
    return time.perf_counter() - start


def _cpus(stat: Path) -> Cpus | None:
    """From Linux's counters."""
    try:
        words = stat.read_text().split("\n", 1)[0].split()
        user, nice, system, idle, wait, irq, soft, steal = map(int, words[1:9])
    except (OSError, ValueError):
        return None
    tick = 1.0 / os.sysconf("SC_CLK_TCK")
    busy = user + nice + system + irq + soft
    return Cpus(busy * tick, steal * tick, (busy + idle + wait + steal) * tick)


def verdict(
    before: Reading, after: Reading, rows: Iterable[Row], threads: int, cpus: int
) -> dict[str, Any]:
    """The figures, "reasons" for not trusting the run (none: the machine was quiet), and "text"."""
    figures: dict[str, float] = {}
    reasons = []

    def judge(name: str, value: float, most: float, reason: str) -> None:
        figures[name] = value
        if value > most:
            reasons.append(reason)

    drift = after.loop[1] / before.loop[1]
    away = abs(drift - 1.0)
    judge("calibration", away, _CALIBRATION, f"a fixed loop took {drift:.2f}x as long at the end")
    apart = max((r.loop[2] - r.loop[0]) / r.loop[1] for r in (before, after))
    judge("loop", apart, _CALIBRATION, f"the rounds of a fixed loop lie {apart:.0%} apart")
    if before.cpus is not None and after.cpus is not None:
        busy, stolen, total = (b - a for a, b in zip(before.cpus, after.cpus, strict=True))
        stolen /= max(total, 1e-9)
        others = max(busy - (after.own - before.own), 0.0) / max(total, 1e-9)
        judge("stolen", stolen, _STOLEN, f"other machines took {stolen:.0%} of the CPUs' time")
        judge("others", others, _OTHERS, f"other processes took {others:.0%} of the CPUs' time")
    if after.load is not None:
        crowd = max(after.load - threads, 0.0) / cpus
        judge("crowd", crowd, _CROWD, f"a load average of {after.load:.1f} on {cpus} CPU(s)")
    spreads = [
        (t.high - t.low) / t.seconds for row in rows for t in row.times if t.state == "ready"
    ]
    if spreads:
        spread = statistics.median(spreads)
        judge("spread", spread, _SPREAD, f"the rounds of a case lie {spread:.0%} apart")
    said = "; ".join(reasons) if reasons else ", ".join(f"{k} {v:.1%}" for k, v in figures.items())
    text = f"TOO NOISY TO TRUST: {said}" if reasons else f"The machine was quiet ({said})"
    return {"reasons": reasons, "text": text, **figures}
