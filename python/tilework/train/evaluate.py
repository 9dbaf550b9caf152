"""How good a classifier is on data that it has not seen."""

from __future__ import annotations

from tilework.autograd import no_grad
from tilework.data import DataLoader
from tilework.nn import Module


def accuracy(model: Module, loader: DataLoader) -> float:
    """The share of samples whose largest output is their label; the model's mode is left as it was.

    `loader` gives (input, labels) batches. 0 for no samples at all.
    """
    was_training = model.training
    model.eval()
    right = total = 0
    with no_grad():
        for inputs, labels in loader:
            right += int((model(inputs).argmax(1) == labels).sum().item())
            total += labels.shape[0]
    model.train(was_training)
    return right / max(1, total)
