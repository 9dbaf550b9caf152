"""Recipes: all of a training run that is fixed before it begins, and the run itself."""

from __future__ import annotations

import functools
import importlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tilework import functional, optim
from tilework.data import DataLoader
from tilework.devices import Device
from tilework.metrics import Metric
from tilework.nn import Module
from tilework.optim import Optimizer
from tilework.train.callbacks import Callback, Schedule
from tilework.train.interval import InParts
from tilework.train.task import Supervised
from tilework.train.trainer import Trainer

_WARM_UP = 0.25  # of a one-cycle schedule
_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}


Loss = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """An optimiser and its schedule, for either library.

    Attributes:
        kind: "adam", "adamw", or "sgd" with Nesterov momentum.
        lr: The learning rate; with `one_cycle` the highest.
        weight_decay: The optimiser's.
        momentum: Of "sgd".
        one_cycle: Whether the rate grows from nothing over the first quarter of the steps and falls
            to nothing along a cosine (Smith and Topin 2019), or stays.
    """

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float
    weight_decay: float = 0.0
    momentum: float = 0.9
    one_cycle: bool = False

    def optimizer(self, library: Any, parameters: Any) -> Any:
        """The optimiser, of tilework.optim or torch.optim."""
        options: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.kind == "sgd":
            options |= {"momentum": self.momentum, "nesterov": self.momentum > 0.0}
        return getattr(library, _OPTIMIZERS[self.kind])(parameters, **options)

    def rate(self, steps: int) -> Callable[[int], float]:
        """From a step, of so many, to what the learning rate is multiplied by."""
        if not self.one_cycle:
            return lambda step: 1.0
        rising = max(1, round(_WARM_UP * steps))

        def cycle(step: int) -> float:
            if step < rising:
                return (step + 1) / rising
            share = min(1.0, (step - rising) / max(1, steps - rising))
            return (1.0 + math.cos(math.pi * share)) / 2.0

        return cycle


@dataclass(frozen=True)
class Batches:
    """Loaders: of what is learnt from, and of what is judged by, which is read once, at the end.

    A batch is (inputs..., target). `metrics` stand in for the recipe's, of the same names, where
    they have to know the data: the bytes of a token, the unit of a scaled number.
    """

    train: DataLoader
    held_out: DataLoader
    metrics: Sequence[Metric] = ()


@dataclass(frozen=True)
class Baseline:
    """What a figure comes to without learning, and how: "the majority class"."""

    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A network, its data, and how it is trained and judged. Nothing in it changes.

    Attributes:
        title: One line: the network and its data.
        file: The network's file in tilework.models.
        data: The data's name in tilework.data.SOURCES.
        network: From that file's module, over either library, and the data to a model.
        batches: From the data and a number of samples a batch to loaders.
        few: From the data and a number to that many samples of both parts, for a quick run.
        optimisation, batch_size, epochs: How it is trained.
        loss: The name of the loss in `functional`, of (output, target); or a function of
            `functional`, of either library, output and target.
        task: From model, loss and metrics to what is done with a batch. One that learns without
            gradients takes the steps that the optimiser would take by the loss's.
        metrics: Makes the metrics; the first is the figure.
        goal: What the held-out figure is to reach: to be above, or where the metric says that lower
            is better, below.
        baseline: From the data to what comes without learning.
        parameters: How many the network has, counted elsewhere: published, or by hand.
        picture: Draws what was learnt to a file, where a person would rather look.
        sample: Text that shows what was learnt, where a person would rather read.
    """

    title: str
    file: str
    data: str
    network: Callable[[Any, Any], Any]
    batches: Callable[[Any, int], Batches]
    few: Callable[[Any, int], Any]
    optimisation: Optimisation
    batch_size: int
    epochs: int
    loss: str | Loss = "cross_entropy"
    task: Callable[[Module, Any, list[Metric]], Supervised] = Supervised
    metrics: Callable[[], list[Metric]]
    goal: float
    baseline: Callable[[Any], Baseline]
    parameters: int
    picture: Callable[[Outcome, Any, Path], None] | None = None
    sample: Callable[[Outcome, Any], str] | None = None

    def model(self, data: Any) -> Module:
        """The network, made anew."""
        made: Module = self.network(importlib.import_module(f"tilework.models.{self.file}"), data)
        return made

    def criterion(self, library: Any) -> Callable[[Any, Any], Any]:
        """The loss of (output, target), of tilework.functional or torch.nn.functional."""
        if isinstance(self.loss, str):
            found: Callable[[Any, Any], Any] = getattr(library, self.loss)
            return found
        return functools.partial(self.loss, library)

    def judges(self, batches: Batches) -> list[Metric]:
        """The metrics: the batches' own, where they have some."""
        return list(batches.metrics) or self.metrics()

    def better(self, value: float, other: float) -> bool:
        """Whether a figure is at least as good as another."""
        return value >= other if self.metrics()[0].higher_is_better else value <= other


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the held-out figure beside the baseline's, and the trained network."""

    name: str
    value: float
    interval: tuple[float, float] | None  # of 95 %, about the value
    baseline: Baseline
    samples: int
    seconds: float
    trainer: Trainer
    model: Module

    def __str__(self) -> str:
        return (
            f"held-out {self.name.replace('_', ' ')} {with_interval(self.value, self.interval)} "
            f"over {self.samples} samples ({self.baseline.value:.4g} by {self.baseline.name})"
        )


def with_interval(value: float, interval: Sequence[float] | None) -> str:
    """A figure as text, and how far chance would move it, to two digits of that.

    >>> from tilework.train.recipe import with_interval
    >>> with_interval(0.913, (0.9077, 0.9183)), with_interval(0.91553, None)
    ('0.9130 ± 0.0053', '0.9155')
    """
    half = (interval[1] - interval[0]) / 2 if interval else 0.0
    if not half > 0.0:
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(half)))
    return f"{value:.{digits}f} ± {half:.{digits}f}"


def run(
    recipe: Recipe,
    data: Any,
    seed: int = 0,
    *,
    epochs: int | None = None,
    watchers: Sequence[Callback] = (),
    resume: Path | None = None,
    device: Device = "cpu",
) -> Outcome:
    """Trains by a recipe, on a device, and reads what it is judged by once, at the end.

    `watchers` are callbacks besides the schedule; errors and `resume` as in Trainer.fit.
    """
    start = time.perf_counter()
    functional.manual_seed(seed)
    epochs = recipe.epochs if epochs is None else epochs
    model = recipe.model(data).to(device)
    batches = recipe.batches(data, recipe.batch_size)
    optimizer: Optimizer = recipe.optimisation.optimizer(optim, model.parameters())
    rate = recipe.optimisation.rate(epochs * len(batches.train))
    schedule = Schedule(optim.lr_scheduler.LambdaLR(optimizer, rate))
    metrics = recipe.judges(batches)
    task = recipe.task(model, recipe.criterion(functional), metrics)
    trainer = Trainer(task, optimizer, [schedule, *watchers])
    trainer.fit(batches.train, epochs=epochs, resume=resume)
    figure = InParts(metrics[0], len(batches.held_out))
    task.metrics[figure.name] = figure
    value = float(trainer.evaluate(batches.held_out)[figure.name])
    return Outcome(
        figure.name,
        value,
        figure.interval(),
        recipe.baseline(data),
        len(batches.held_out.dataset),
        time.perf_counter() - start,
        trainer,
        model,
    )
