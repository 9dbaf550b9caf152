"""What recipes that forecast a series share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.data import DataLoader, Series, TensorDataset
from tilework.metrics import MAE
from tilework.train.plot import new_figure
from tilework.train.recipe import Baseline, Batches, Optimisation, Outcome, Recipe

Forecast = Callable[[NDArray[Any], int, int], NDArray[Any]]  # of windows, steps ahead, the season


def forecasts(past: int, ahead: int) -> Callable[[Series, int], Batches]:
    """Batches of windows (N, past), and the values (N, ahead) that follow them."""

    def batches(series: Series, batch_size: int) -> Batches:
        train, held_out = (TensorDataset(*part) for part in series.windows(past, ahead))
        return Batches(DataLoader(train, batch_size, shuffle=True), DataLoader(held_out, 100))

    return batches


def few(past: int, ahead: int) -> Callable[[Series, int], Series]:
    """As many windows on either side of where judging begins."""
    return lambda series, count: series.part(past + ahead + count - 1, ahead + count - 1)


def spread(series: Series, past: int, ahead: int) -> float:
    """How far from its last value a window goes on, in the part that is learnt from."""
    before, after = series.windows(past, ahead)[0]
    return float((after - before[:, -1:]).std())


def naive(past: NDArray[Any], ahead: int, season: int) -> NDArray[Any]:
    """The last value, again and again.

    >>> naive(np.array([[1, 2, 3, 4]]), 3, 2)
    array([[4, 4, 4]])
    """
    return np.repeat(past[:, -1:], ahead, 1)


def seasonal(past: NDArray[Any], ahead: int, season: int) -> NDArray[Any]:
    """What was a season ago.

    >>> seasonal(np.array([[1, 2, 3, 4]]), 3, 2)
    array([[3, 4, 3]])
    """
    return past[:, np.arange(ahead) % season - season]


def drift(past: NDArray[Any], ahead: int, season: int) -> NDArray[Any]:
    """What was a season ago, and what the last value gained since then.

    >>> drift(np.array([[1, 2, 3, 5]]), 3, 2)
    array([[6, 8, 6]])
    """
    return np.asarray(seasonal(past, ahead, season) + past[:, -1:] - past[:, [-1 - season]])


def best_of(past: int, ahead: int, **ways: Forecast) -> Callable[[Series], Baseline]:
    """The best of these by its mean absolute error; the others' errors stand beside its name."""

    def baseline(series: Series) -> Baseline:
        before, truth = series.windows(past, ahead)[1]
        errors = {
            name: float(np.abs(way(before, ahead, series.season) - truth).mean())
            for name, way in ways.items()
        }
        best, *others = sorted(errors, key=lambda name: errors[name])
        beside = "".join(f"; {name} {errors[name]:.4g}" for name in others)
        return Baseline(best + beside, errors[best])

    return baseline


def picture(past: int, ahead: int) -> Callable[[Outcome, Series, Path], None]:
    """Draws the forecasts that were made, each from values before it alone, over what came; as many
    at a time as lie one behind the other."""

    def draw(outcome: Outcome, series: Series, path: Path) -> None:
        asked = series.windows(past, ahead)[1][0][::ahead]
        found = outcome.trainer.predict(asked).numpy().reshape(-1)
        times = series.times[series.held_out :]
        seen = slice(max(0, series.held_out - 2 * past), None)
        figure = new_figure("train", 9, 4.5)
        axes = figure.subplots()
        axes.plot(series.times[seen], series.values[seen], color="0.6", label="what came")
        axes.plot(times[: len(found)], found, color="C3", lw=1.2, marker=".", label="forecast")
        axes.axvline(times[0], color="0.8", lw=0.8)
        axes.set(xlabel="year", ylabel=series.unit, title=f"{series.name}: {ahead} ahead")
        axes.legend(frameon=False)
        figure.savefig(path, dpi=130)

    return draw


def forecaster(past: int, ahead: int, **own: Any) -> Recipe:
    """A recipe that forecasts so many values from so many, with what it says of itself."""
    return Recipe(
        file="forecaster",
        batches=forecasts(past, ahead),
        few=few(past, ahead),
        optimisation=Optimisation(kind="adam", lr=1e-2, one_cycle=True),
        batch_size=32,
        loss="mse_loss",
        metrics=lambda: [MAE()],
        picture=picture(past, ahead),
        **own,
    )
