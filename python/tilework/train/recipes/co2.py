"""Carbon dioxide above Mauna Loa: an LSTM reads eight years, one a step, and forecasts another."""

from __future__ import annotations

from typing import Any

from tilework.data import Series
from tilework.metrics import MAE
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _series

_PAST, _AHEAD, _HIDDEN = 96, 12, 32


def network(file: Any, series: Series) -> Any:
    scale = _series.spread(series, _PAST, _AHEAD)
    return file.LSTMForecaster(_AHEAD, _HIDDEN, series.season, scale)


RECIPE = Recipe(
    title="LSTM on carbon dioxide: twelve months ahead",
    file="forecaster",
    data="co2",
    network=network,
    batches=_series.forecasts(_PAST, _AHEAD),
    few=_series.few(_PAST, _AHEAD),
    optimisation=Optimisation(kind="adam", lr=1e-2, one_cycle=True),
    batch_size=32,
    epochs=100,
    loss="mse_loss",
    metrics=lambda: [MAE()],
    goal=0.54,
    baseline=_series.best_of(
        _PAST, _AHEAD, naive=_series.naive, seasonal=_series.seasonal, drift=_series.drift
    ),
    parameters=4 * _HIDDEN * (12 + _HIDDEN + 2) + _AHEAD * (_HIDDEN + 1),
    picture=_series.picture(_PAST, _AHEAD),
)
