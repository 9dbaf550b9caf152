"""The picture of a run: how many times as long the peers take, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tilework.benchmarks.report import heading
from tilework.benchmarks.session import Row


def write_plot(path: Path, rows: list[Row], about: dict[str, Any]) -> None:
    """Writes bars of every peer's time over ours to an image file; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [row for row in rows if row.ready(ours=True) and row.ready(ours=False)]
    peers = list(dict.fromkeys(t.name for row in rows for t in row.ready(ours=False)))
    height = 0.8 / max(1, len(peers))
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.2 * len(rows) * max(2, len(peers))))
    for j, peer in enumerate(peers):
        places, ratios = [], []
        for i, row in enumerate(rows):
            for times in row.ready(ours=False):
                if times.name == peer:
                    places.append(i + (j - (len(peers) - 1) / 2) * height)
                    ratios.append(times.seconds / row.ready(ours=True)[0].seconds)
        bars = axes.barh(places, ratios, height=height * 0.9, label=peer)
        axes.bar_label(bars, [f"{r:.2f}" for r in ratios], padding=3, fontsize=7)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}x")
    axes.margins(x=0.12)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("time over tilework's: right of the line, tilework is faster")
    axes.set_title(heading(about), fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
