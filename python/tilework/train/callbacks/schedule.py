"""Learning rates that change as a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tilework.errors import error
from tilework.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tilework.train.callbacks.callback import Callback, figure_of

if TYPE_CHECKING:
    from tilework.train.trainer import Trainer


class Schedule(Callback):
    """Steps a schedule of learning rates, after each step or each epoch.

    Args:
        scheduler: Any of optim.lr_scheduler.
        every: "step" or "epoch"; by default "step", and of ReduceLROnPlateau "epoch", which alone
            has a figure.
        monitor: The figure in the history that ReduceLROnPlateau is given.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    >>> halved = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    >>> _ = callbacks.Schedule(halved, every="epoch")
    >>> _ = callbacks.Schedule(optim.lr_scheduler.ReduceLROnPlateau(optimizer))
    """

    def __init__(
        self,
        scheduler: LRScheduler,
        every: Literal["step", "epoch"] | None = None,
        monitor: str = "val_loss",
    ) -> None:
        if every not in ("step", "epoch", None):
            raise error(ValueError, "Schedule", "every of 'step', 'epoch'", repr(every), "name one")
        if not isinstance(scheduler, LRScheduler):
            raise error(
                TypeError, "Schedule", "a schedule of optim.lr_scheduler", type(scheduler).__name__,
                "make one, with the optimiser",
            )  # fmt: skip
        self._plateau = scheduler if isinstance(scheduler, ReduceLROnPlateau) else None
        if every == "step" and self._plateau is not None:
            raise error(
                ValueError, "Schedule", "every='epoch' for ReduceLROnPlateau", "'step'",
                "leave it out: a figure is an epoch's",
            )  # fmt: skip
        self.scheduler = scheduler
        self.every = every or ("step" if self._plateau is None else "epoch")
        self.monitor = monitor

    def on_step(self, trainer: Trainer) -> None:
        if self.every == "step":
            self.scheduler.step()

    def on_epoch(self, trainer: Trainer) -> None:
        if self._plateau is not None:
            self._plateau.step(figure_of("Schedule", trainer, self.monitor))
        elif self.every == "epoch":
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return self.scheduler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if _kind(state) != _kind(self.scheduler.state_dict()):
            raise ValueError("another schedule of learning rates")
        self.scheduler.load_state_dict(state)


def _kind(state: Mapping[str, Any]) -> Any:
    """What all states of a schedule have in common: the first rates, and those of each schedule
    that it is made of."""
    if "last_epoch" in state:
        int(state["last_epoch"])
    rates = [float(rate) for rate in state.get("base_lrs", ())]
    return rates, "best" in state, [_kind(held) for held in state.get("_schedulers", ())]
