"""Hooks of modules that see gradients: those of the results, and those of the arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tilework.custom import Function
from tilework.tensor import Tensor

Gradients = tuple[Any, ...]


class BackwardHook(NamedTuple):
    call: Callable[..., Any]
    before: bool  # the module's own backward


class _Call:
    """One call of a module: between its arguments and results stand ops that call its hooks."""

    def __init__(self, module: Any, hooks: Mapping[int, BackwardHook]) -> None:
        self.module, self.hooks = module, hooks
        self.grad_output: Gradients = ()
        self.given = 0  # arguments
        self.places: list[int] = []  # of the tensors among them
        self.entered = False  # whether one of them wants a gradient

    def _calls(self, before: bool) -> list[Callable[..., Any]]:
        return [hook.call for hook in list(self.hooks.values()) if hook.before == before]

    def leave(self, grads: Gradients) -> Gradients:
        """The gradients of the results, as they arrive."""
        for hook in self._calls(True):
            grads = _tuple(hook(self.module, grads), grads)
        self.grad_output = grads
        if not self.entered:
            self._called((None,) * self.given)
        return grads

    def enter(self, grads: Gradients) -> Gradients:
        """Those of the tensors among the arguments, on their way out."""
        spread: list[Any] = [None] * self.given
        for place, grad in zip(self.places, grads, strict=True):
            spread[place] = grad
        found = self._called(tuple(spread))
        return tuple(found[place] for place in self.places)

    def _called(self, grads: Gradients) -> Gradients:
        for hook in self._calls(False):
            grads = _tuple(hook(self.module, grads, self.grad_output), grads)
        return grads


def _tuple(changed: Any, grads: Gradients) -> Gradients:
    """What a hook returned, or what was."""
    if changed is None:
        return grads
    return tuple(changed) if isinstance(changed, (tuple, list)) else (changed,)


class _Border(Function):
    @staticmethod
    def forward(ctx: Any, way: Any, whole: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.way = way
        ctx.set_materialize_grads(whole)
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Gradients:
        return (None, None, *ctx.way(grads))


def _passed(way: Any, whole: bool, values: Sequence[Any]) -> tuple[list[Any], list[int], bool]:
    """The values with the tensors among them taken over a border, their places, and whether one
    of them is on the tape. `whole`: where no gradient comes, zeros do."""
    places = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
    passed = list(values)
    taped = any(values[i].requires_grad for i in places)
    if taped:
        tensors = _Border.apply(way, whole, *(values[i] for i in places))
        for i, t in zip(places, tensors, strict=True):
            passed[i] = t
    return passed, places, taped


def watched(
    module: Any,
    hooks: Mapping[int, BackwardHook],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """module.forward(*args, **kwargs), whose backward calls the hooks."""
    call = _Call(module, hooks)
    call.given = len(args)
    # As PyTorch: zeros for an argument that no gradient comes to, None for a result.
    passed, call.places, call.entered = _passed(call.enter, True, args)
    output = module.forward(*passed, **kwargs)
    if isinstance(output, Tensor):
        return _passed(call.leave, False, (output,))[0][0]
    if isinstance(output, (tuple, list)):
        return type(output)(_passed(call.leave, False, output)[0])
    return output
