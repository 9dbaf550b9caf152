"""Sunspots: an LSTM forecasts the next year from two cycles."""

from __future__ import annotations

from typing import Any

from tilework.data import Series
from tilework.metrics import MAE
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _series

_PAST, _AHEAD, _HIDDEN = 22, 1, 32


def network(file: Any, series: Series) -> Any:
    scale = _series.spread(series, _PAST, _AHEAD)
    return file.LSTMForecaster(_AHEAD, _HIDDEN, scale=scale)


RECIPE = Recipe(
    title="LSTM on sunspots: a year ahead",
    file="forecaster",
    data="sunspots",
    network=network,
    batches=_series.forecasts(_PAST, _AHEAD),
    few=_series.few(_PAST, _AHEAD),
    optimisation=Optimisation(kind="adam", lr=1e-2, one_cycle=True),
    batch_size=32,
    epochs=40,
    loss="mse_loss",
    metrics=lambda: [MAE()],
    goal=18.0,
    baseline=_series.best_of(_PAST, _AHEAD, naive=_series.naive, seasonal=_series.seasonal),
    parameters=4 * _HIDDEN * (1 + _HIDDEN + 2) + _AHEAD * (_HIDDEN + 1),
    picture=_series.picture(_PAST, _AHEAD),
)
