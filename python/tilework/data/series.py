"""Series over time that packages ship, and the windows that forecasts are learnt from."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.data.sources import installed
from tilework.errors import error

_SUNSPOTS_JUDGED_FROM, _CO2_JUDGED_FROM = 1950, 1990


@dataclass(frozen=True)
class Series:
    """One number a step of time: those to learn from, and behind them those to judge by.

    Attributes:
        name: What it is called here.
        unit: What the values count.
        times: When, in years (T,), evenly spaced.
        values: How much, float32 (T,).
        season: After how many steps it comes round again.
        held_out: The first value that is judged by.
    """

    name: str
    unit: str
    times: NDArray[np.float64]
    values: NDArray[np.float32]
    season: int
    held_out: int

    def part(self, before: int, after: int) -> Series:
        """So many values on either side of where judging begins."""
        kept = slice(max(0, self.held_out - before), self.held_out + after)
        return Series(
            self.name, self.unit, self.times[kept], self.values[kept], self.season,
            self.held_out - kept.start,
        )  # fmt: skip

    def windows(
        self, past: int, ahead: int
    ) -> tuple[tuple[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]:
        """Windows (N, past) and what follows them (N, ahead): to learn from, and to judge by.

        What follows lies before `held_out`, or behind it. What is judged by may be forecast from
        values before: a forecaster knows them. ValueError where a part holds no window.
        """
        inside, behind = self.held_out - past - ahead + 1, len(self.values) - self.held_out
        if past < 1 or ahead < 1 or inside < 1 or behind < ahead or past > self.held_out:
            raise error(
                ValueError, "Series.windows", f"a window within the first {self.held_out} values "
                f"and what follows within the last {behind}", f"{past} and {ahead}", "take fewer",
            )  # fmt: skip
        both = windows(self.values, past, ahead)
        first = self.held_out - past
        return tuple(x[:inside] for x in both), tuple(x[first:] for x in both)  # type: ignore[return-value]


def windows(values: NDArray[Any], past: int, ahead: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """All runs of `past` values (N, past), and the `ahead` values that follow each (N, ahead).

    >>> before, after = data.windows(np.arange(5), 3, 1)
    >>> before.tolist(), after.tolist()
    ([[0, 1, 2], [1, 2, 3]], [[3], [4]])
    """
    both = np.lib.stride_tricks.sliding_window_view(values, past + ahead)
    return both[:, :past], both[:, past:]


def sunspots() -> Series:
    """Sunspots a year, 1700 to 2008: those from 1950 on are judged by.

    The yearly means of the National Geophysical Data Center, public domain, from the package
    statsmodels, which is looked up, not imported. FileNotFoundError where it is not installed.
    """
    rows = list(_rows("sunspots"))
    years = np.array([float(year) for year, _ in rows])
    values = np.array([float(value) for _, value in rows], np.float32)
    held_out = int(np.searchsorted(years, _SUNSPOTS_JUDGED_FROM))
    return Series("sunspots", "sunspots", years, values, 11, held_out)


def co2() -> Series:
    """Carbon dioxide in the air above Mauna Loa, parts per million by volume, the means of months
    from April 1958 to December 2001: those from 1990 on are judged by.

    Weekly values of Keeling and Whorf (2004), public domain, from the package statsmodels, which is
    looked up, not imported; a month without one lies on the line between its neighbours.
    FileNotFoundError where it is not installed.
    """
    months: dict[int, list[float]] = {}
    for date, value in _rows("co2"):
        if value:
            day = datetime.datetime.strptime(date, "%Y%m%d")
            months.setdefault(12 * day.year + day.month - 1, []).append(float(value))
    first, last = min(months) + 1, max(months)  # of the first month there is the end alone
    known = sorted(months)
    every = np.arange(first, last + 1)
    values = np.interp(every, known, [np.mean(months[month]) for month in known])
    return Series(
        "co2", "ppm", every / 12, values.astype(np.float32), 12, 12 * _CO2_JUDGED_FROM - first
    )


def _rows(name: str) -> Iterator[list[str]]:
    """The rows of a table of statsmodels."""
    path = installed(name, "statsmodels") / "datasets" / name / f"{name}.csv"
    with path.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        yield from rows
