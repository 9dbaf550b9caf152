"""The picture of a run's history."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tilework.errors import error

if TYPE_CHECKING:
    from tilework.train.history import History

_BESIDE = "val_"
_NOT_DRAWN = ("epoch", "lr")


def draw_history(history: History, path: str | os.PathLike[str]) -> None:
    """A panel for each figure, training's and validation's in one, over the epochs."""
    try:
        import matplotlib
    except ImportError as reason:
        raise error(
            ImportError, "History.plot", "matplotlib", "none installed", "pip install matplotlib"
        ) from reason
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    names = [name for name in history.names() if name not in _NOT_DRAWN]
    panels = list(dict.fromkeys(name.removeprefix(_BESIDE) for name in names))
    if not panels:
        raise error(ValueError, "History.plot", "an epoch to draw", "none", "train first")
    figure, grid = plt.subplots(
        1, len(panels), figsize=(4.2 * len(panels), 3.2), squeeze=False, layout="constrained"
    )
    for axes, panel in zip(grid[0], panels, strict=True):
        for name, label in ((panel, "training"), (_BESIDE + panel, "validation")):
            if name in names:
                axes.plot(history["epoch"], history[name], ".-", label=label)
        axes.set_title(panel.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(linewidth=0.4)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
