"""Tasks: what a Trainer does with a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tilework.engines import device as beside
from tilework.errors import error
from tilework.metrics import Metric, named
from tilework.nested import mapped
from tilework.nn import Module
from tilework.tensor import Tensor

if TYPE_CHECKING:
    from tilework.train.trainer import Trainer

Losses = Tensor | Mapping[str, Tensor]


class Task(Module):
    """One or several models, and one step with them. A subclass says:

    - `training_step(batch)`: the loss, or losses by name. Where one of them is called "loss" it is
      what is minimised, and the others are for the record; else their sum is.
    - `validation_step(batch)`: means over the batch by name; it may update `metrics` too, a dict of
      metrics by name, which the Trainer resets before a pass and computes after it.
    - `predict_step(batch)`: what Trainer.predict gathers.

    A task with several optimisers overrides `optimise`. `kept` is for the numbers and tensors that
    it must remember from one batch to the next: a checkpoint holds them.

    >>> class Mean(Task):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.guess = nn.Parameter(tw.zeros(()))
    ...     def training_step(self, batch):
    ...         return ((batch - self.guess) ** 2).mean()
    >>> task = Mean()
    >>> optimizer = tw.optim.SGD(task.parameters(), lr=0.5)
    >>> Trainer(task, optimizer).fit([tw.tensor([1.0, 3.0])], epochs=1)["loss"]
    [5.0]
    >>> task.guess.item()
    2.0
    """

    metrics: dict[str, Metric]
    kept: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.metrics = {}
        self.kept = {}

    def training_step(self, batch: Any) -> Losses:
        raise self._lacks("training_step")

    def validation_step(self, batch: Any) -> Mapping[str, Tensor | float]:
        raise self._lacks("validation_step")

    def predict_step(self, batch: Any) -> Any:
        raise self._lacks("predict_step")

    def place(self, batch: Any) -> Any:
        """The batch where the task's parameters live: on a device, a copy of its tensors there."""
        if beside.provider is None:
            return batch
        first = next(self.parameters(), None)
        if first is None or first.is_cpu:
            return batch
        return mapped(lambda x: x.to(first.device, non_blocking=True), batch)

    def optimise(self, batch: Any, trainer: Trainer) -> Mapping[str, Tensor | float]:
        """One batch's losses, their gradients, and a step where one is due; gives what is recorded.

        An override with several optimisers finds them in `trainer.optimizers`, calls backward as
        often as it likes, and steps by itself, as a loop of its own would.
        """
        losses = self.training_step(batch)
        if isinstance(losses, Tensor):
            losses = {"loss": losses}
        if not isinstance(losses, Mapping) or not losses:
            raise error(
                ValueError if isinstance(losses, Mapping) else TypeError, type(self).__name__,
                "a loss from training_step, a tensor or a dict of them",
                "an empty dict" if isinstance(losses, Mapping) else type(losses).__name__,
                "return one that the parameters lead to",
            )  # fmt: skip
        total = losses["loss"] if "loss" in losses else sum(losses.values())
        if not isinstance(total, Tensor):
            raise error(
                TypeError, type(self).__name__, "a loss that is a tensor", type(total).__name__,
                "compute it from the model's output",
            )  # fmt: skip
        trainer.backward(total)
        return {"loss": total, **losses}

    def _lacks(self, name: str) -> NotImplementedError:
        return error(
            NotImplementedError, type(self).__name__, f"{name}(batch)", "a task without one",
            "define it",
        )  # fmt: skip


class Supervised(Task):
    """A model that learns from inputs and targets: the loss of model(inputs) and the target.

    Args:
        model: Takes the batch's inputs.
        loss: From (output, target) to a scalar, a mean over the batch.
        metrics: Metrics, or a dict of them by name, over validation data.
        target: The target's key, where batches are dicts.

    A batch is (input, target), (inputs..., target), or a dict, whose other entries are given to the
    model by name. A batch that is one tensor, alone or in a list, is its own target (an
    autoencoder's).

    >>> model = nn.Linear(3, 2)
    >>> task = Supervised(model, F.cross_entropy, [metrics.Accuracy()])
    >>> batch = [tw.ones(4, 3), tw.zeros(4, dtype=tw.int64)]
    >>> sorted(task.validation_step(batch)), sorted(task.metrics)
    (['loss'], ['accuracy'])
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[[Any, Any], Tensor],
        metrics: Sequence[Metric] | Mapping[str, Metric] = (),
        *,
        target: str = "target",
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.metrics = named(metrics)
        self.target = target

    def training_step(self, batch: Any) -> Losses:
        inputs, target = self.split(batch)
        return self.loss(self.forward(inputs), target)

    def validation_step(self, batch: Any) -> Mapping[str, Tensor | float]:
        inputs, target = self.split(batch)
        output = self.forward(inputs)
        for metric in self.metrics.values():
            metric.update(output, target)
        return {"loss": self.loss(output, target)}

    def predict_step(self, batch: Any) -> Any:
        return self.forward(self.split(batch, needs_target=False)[0])

    def forward(self, inputs: Any) -> Any:
        """The model's output; a dict of inputs goes by name, a list or tuple of them in order."""
        if isinstance(inputs, Mapping):
            return self.model(**inputs)
        if isinstance(inputs, (tuple, list)):
            return self.model(*inputs)
        return self.model(inputs)

    def split(self, batch: Any, needs_target: bool = True) -> tuple[Any, Any]:
        """A batch's inputs and its target, which a batch to predict from may lack."""
        if isinstance(batch, Tensor):
            return batch, batch
        if isinstance(batch, Mapping):
            if needs_target and self.target not in batch:
                raise error(
                    KeyError, "Supervised", f"a batch with {self.target!r}",
                    f"one with {', '.join(map(repr, batch))}", "pass target=KEY",
                )  # fmt: skip
            inputs = {name: value for name, value in batch.items() if name != self.target}
            return inputs, batch.get(self.target)
        if isinstance(batch, (tuple, list)) and batch:
            if len(batch) == 1:  # a dataset's of one tensor
                return batch[0], batch[0] if needs_target else None
            return (batch[0] if len(batch) == 2 else tuple(batch[:-1])), batch[-1]
        raise error(
            TypeError, "Supervised", "a batch (input, target), a dict, or a tensor",
            type(batch).__name__ if not isinstance(batch, (tuple, list)) else f"{len(batch)} parts",
            "give the loader a dataset of pairs, or write a Task",
        )  # fmt: skip
