"""Callbacks: all that a Trainer does besides training."""

from tilework.train.callbacks.average import WeightAverage
from tilework.train.callbacks.best import Checkpoint, EarlyStopping
from tilework.train.callbacks.callback import Callback
from tilework.train.callbacks.log import CSVLog, Plot
from tilework.train.callbacks.progress import ProgressBar
from tilework.train.callbacks.schedule import Schedule

__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Plot",
    "ProgressBar",
    "Schedule",
    "WeightAverage",
]
