"""What a run has shown, epoch by epoch."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tilework.errors import error
from tilework.io.files import replacing

Row = dict[str, float]


class History(Sequence[Row]):
    """A row of named figures for each epoch: "epoch", the losses, validation's with "val_" before
    their names, and "lr".

    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history["loss"], history[-1]["epoch"], len(history)
    ([0.5, 0.25], 2, 2)
    >>> history.best("loss")
    {'epoch': 2, 'loss': 0.25}
    """

    def __init__(self, rows: Sequence[Mapping[str, float]] = ()) -> None:
        self.rows = [dict(row) for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, key: Any) -> Any:
        """An epoch's row by its place, or a figure's values by its name; NaN in epochs without."""
        if not isinstance(key, str):
            return self.rows[key]
        if key not in self.names():
            raise error(
                KeyError, "History", f"one of {', '.join(self.names())}", repr(key), "name one"
            )
        return [row.get(key, float("nan")) for row in self.rows]

    def names(self) -> list[str]:
        """The figures, in the order in which they turned up."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def best(self, name: str, higher_is_better: bool = False) -> Row:
        """The first row whose figure is the lowest, or the highest. ValueError without a row."""
        values = [value if value == value else None for value in self[name]]
        known = [value for value in values if value is not None]
        if not known:
            raise error(ValueError, "History.best", f"an epoch with {name}", "none", "train first")
        return self.rows[values.index(max(known) if higher_is_better else min(known))]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes a table with a line for each epoch."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.names(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        with replacing(path, "History.to_csv") as file:
            file.write(text.getvalue().encode())

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws each figure over the epochs, validation's beside training's, by matplotlib.

        ImportError where that is not installed.
        """
        from tilework.train.plot import draw_history

        draw_history(self, path)
