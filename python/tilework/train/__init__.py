"""Training: a Trainer runs a Task over data, and callbacks do the rest."""

from tilework.train import callbacks
from tilework.train.history import History
from tilework.train.interrupts import Interrupted, Position
from tilework.train.task import Supervised, Task
from tilework.train.trainer import Trainer

__all__ = ["History", "Interrupted", "Position", "Supervised", "Task", "Trainer", "callbacks"]
