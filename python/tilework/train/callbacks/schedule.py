"""Learning rates that change as a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tilework.errors import error
from tilework.optim.lr_scheduler import LRScheduler
from tilework.train.callbacks.callback import Callback

if TYPE_CHECKING:
    from tilework.train.trainer import Trainer


class Schedule(Callback):
    """Steps a schedule of learning rates, after each step or each epoch.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    >>> halved = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    >>> _ = callbacks.Schedule(halved, every="epoch")
    """

    def __init__(self, scheduler: LRScheduler, every: Literal["step", "epoch"] = "step") -> None:
        if every not in ("step", "epoch"):
            raise error(ValueError, "Schedule", "every of 'step', 'epoch'", repr(every), "name one")
        self.scheduler = scheduler
        self.every = every

    def on_step(self, trainer: Trainer) -> None:
        if self.every == "step":
            self.scheduler.step()

    def on_epoch(self, trainer: Trainer) -> None:
        if self.every == "epoch":
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return self.scheduler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        rates = [float(rate) for rate in state["base_lrs"]]
        if rates != self.scheduler.base_lrs:
            raise ValueError("another schedule of learning rates")
        last = int(state["last_epoch"])
        self.scheduler.load_state_dict({**state, "last_epoch": last, "base_lrs": rates})
