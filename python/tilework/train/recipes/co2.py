"""Carbon dioxide above Mauna Loa: an LSTM reads eight years, one a step, and forecasts another."""

from __future__ import annotations

from typing import Any

from tilework.data import Series
from tilework.train.recipes import _series

_PAST, _AHEAD, _HIDDEN = 96, 12, 32


def network(file: Any, series: Series) -> Any:
    scale = _series.spread(series, _PAST, _AHEAD)
    return file.LSTMForecaster(_AHEAD, _HIDDEN, series.season, scale)


RECIPE = _series.forecaster(
    _PAST,
    _AHEAD,
    title="LSTM on carbon dioxide: twelve months ahead",
    data="co2",
    network=network,
    epochs=100,
    goal=0.54,
    baseline=_series.best_of(
        _PAST, _AHEAD, naive=_series.naive, seasonal=_series.seasonal, drift=_series.drift
    ),
    parameters=4 * _HIDDEN * (12 + _HIDDEN + 2) + _AHEAD * (_HIDDEN + 1),
)
