"""Fitting models: a loop that can stop and go on, and the recipes of `tilework train`."""

from tilework.train.evaluate import accuracy
from tilework.train.fit import Interrupted, Position, fit

__all__ = ["Interrupted", "Position", "accuracy", "fit"]
