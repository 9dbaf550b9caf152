"""Sunspots: an LSTM forecasts the next year from two cycles."""

from __future__ import annotations

from typing import Any

from tilework.data import Series
from tilework.train.recipes import _series

_PAST, _AHEAD, _HIDDEN = 22, 1, 32


def network(file: Any, series: Series) -> Any:
    scale = _series.spread(series, _PAST, _AHEAD)
    return file.LSTMForecaster(_AHEAD, _HIDDEN, scale=scale)


RECIPE = _series.forecaster(
    _PAST,
    _AHEAD,
    title="LSTM on sunspots: a year ahead",
    data="sunspots",
    network=network,
    epochs=40,
    goal=18.0,
    baseline=_series.best_of(_PAST, _AHEAD, naive=_series.naive, seasonal=_series.seasonal),
    parameters=4 * _HIDDEN * (1 + _HIDDEN + 2) + _AHEAD * (_HIDDEN + 1),
)
