"""fit: the loop around a model, an optimiser and a loader, which can stop and go on."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tilework import io
from tilework.data import DataLoader
from tilework.errors import error
from tilework.functional import get_rng_state, set_rng_state
from tilework.nn import Module
from tilework.optim import Optimizer
from tilework.optim.lr_scheduler import LRScheduler
from tilework.tensor import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Position:
    """How far a run has come: whole epochs, batches of the next one, and their summed loss."""

    epoch: int = 0
    batch: int = 0
    loss: float = 0.0


class Interrupted(Exception):
    """Ctrl-C ended a run at `position`; from there the checkpoint, if there is one, goes on."""

    def __init__(self, position: Position) -> None:
        super().__init__(f"interrupted in epoch {position.epoch + 1}, batch {position.batch}")
        self.position = position


def fit(
    model: Module,
    optimizer: Optimizer,
    loss_fn: Loss,
    loader: DataLoader,
    epochs: int,
    *,
    scheduler: LRScheduler | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_batch: Callable[[Position, int], None] | None = None,
    on_epoch: Callable[[Position, float], None] | None = None,
) -> Position:
    """Trains for `epochs` passes over `loader`, whose batches are (input, target).

    `scheduler` steps after each batch.
    With `checkpoint`, writes everything that the run needs to go on there after each epoch and on
    Ctrl-C; `resume` goes on from it, to the same weights, bit for bit, as a run that was never
    stopped, where the loader draws its order from tilework's numbers (its default).
    `on_batch(position, batches)` and `on_epoch(position, mean_loss)` watch.

    Raises Interrupted on Ctrl-C, after the batch at hand; ValueError where `resume` has nothing to
    resume from, or where the checkpoint is damaged or another model's: the model is then as it was.

    >>> import numpy as np, tilework as tw
    >>> from tilework import nn, optim, data, functional as F
    >>> model = nn.Linear(3, 2)
    >>> loader = data.DataLoader(data.TensorDataset(np.ones((8, 3), "f"), np.zeros(8, int)), 4)
    >>> fit(model, optim.SGD(model.parameters(), lr=0.1), F.cross_entropy, loader, epochs=2).epoch
    2
    """
    if resume and checkpoint is None:
        raise error(ValueError, "fit", "a checkpoint to resume from", None, "give checkpoint=PATH")
    position = Position()
    now: Tensor | None = None  # where the random numbers stood when the run was stopped
    if resume and checkpoint is not None:
        position, now = _restore(checkpoint, model, optimizer, scheduler)
    with _interrupts() as interrupted:
        while position.epoch < epochs:
            order = get_rng_state()  # what this epoch's order is drawn from
            batches = iter(loader)  # draws the order
            for _ in itertools.islice(batches, position.batch):
                pass  # a resumed epoch's; a dataset may draw numbers for its samples too
            if now is not None and position.batch:
                set_rng_state(now)
            now = None
            for inputs, target in batches:
                position.loss += _step(model, optimizer, loss_fn, inputs, target)
                if scheduler is not None:
                    scheduler.step()
                position.batch += 1
                if on_batch is not None:
                    on_batch(position, len(loader))
                if interrupted.is_set():
                    _save(checkpoint, model, optimizer, scheduler, position, order)
                    raise Interrupted(position)
            mean = position.loss / max(1, position.batch)
            position = Position(position.epoch + 1)
            _save(checkpoint, model, optimizer, scheduler, position, get_rng_state())
            if on_epoch is not None:
                on_epoch(position, mean)
    return position


def _step(
    model: Module, optimizer: Optimizer, loss_fn: Loss, inputs: Tensor, target: Tensor
) -> float:
    optimizer.zero_grad()
    loss = loss_fn(model(inputs), target)
    loss.backward()
    optimizer.step()
    return float(loss.item())


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one ends the process's patience as usual.

    A batch is never cut in two: weights, optimiser and random numbers stay of one moment.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals are the main thread's
        return

    def first(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, first)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _save(
    path: Path | None,
    model: Module,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    position: Position,
    order: Tensor,
) -> None:
    if path is None:
        return
    io.save_checkpoint(
        path,
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "position": asdict(position),
            "order": order,
            "now": get_rng_state(),
        },
    )


def _restore(
    path: Path, model: Module, optimizer: Optimizer, scheduler: LRScheduler | None
) -> tuple[Position, Tensor]:
    """Loads the checkpoint, all of it or nothing; the random numbers stand where the epoch's order
    is drawn from. Gives the position, and where the numbers stood when the run was stopped."""
    if not path.exists():
        raise error(
            ValueError, "fit", "a checkpoint to resume from", f"no file {path}", "start anew"
        )
    tree = io.load_checkpoint(path)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    numbers = get_rng_state()
    try:
        saved = tree["position"]
        position = Position(int(saved["epoch"]), int(saved["batch"]), float(saved["loss"]))
        for state in (tree["now"], tree["order"]):
            set_rng_state(state)
        schedule = _checked_schedule(tree["scheduler"], scheduler)
        model.load_state_dict(tree["model"])
        optimizer.load_state_dict(tree["optimizer"])  # the last to fail: all or nothing itself
        if scheduler is not None:
            scheduler.load_state_dict(schedule)
        return position, tree["now"]
    except Exception as reason:  # a file may hold any tree, and fail anywhere
        model.load_state_dict(weights)
        set_rng_state(numbers)
        raise error(
            ValueError, "fit", "a checkpoint of this model and optimiser", f"{path} ({reason})",
            "resume with the options that it was begun with",
        ) from reason  # fmt: skip


def _checked_schedule(saved: Any, scheduler: LRScheduler | None) -> dict[str, Any]:
    """What the scheduler may load; ValueError where it is another's."""
    if saved is None and scheduler is None:
        return {}
    rates = [float(rate) for rate in saved["base_lrs"]]
    if scheduler is None or rates != scheduler.base_lrs:
        raise ValueError("another schedule of learning rates")
    return {**saved, "last_epoch": int(saved["last_epoch"]), "base_lrs": rates}
