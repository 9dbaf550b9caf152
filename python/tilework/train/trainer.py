"""The Trainer: runs a task over data, stops and goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tilework.errors import error
from tilework.metrics.metric import Mean
from tilework.nn import Module
from tilework.nn.modes import modes_kept
from tilework.nn.utils import clip_grad_norm_, clip_grad_value_
from tilework.optim import Optimizer
from tilework.tensor import Tensor
from tilework.train import judge
from tilework.train import resume as resuming
from tilework.train.callbacks import Callback
from tilework.train.history import History
from tilework.train.interrupts import Interrupted, Position, interrupts
from tilework.train.numbers import Numbers
from tilework.train.task import Task


class Trainer:
    """Trains a task, judges it, and predicts with it.

    Args:
        task: What is done with a batch: Supervised(model, loss, metrics), or a Task of your own.
        optimizer: The optimiser, or a dict of several by name.
        callbacks: What watches, stops, saves, schedules: see tilework.train.callbacks.
        accumulate: Batches whose gradients make one step, of their mean loss. What is left at an
            epoch's end makes a step too.
        clip_norm: The most that all gradients' joint norm may be at a step.
        clip_value: The most that an element of a gradient may be.
        generators: NumPy generators that the data draw from, by name, so that a resumed run goes on
            with their numbers too. tilework's own numbers and the loader's are always kept.

    Attributes: `position` (epoch, batch, step), `history`, `optimizers` by name, and of the fit()
    at hand `epochs` and `batches`, those of an epoch, where they are known.

    >>> model = nn.Linear(2, 1)
    >>> x = tw.randn(64, 2)
    >>> loader = data.DataLoader(data.TensorDataset(x, x.sum(1, keepdim=True)), 16, shuffle=True)
    >>> trainer = Trainer(Supervised(model, F.mse_loss, [metrics.R2()]),
    ...                   optim.Adam(model.parameters(), lr=0.1))
    >>> history = trainer.fit(loader, loader, epochs=20)
    >>> history[-1]["val_r2"] > 0.99, trainer.predict(x).shape
    (True, (64, 1))
    """

    def __init__(
        self,
        task: Task,
        optimizer: Optimizer | Mapping[str, Optimizer],
        callbacks: Sequence[Callback] = (),
        *,
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        generators: Mapping[str, np.random.Generator] | None = None,
    ) -> None:
        if not isinstance(task, Task):
            fix = "wrap it: Supervised(model, loss)" if isinstance(task, Module) else "pass a Task"
            raise error(TypeError, "Trainer", "a Task", type(task).__name__, fix)
        if accumulate < 1:
            raise error(ValueError, "Trainer", "accumulate of at least 1", accumulate, "raise it")
        if isinstance(callbacks, Callback) or not all(isinstance(c, Callback) for c in callbacks):
            raise error(
                TypeError, "Trainer", "callbacks as a list of Callback objects", callbacks,
                "put it in a list" if isinstance(callbacks, Callback) else "make them: Plot(path)",
            )  # fmt: skip
        self.task = task
        self.optimizers: dict[str, Optimizer] = (
            dict(optimizer) if isinstance(optimizer, Mapping) else {"optimizer": optimizer}
        )
        for name, made in self.optimizers.items():
            if not isinstance(made, Optimizer):
                raise error(
                    TypeError, "Trainer", f"{name} as an Optimizer", type(made).__name__,
                    "pass one of tilework.optim, or a dict of several by name",
                )  # fmt: skip
        # What saves comes last: it then holds what the others have made of an epoch.
        self.callbacks = sorted(callbacks, key=lambda c: c.comes_last - c.comes_first)
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.numbers = Numbers(generators or {})
        self.position = Position()
        self.history = History()
        self.epochs: int | None = None
        self.batches: int | None = None
        self.losses: dict[str, Mean] = {}  # of the epoch at hand
        self.pending = 0  # batches whose gradients wait for a step
        self._stop = False
        self._steps_itself = type(task).optimise is not Task.optimise

    # --- fitting ---

    def fit(
        self,
        train: Iterable[Any],
        validation: Iterable[Any] | None = None,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> History:
        """Trains until so many epochs, or so many steps, are done in all.

        Each epoch is one pass over `train`, an iterable of batches; then `validation` is gone
        through. A second call goes on where the first one ended. `resume` goes on from a
        checkpoint, to the same weights, bit for bit, as a run that was never stopped: where the
        order of the batches follows from tilework's numbers (a DataLoader's default), from a
        loader's generator, or from `generators`. The modules' training modes are as before, after.

        Raises Interrupted on Ctrl-C, after the batch at hand and when callbacks have saved;
        ValueError where `resume` has nothing to resume from, or where the checkpoint is damaged or
        another model's: everything is then as it was.
        """
        if (epochs is None) == (steps is None):
            raise error(
                ValueError, "Trainer.fit", "epochs or steps", "both" if epochs else "neither",
                "say how long to train",
            )  # fmt: skip
        goal = epochs if steps is None else steps
        assert goal is not None
        if goal < 0:
            raise error(ValueError, "Trainer.fit", "epochs or steps from 0", goal, "raise it")
        self.numbers.follow(train=train, validation=validation)
        begun = self.load(resume) if resume is not None else None
        self.epochs, self.batches = epochs, _length(train)
        self._stop = False
        try:
            with modes_kept(self.task), interrupts() as interrupted:
                self._tell("on_fit_begin")
                while not self._done(epochs, steps):
                    self._epoch(train, validation, steps, begun, interrupted)
                    begun = None
                self._tell("on_fit_end")
        finally:
            self._tell("on_exit")
        return self.history

    def stop(self) -> None:
        """Ends fit() after the epoch at hand; for callbacks."""
        self._stop = True

    def backward(self, loss: Tensor) -> None:
        """Adds a batch's gradients, and takes a step where it is the last one of `accumulate`."""
        if self.pending == 0:
            for optimizer in self.optimizers.values():
                optimizer.zero_grad()
        loss.backward()
        self.pending += 1
        if self.pending == self.accumulate:
            self.step()

    def step(self) -> None:
        """Takes a step along the mean of the gradients that wait."""
        parameters = list(self._parameters())
        if self.pending > 1:
            for p in parameters:
                if p.grad is not None:
                    p.grad.mul_(1.0 / self.pending)
        if self.clip_value is not None:
            clip_grad_value_(parameters, self.clip_value)
        if self.clip_norm is not None:
            clip_grad_norm_(parameters, self.clip_norm)
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.pending = 0
        self._stepped()

    def _done(self, epochs: int | None, steps: int | None) -> bool:
        if self._stop:
            return True
        if epochs is not None:
            return self.position.epoch >= epochs
        assert steps is not None
        return self.position.step >= steps

    def _epoch(
        self,
        train: Iterable[Any],
        validation: Iterable[Any] | None,
        steps: int | None,
        begun: resuming.Begun | None,
        interrupted: threading.Event,
    ) -> None:
        self.task.train()
        batches = self._batches(train, begun)
        for batch in batches:
            for name, value in self.task.optimise(self.task.place(batch), self).items():
                self.losses.setdefault(name, Mean()).add(judge.number(value), 1)
            if self._steps_itself:
                self._stepped()
            self.position.batch += 1
            self._tell("on_batch")
            if interrupted.is_set():
                self._tell("on_interrupt")
                raise Interrupted(self.position)
            if steps is not None and self.position.step >= steps:
                break
        if self.position.batch == 0:
            raise error(
                ValueError, "Trainer.fit", "at least one batch an epoch", "none",
                "give a loader, which can be gone through again, not an iterator",
            )  # fmt: skip
        if self.pending:
            self.step()
        self._end_epoch(validation)

    def _batches(self, train: Iterable[Any], begun: resuming.Begun | None) -> Iterator[Any]:
        """An epoch's batches: of one that is resumed, those that are left."""
        if begun is not None:
            self.numbers.set(begun.order)
        self.order = self.numbers.get()  # what this epoch's order is drawn from
        batches = iter(train)
        if begun is not None and self.position.batch:
            for _ in range(self.position.batch):
                next(batches, None)  # a dataset may draw numbers for its samples too
            self.numbers.set(begun.now)
        return batches

    def _end_epoch(self, validation: Iterable[Any] | None) -> None:
        row = {"epoch": self.position.epoch + 1, **self.means()}
        first = next(iter(self.optimizers.values()))
        row["lr"] = first.param_groups[0]["lr"]
        if validation is not None:
            self._tell("on_validation_begin")
            found = self.evaluate(validation)
            self._tell("on_validation_end")
            row.update({f"val_{n}": v for n, v in found.items() if isinstance(v, (int, float))})
        self.history.rows.append(row)
        self.position.epoch += 1
        self.position.batch = 0
        self.losses = {}
        self._tell("on_epoch")

    def _stepped(self) -> None:
        self.position.step += 1
        self._tell("on_step")

    def means(self) -> dict[str, float]:
        """The means over the epoch's batches so far of what the task records."""
        return {name: mean.value() for name, mean in self.losses.items()}

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def _parameters(self) -> Iterator[Tensor]:
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                yield from group["params"]

    # --- judging ---

    def evaluate(self, batches: Iterable[Any]) -> dict[str, Any]:
        """Means over the samples of what validation_step gives, and the task's metrics."""
        return judge.evaluate(self.task, batches)

    def predict(self, batches: Any) -> Any:
        """What predict_step gives for all batches, joined along the first axis.

        `batches` is an iterable of batches, or one tensor or array of inputs.
        """
        return judge.predict(self.task, batches)

    # --- stopping and going on ---

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all that the run needs to go on, whole or not at all; between batches."""
        resuming.save(self, path)

    def load(self, path: str | os.PathLike[str]) -> resuming.Begun:
        """Takes over what save() wrote, all of it or nothing (ValueError)."""
        return resuming.load(self, path)


def _length(batches: Iterable[Any]) -> int | None:
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return None
