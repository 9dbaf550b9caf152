"""Optimisers: PyTorch's names, arguments and arithmetic, one engine call a step."""

from tilework.optim import lr_scheduler
from tilework.optim.adam import Adam, AdamW
from tilework.optim.optimizer import Optimizer
from tilework.optim.rules import Adadelta, Adagrad, Adamax, NAdam, RAdam, RMSprop
from tilework.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "lr_scheduler",
]
