"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tilework.engines import ops
from tilework.optim.optimizer import Group, Optimizer, check_range, take_hints


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), with AMSGrad (Reddi et al. 2018) on request.

    PyTorch's arguments, defaults and arithmetic; `weight_decay` is added to the gradient. One
    engine call updates all parameters. ValueError on values out of range.

    >>> w = tw.ones(1, requires_grad=True)
    >>> (w * 2).sum().backward()
    >>> optim.Adam([w], lr=0.5).step()
    >>> w
    tensor([0.5], requires_grad=True)
    """

    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        name = type(self).__name__
        take_hints(name, hints)
        check_range(name, "lr", lr, 0.0)
        check_range(name, "eps", eps, 0.0)
        check_range(name, "betas[0]", betas[0], 0.0, 1.0)
        check_range(name, "betas[1]", betas[1], 0.0, 1.0)
        check_range(name, "weight_decay", weight_decay, 0.0)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _slots(self, group: Group) -> tuple[str, ...]:
        moments = ("exp_avg", "exp_avg_sq")
        return (*moments, "max_exp_avg_sq") if group["amsgrad"] else moments

    def _gather(
        self, params: list[Any], group: Group
    ) -> tuple[list[list[Any]], list[dict[str, Any]], list[int]]:
        held = self.state
        firsts, seconds, states, counts = [], [], [], []
        for p in params:
            state = held[p]
            firsts.append(state["exp_avg"]._array)
            seconds.append(state["exp_avg_sq"]._array)
            counts.append(state["step"])
            states.append(state)
        if group["amsgrad"]:
            largest = [state["max_exp_avg_sq"]._array for state in states]
            return [firsts, seconds, largest], states, counts
        return [firsts, seconds], states, counts

    def _update(
        self, params: list[Any], grads: list[Any], slots: list[list[Any]], step: int, group: Group
    ) -> None:
        beta1, beta2 = group["betas"]
        ops.adam_step(
            params,
            grads,
            slots[0],
            slots[1],
            slots[2] if group["amsgrad"] else None,
            step,
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            self._decoupled,
            group["maximize"],
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): p shrinks by lr *
    weight_decay.

    >>> optim.AdamW([tw.ones(1, requires_grad=True)]).defaults["weight_decay"]
    0.01
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, **hints)
