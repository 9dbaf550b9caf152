"""Pictures: a run's history."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tilework.errors import error

if TYPE_CHECKING:
    from tilework.train.history import History

_BESIDE = "val_"
_NOT_DRAWN = ("epoch", "lr")


def new_figure(op: str, width: float, height: float) -> Any:
    """An empty figure of so many inches. ImportError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as reason:
        raise error(
            ImportError, op, "matplotlib", "none installed", "pip install matplotlib"
        ) from reason
    return Figure(figsize=(width, height), layout="constrained")


def draw_history(history: History, path: str | os.PathLike[str]) -> None:
    """A panel for each figure, training's and validation's in one, over the epochs."""
    names = [name for name in history.names() if name not in _NOT_DRAWN]
    panels = list(dict.fromkeys(name.removeprefix(_BESIDE) for name in names))
    if not panels:
        raise error(ValueError, "History.plot", "an epoch to draw", "none", "train first")
    figure = new_figure("History.plot", 4.2 * len(panels), 3.2)
    grid = figure.subplots(1, len(panels), squeeze=False)
    for axes, panel in zip(grid[0], panels, strict=True):
        for name, label in ((panel, "training"), (_BESIDE + panel, "validation")):
            if name in names:
                axes.plot(history["epoch"], history[name], ".-", label=label)
        axes.set_title(panel.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(linewidth=0.4)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
