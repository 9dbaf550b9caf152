"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tilework.engines import ops
from tilework.errors import error
from tilework.optim.optimizer import Group, Optimizer, check_range, take_hints


class SGD(Optimizer):
    """p -= lr * (grad + weight_decay * p), with momentum and Nesterov's form (Sutskever et al.
    2013).

    PyTorch's arguments, defaults and arithmetic. ValueError on values out of range, and on nesterov
    without momentum or with dampening.

    >>> w = tw.ones(1, requires_grad=True)
    >>> (w * 2).sum().backward()
    >>> optim.SGD([w], lr=0.5).step()
    >>> w
    tensor([0.], requires_grad=True)
    """

    _counts = False  # a momentum that is there has been begun

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        take_hints("SGD", hints)
        check_range("SGD", "lr", lr, 0.0)
        check_range("SGD", "momentum", momentum, 0.0)
        check_range("SGD", "weight_decay", weight_decay, 0.0)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise error(
                ValueError, "SGD", "nesterov with momentum and no dampening",
                f"momentum {momentum}, dampening {dampening}", "set momentum=0.9, dampening=0",
            )  # fmt: skip
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _slots(self, group: Group) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def _gather(
        self, params: list[Any], group: Group
    ) -> tuple[list[list[Any]], tuple[()], list[int]]:
        if not group["momentum"]:
            return [], (), [1]
        held = self.state
        return [[held[p]["momentum_buffer"]._array for p in params]], (), [1]

    def _update(
        self, params: list[Any], grads: list[Any], slots: list[list[Any]], step: int, group: Group
    ) -> None:
        ops.sgd_step(
            params,
            grads,
            slots[0] if slots else None,
            step == 1,
            group["lr"],
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            group["maximize"],
        )
