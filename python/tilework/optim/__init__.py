"""Optimisers: PyTorch's names, arguments and arithmetic, one engine call a step."""

from tilework.optim import lr_scheduler
from tilework.optim.adam import Adam, AdamW
from tilework.optim.optimizer import Optimizer
from tilework.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
