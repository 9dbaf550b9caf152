"""Rosenblatt's perceptron on measurements of tumours: malignant or benign, without gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tilework.autograd import no_grad
from tilework.metrics import Accuracy
from tilework.models.perceptron import Perceptron
from tilework.tensor import Tensor
from tilework.train import Supervised, Trainer
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _tables


def _sides(labels: Any) -> Any:
    """Of the plane: 1 for class 1, -1 for class 0."""
    return 2.0 * labels.float() - 1.0


def loss(F: Any, scores: Any, labels: Any) -> Any:
    """How far on the wrong side points lie, summed: its gradient's step is Rosenblatt's."""
    return F.relu(-_sides(labels) * scores).sum()


class Rosenblatt(Supervised):
    """Rosenblatt's rule (1958): of each point that lies on the wrong side, the point itself, times
    the learning rate, is added to the plane's normal or taken from it."""

    def optimise(self, batch: Any, trainer: Trainer) -> Mapping[str, Tensor | float]:
        (x, labels), plane = self.split(batch), cast(Perceptron, self.model).plane
        (optimizer,) = trainer.optimizers.values()
        rate = optimizer.param_groups[0]["lr"]
        with no_grad():
            scores = self.forward(x)
            sides = _sides(labels)
            missed = rate * sides * (sides * scores <= 0).float()
            for parameter, away in zip(plane.parameters(), (missed @ x, missed.sum()), strict=True):
                parameter.add_(away)
            return {"loss": self.loss(scores, labels)}


RECIPE = Recipe(
    title="Rosenblatt's perceptron: malignant or benign",
    file="perceptron",
    data="breast-cancer",
    network=lambda file, table: file.Perceptron(len(table.columns)),
    batches=_tables.batches,
    few=_tables.few,
    optimisation=Optimisation(kind="sgd", lr=0.01, momentum=0.0),
    batch_size=1,
    epochs=20,
    loss=loss,
    task=Rosenblatt,
    metrics=lambda: [Accuracy()],
    goal=0.93,
    baseline=_tables.majority,
    parameters=30 + 1,
)
