"""A run's state in a file, and back: all of it or nothing."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tilework import io
from tilework.errors import error
from tilework.metrics.metric import Mean
from tilework.tensor import Tensor
from tilework.train.history import History
from tilework.train.interrupts import Position
from tilework.train.numbers import State

if TYPE_CHECKING:
    from tilework.train.trainer import Trainer

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Begun:
    """Where the random numbers stood when the epoch began, and when the run was stopped."""

    order: State
    now: State


def save(trainer: Trainer, path: Path) -> None:
    """Writes the state to a checkpoint."""
    io.save_checkpoint(path, _state(trainer))


def load(trainer: Trainer, path: Path) -> Begun:
    """Takes over a checkpoint's state."""
    if not os.path.exists(path):
        raise error(
            ValueError, "Trainer", "a checkpoint to resume from", f"no file {path}", "start anew"
        )
    tree = io.load_checkpoint(path)
    before = copy.deepcopy(_state(trainer))
    try:
        return _take(trainer, tree)
    except Exception as reason:  # a file may hold any tree, and fail anywhere
        _take(trainer, before)
        raise error(
            ValueError, "Trainer", "a checkpoint of this task, optimiser and callbacks",
            f"{path} ({reason})", "resume with the options that it was begun with",
        ) from reason  # fmt: skip


def _state(trainer: Trainer) -> dict[str, Any]:
    now = trainer.numbers.get()
    within = trainer.position.batch > 0
    return {
        "task": trainer.task.state_dict(),
        "kept": trainer.task.kept,
        "optimizers": {name: made.state_dict() for name, made in trainer.optimizers.items()},
        "callbacks": {
            name: state for name, made in _keyed(trainer).items() if (state := made.state_dict())
        },
        "gradients": _gradients(trainer),
        "position": asdict(trainer.position),
        "losses": {name: [mean.total, mean.count] for name, mean in trainer.losses.items()},
        "pending": trainer.pending,
        "history": trainer.history.rows,
        "order": trainer.order if within else now,
        "now": now,
    }


def _keyed(trainer: Trainer) -> dict[str, Any]:
    """Callbacks by the names of their classes, numbered."""
    keyed: dict[str, Any] = {}
    for callback in trainer.callbacks:
        kind = type(callback).__name__
        keyed[f"{kind} {sum(type(c).__name__ == kind for c in keyed.values())}"] = callback
    return keyed


def _gradients(trainer: Trainer) -> dict[str, Tensor]:
    """Those that wait for a step; of a task that steps by itself all that there are."""
    if not trainer.pending and not trainer._steps_itself:
        return {}
    return {n: p.grad for n, p in trainer.task.named_parameters() if p.grad is not None}


def _take(trainer: Trainer, tree: Mapping[str, Any]) -> Begun:
    saved, losses = tree["position"], tree["losses"]
    position = Position(int(saved["epoch"]), int(saved["batch"]), int(saved["step"]))
    for name in ("optimizers", "callbacks"):
        known = trainer.optimizers if name == "optimizers" else _stateful(trainer)
        if set(tree[name]) != set(known):
            raise ValueError(f"{name} {', '.join(tree[name]) or 'none'}")
    for numbers in (tree["order"], tree["now"]):
        trainer.numbers.set(numbers)
    trainer.task.load_state_dict(tree["task"])
    for name, optimizer in trainer.optimizers.items():
        optimizer.load_state_dict(tree["optimizers"][name])
    for name, callback in _stateful(trainer).items():
        callback.load_state_dict(tree["callbacks"][name])
    _take_gradients(trainer, tree["gradients"])
    trainer.task.kept.clear()
    trainer.task.kept.update(tree["kept"])
    trainer.history = History(tree["history"])
    trainer.pending = int(tree["pending"])
    trainer.losses = {name: _mean(*held) for name, held in losses.items()}
    trainer.position, trainer.order = position, tree["order"]
    return Begun(tree["order"], tree["now"])


def _stateful(trainer: Trainer) -> dict[str, Any]:
    return {name: made for name, made in _keyed(trainer).items() if made.state_dict()}


def _take_gradients(trainer: Trainer, gradients: Mapping[str, Tensor]) -> None:
    parameters = dict(trainer.task.named_parameters())
    for name, grad in gradients.items():
        if grad.shape != parameters[name].shape:
            raise ValueError(f"a gradient {grad.shape} of {name}")
    for name, p in parameters.items():
        p.grad = gradients.get(name)


def _mean(total: float, count: int) -> Mean:
    mean = Mean()
    mean.add(float(total), int(count))
    return mean
