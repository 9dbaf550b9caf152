"""The picture of a run: how many times as long the peers take, case by case."""

from __future__ import annotations

import itertools
from pathlib import Path

from tilework.benchmarks.machine import heading
from tilework.benchmarks.results import Run


def write_plot(path: Path, run: Run) -> None:
    """Writes every peer's time over ours to an image file; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    bests = [
        (row, best) for row in run.rows if (best := row.best(ours=True)) and row.ready(ours=False)
    ]
    rows = [row for row, _ in bests]
    peers = list(dict.fromkeys(t.name for row in rows for t in row.ready(ours=False)))
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.28 * len(rows)))
    for peer, marker in zip(peers, itertools.cycle("os^Dv"), strict=False):
        points = [
            (times.seconds / mine.seconds, i)
            for i, (row, mine) in enumerate(bests)
            for times in row.ready(ours=False)
            if times.name == peer
        ]
        axes.plot(*zip(*points, strict=True), marker, markersize=6, alpha=0.85, label=peer)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.grid(axis="y", linewidth=0.4)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}x")
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("time over tilework's: right of the line, tilework is faster")
    axes.set_title(heading(run.machine), fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
