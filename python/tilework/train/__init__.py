"""Training: a Trainer runs a Task over data, and callbacks do the rest."""

from tilework.train import callbacks, recipes
from tilework.train.history import History
from tilework.train.interrupts import Interrupted, Position
from tilework.train.recipe import Recipe
from tilework.train.task import Supervised, Task
from tilework.train.trainer import Trainer

__all__ = [
    "History",
    "Interrupted",
    "Position",
    "Recipe",
    "Supervised",
    "Task",
    "Trainer",
    "callbacks",
    "recipes",
]
