"""What a task's models give, without training them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tilework import functional as F
from tilework.autograd import no_grad
from tilework.data import DataLoader, TensorDataset
from tilework.errors import error
from tilework.metrics.metric import Mean
from tilework.nn.modes import evaluating
from tilework.tensor import Tensor
from tilework.train.task import Task

_PREDICTED_AT_ONCE = 256


def evaluate(task: Task, batches: Iterable[Any]) -> dict[str, Any]:
    """Means over the samples of what validation_step gives, and the task's metrics."""
    means: dict[str, Mean] = {}
    for metric in task.metrics.values():
        metric.reset()
    with evaluating(task), no_grad():
        for batch in batches:
            samples = _samples(batch)
            for name, value in task.validation_step(task.place(batch)).items():
                means.setdefault(name, Mean()).add(number(value) * samples, samples)
    found: dict[str, Any] = {name: mean.value() for name, mean in means.items()}
    return found | {name: metric.compute() for name, metric in task.metrics.items()}


def predict(task: Task, batches: Any) -> Any:
    """What predict_step gives for all batches, joined along the first axis; `batches` may be one
    tensor or array of inputs."""
    if isinstance(batches, (Tensor, np.ndarray)):
        rows = TensorDataset(batches)
        batches = ([x] for (x,) in DataLoader(rows, _PREDICTED_AT_ONCE))
    with evaluating(task), no_grad():
        return _joined([task.predict_step(task.place(batch)) for batch in batches])


def number(value: Tensor | float) -> float:
    """A recorded value as a number."""
    return float(value.item() if isinstance(value, Tensor) else value)


def _samples(batch: Any) -> int:
    """How many samples a batch has: the length of its first tensor."""
    while not isinstance(batch, (Tensor, np.ndarray)):
        if isinstance(batch, Mapping):
            batch = list(batch.values())
        if not isinstance(batch, (list, tuple)) or not batch:
            return 1
        batch = batch[0]
    return batch.shape[0] if batch.ndim else 1


def _joined(parts: list[Any]) -> Any:
    if not parts:
        raise error(ValueError, "Trainer.predict", "at least one batch", "none", "give samples")
    first = parts[0]
    if isinstance(first, Tensor):
        return F.cat(parts)
    if isinstance(first, Mapping):
        return {name: _joined([part[name] for part in parts]) for name in first}
    if isinstance(first, (list, tuple)):
        return type(first)(_joined(list(part)) for part in zip(*parts, strict=True))
    return parts
