"""Sunspots: a multilayer perceptron forecasts the next year from two cycles."""

from __future__ import annotations

import dataclasses
from typing import Any

from tilework.data import Series
from tilework.train.recipes import _series, sunspots_lstm

_PAST, _HIDDEN = 22, 16


def network(file: Any, series: Series) -> Any:
    return file.MLPForecaster(_PAST, 1, _HIDDEN, _series.spread(series, _PAST, 1))


RECIPE = dataclasses.replace(
    sunspots_lstm.RECIPE,
    title="multilayer perceptron on sunspots: a year ahead",
    network=network,
    parameters=_PAST * _HIDDEN + _HIDDEN + _HIDDEN + 1,
)
