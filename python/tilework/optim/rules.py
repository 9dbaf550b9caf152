"""Optimisers whose rules are written over the array library: those that are rarer than SGD and
Adam.

Each gives its rule for one parameter; sums and roots go through a few arrays of its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from tilework.arrays import namespace
from tilework.optim.optimizer import Batch, Group, Optimizer, check_range, take_hints
from tilework.tensor import Tensor

Array = Any


class _ByRule(Optimizer):
    """A subclass says its kinds of state (`_slots`) and `_rule`, which writes one parameter and its
    state."""

    def _begin(self, params: Iterable[Any], hints: dict[str, Any], **defaults: Any) -> None:
        op = type(self).__name__
        take_hints(op, hints)
        for name in ("lr", "eps", "weight_decay", "momentum", "lr_decay", "momentum_decay"):
            if name in defaults:
                check_range(op, name, defaults[name], 0.0)
        for name in ("alpha", "rho"):
            if name in defaults:
                check_range(op, name, defaults[name], 0.0, 1.0 + 2.0**-52)
        for i, beta in enumerate(defaults.get("betas", ())):
            check_range(op, f"betas[{i}]", beta, 0.0, 1.0)
        super().__init__(params, defaults)

    def _gather(
        self, params: list[Any], group: Group
    ) -> tuple[list[list[Any]], list[dict[str, Any]], list[int]]:
        states = [self.state[p] for p in params]
        slots = [[state[name]._array for state in states] for name in self._slots(group)]
        return slots, states, [state["step"] for state in states]

    def _update(
        self, params: list[Any], grads: list[Any], slots: list[list[Any]], step: int, group: Group
    ) -> None:
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            g = -g if group["maximize"] else g
            decay = group["weight_decay"]
            if decay and group.get("decoupled_weight_decay"):
                p *= 1.0 - group["lr"] * decay
            elif decay:
                g = g + decay * p
            self._rule(p, g, [slot[i] for slot in slots], step, group)

    def _rule(self, p: Array, g: Array, held: list[Array], step: int, group: Group) -> None:
        """One step of one parameter, from the gradient with its decay."""
        raise NotImplementedError


def _toward(average: Array, value: Array, part: float) -> None:
    """average += part * (value - average)."""
    average += part * (value - average)


def _mix(average: Array, value: Array, kept: float) -> None:
    """average = kept * average + (1 - kept) * value."""
    average *= kept
    average += (1.0 - kept) * value


class RMSprop(_ByRule):
    """Each step over the root of a running mean of the squared gradients (Hinton 2012), with
    momentum, and less the square of their mean where `centered` (Graves 2013).

    PyTorch's arguments, defaults and arithmetic, but that a variance is never below 0, where it has
    NaN. ValueError on values out of range.

    >>> w = tw.ones(1, requires_grad=True)
    >>> (w * 2).sum().backward()
    >>> optim.RMSprop([w], lr=0.05).step()
    >>> w
    tensor([0.5], requires_grad=True)
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False, *,
        maximize: bool = False, **hints: Any,
    ) -> None:  # fmt: skip
        self._begin(
            params, hints, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay,
            momentum=momentum, centered=centered, maximize=maximize,
        )  # fmt: skip

    def _slots(self, group: Group) -> tuple[str, ...]:
        names = ["square_avg"]
        names += ["momentum_buffer"] if group["momentum"] > 0 else []
        names += ["grad_avg"] if group["centered"] else []
        return tuple(names)

    def _rule(self, p: Array, g: Array, held: list[Array], step: int, group: Group) -> None:
        xp = namespace(p)
        _mix(held[0], g * g, group["alpha"])
        spread = held[0]
        if group["centered"]:
            _toward(held[-1], g, 1.0 - group["alpha"])
            # A variance, which rounding would leave below zero where the gradient hardly changes.
            spread = xp.maximum(spread - held[-1] * held[-1], 0)
        g = g / (xp.sqrt(spread) + group["eps"])
        if group["momentum"] > 0:
            held[1] *= group["momentum"]
            held[1] += g
            g = held[1]
        p -= group["lr"] * g


class Adagrad(_ByRule):
    """Each step over the root of the sum of all squared gradients (Duchi et al. 2011).

    PyTorch's arguments, defaults and arithmetic. ValueError on values out of range.

    >>> w = tw.ones(1, requires_grad=True)
    >>> (w * 2).sum().backward()
    >>> optim.Adagrad([w], lr=0.5).step()
    >>> w
    tensor([0.5], requires_grad=True)
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0.0,
        weight_decay: float = 0.0, initial_accumulator_value: float = 0.0, eps: float = 1e-10, *,
        maximize: bool = False, **hints: Any,
    ) -> None:  # fmt: skip
        check_range("Adagrad", "initial_accumulator_value", initial_accumulator_value, 0.0)
        self._begin(
            params, hints, lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, maximize=maximize,
        )  # fmt: skip

    def _slots(self, group: Group) -> tuple[str, ...]:
        return ("sum",)

    def _slot(
        self, name: str, state: dict[str, Any], p: Tensor, made: dict[str, Tensor], group: Group
    ) -> Array:
        array = super()._slot(name, state, p, made, group)
        if name in made:
            array[...] = group["initial_accumulator_value"]
        return array

    def _rule(self, p: Array, g: Array, held: list[Array], step: int, group: Group) -> None:
        held[0] += g * g
        rate = group["lr"] / (1.0 + (step - 1) * group["lr_decay"])
        p -= rate * (g / (namespace(p).sqrt(held[0]) + group["eps"]))


class Adadelta(_ByRule):
    """Each step scaled by the root of running means: of squared steps over squared gradients
    (Zeiler 2012).

    PyTorch's arguments, defaults and arithmetic. ValueError on values out of range.

    >>> optim.Adadelta([tw.ones(1, requires_grad=True)]).defaults["rho"]
    0.9
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6,
        weight_decay: float = 0.0, *, maximize: bool = False, **hints: Any,
    ) -> None:  # fmt: skip
        self._begin(
            params, hints, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize
        )

    def _slots(self, group: Group) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def _rule(self, p: Array, g: Array, held: list[Array], step: int, group: Group) -> None:
        xp = namespace(p)
        squares, steps = held
        _mix(squares, g * g, group["rho"])
        delta = xp.sqrt(steps + group["eps"]) / xp.sqrt(squares + group["eps"]) * g
        _mix(steps, delta * delta, group["rho"])
        p -= group["lr"] * delta


class _Moments(_ByRule):
    """With Adam's first moment and a second kind of state."""

    _second = "exp_avg_sq"

    def _slots(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", self._second)


class Adamax(_Moments):
    """Adam with the largest gradient, which decays, in the place of the root of their squares
    (Kingma and Ba 2015).

    PyTorch's arguments, defaults and arithmetic. ValueError on values out of range.

    >>> optim.Adamax([tw.ones(1, requires_grad=True)]).defaults["lr"]
    0.002
    """

    _second = "exp_inf"

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0, *, maximize: bool = False, **hints: Any,
    ) -> None:  # fmt: skip
        self._begin(
            params, hints, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            maximize=maximize,
        )  # fmt: skip

    def _rule(self, p: Array, g: Array, held: list[Array], step: int, group: Group) -> None:
        mean, largest = held
        beta1, beta2 = group["betas"]
        _toward(mean, g, 1.0 - beta1)
        largest *= beta2
        largest[...] = namespace(p).maximum(largest, abs(g) + group["eps"])
        p -= group["lr"] / (1.0 - beta1**step) * (mean / largest)


class RAdam(_Moments):
    """Adam whose steps are rectified while the second moment is young (Liu et al. 2020).

    PyTorch's arguments, defaults and arithmetic. ValueError on values out of range.

    >>> optim.RAdam([tw.ones(1, requires_grad=True)]).defaults["lr"]
    0.001
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0, decoupled_weight_decay: bool = False, *,
        maximize: bool = False, **hints: Any,
    ) -> None:  # fmt: skip
        self._begin(
            params, hints, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay, maximize=maximize,
        )  # fmt: skip

    def _rule(self, p: Array, g: Array, held: list[Array], step: int, group: Group) -> None:
        mean, squares = held
        beta1, beta2 = group["betas"]
        _toward(mean, g, 1.0 - beta1)
        _mix(squares, g * g, beta2)
        rate = group["lr"] / (1.0 - beta1**step)
        rest = 1.0 - beta2**step
        longest = 2.0 / (1.0 - beta2) - 1.0
        length = longest - 2.0 * step * beta2**step / rest
        if length <= 5.0:
            p -= rate * mean
            return
        rectified = math.sqrt(
            (length - 4.0) * (length - 2.0) * longest
            / ((longest - 4.0) * (longest - 2.0) * length)
        )  # fmt: skip
        scale = rate * rectified * math.sqrt(rest)
        p -= scale * (mean / (namespace(p).sqrt(squares) + group["eps"]))


class NAdam(_Moments):
    """Adam with Nesterov's momentum (Dozat 2016), which `momentum_decay` warms up.

    PyTorch's arguments, defaults and arithmetic. ValueError on values out of range.

    >>> optim.NAdam([tw.ones(1, requires_grad=True)]).defaults["momentum_decay"]
    0.004
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0, momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False, *, maximize: bool = False, **hints: Any,
    ) -> None:  # fmt: skip
        self._begin(
            params, hints, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            momentum_decay=momentum_decay, decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )  # fmt: skip

    def _gather(self, params: list[Any], group: Group) -> Any:
        raise KeyError("mu_product")  # each step goes by _run_batch, which knows the states

    def _run_batch(self, batch: Batch, group: Group) -> None:
        """The product of all momenta is the state's, and is the same for equal steps."""
        product = float(batch.states[0].get("mu_product", 1.0))
        product *= self._momentum(batch.steps + 1, group)
        self._product = product
        super()._run_batch(batch, group)
        for state in batch.states:
            state["mu_product"] = product

    def _momentum(self, step: int, group: Group) -> float:
        momentum: float = group["betas"][0] * (1.0 - 0.5 * 0.96 ** (step * group["momentum_decay"]))
        return momentum

    def _loaded(self, name: str, value: Any, p: Tensor, op: str) -> Any:
        return float(value) if name == "mu_product" else super()._loaded(name, value, p, op)

    def _rule(self, p: Array, g: Array, held: list[Array], step: int, group: Group) -> None:
        mean, squares = held
        beta1, beta2 = group["betas"]
        _toward(mean, g, 1.0 - beta1)
        _mix(squares, g * g, beta2)
        below = namespace(p).sqrt(squares / (1.0 - beta2**step)) + group["eps"]
        now, then = self._momentum(step, group), self._momentum(step + 1, group)
        lr, product = group["lr"], self._product
        p -= lr * (1.0 - now) / (1.0 - product) * (g / below)
        p -= lr * then / (1.0 - product * then) * (mean / below)
