"""Memory for time: what a part of a network computed is forgotten, and computed again on the way
back (Chen et al., "Training deep nets with sublinear memory cost", 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

from tilework import autocasting
from tilework.autograd import enable_grad, is_grad_enabled
from tilework.custom import Function
from tilework.errors import error
from tilework.functional.creation import zeros
from tilework.functional.generator import default_generator
from tilework.tensor import Tensor

__all__ = ["checkpoint", "checkpoint_sequential"]


class _Forgotten(Function):
    """A call whose values between arguments and results are not kept."""

    @staticmethod
    def forward(ctx: Any, function: Any, options: Any, keeps: bool, taped: Any, *args: Any) -> Any:
        ctx.call = function, options, args
        ctx.state = default_generator.get_state() if keeps else None
        ctx.dtypes = dict(autocasting.state.dtypes)
        ctx.set_materialize_grads(False)
        return function(*args, **options)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        if is_grad_enabled():
            raise error(
                RuntimeError, "checkpoint", "a backward without create_graph", "one with it",
                "call the function without checkpoint",
            )  # fmt: skip
        function, options, args = ctx.call
        again = [a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a
                 for a in args]  # fmt: skip
        with enable_grad(), _as_before(ctx):
            outputs = function(*again, **options)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [(y, g) for y, g in zip(outputs, grads, strict=True) if g is not None]
        with enable_grad():  # one walk for all results: each consumes what it passes
            total = sum((y * g).sum() for y, g in pairs if y.requires_grad)
        if isinstance(total, Tensor):
            total.backward()
        return (None,) * 4 + tuple(a.grad if isinstance(a, Tensor) else None for a in again)


@contextmanager
def _as_before(ctx: Any) -> Any:
    """The random numbers and the autocast of the call."""
    now = default_generator.get_state()
    if ctx.state is not None:
        default_generator.set_state(ctx.state)
    try:
        with autocasting.standing(ctx.dtypes):
            yield
    finally:
        if ctx.state is not None:
            default_generator.set_state(now)


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs), of which backward keeps the arguments alone and computes the rest
    once more. The gradients are the same, dropout's too while `preserve_rng_state`.

    The function gives a tensor or a tuple of them. Gradients of its parameters are added to their
    `grad`, as backward() does: autograd.grad does not see them. RuntimeError with
    create_graph=True. `use_reentrant` says nothing here.

    >>> from tilework.utils.checkpoint import checkpoint
    >>> block, x = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)), tw.ones(1, 2)
    >>> checkpoint(block, x, use_reentrant=False).sum().backward()
    >>> block[0].weight.grad.shape
    (8, 2)
    """
    # Something to be on the tape for: the gradient may be wanted by parameters alone.
    taped = zeros(0, requires_grad=True)
    return _Forgotten.apply(function, kwargs, preserve_rng_state, taped, *args)


def checkpoint_sequential(
    functions: Sequence[Callable[..., Any]],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:
    """The functions (or an nn.Sequential's layers) one after the other in `segments` parts of equal
    length, of which all but the last are computed again in backward. ValueError unless there are 1
    to len(functions) segments.

    >>> from tilework.utils.checkpoint import checkpoint_sequential
    >>> layers = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    >>> checkpoint_sequential(layers, 2, tw.ones(1, 2)).shape
    (1, 2)
    """
    layers = list(functions)
    if not 1 <= segments <= len(layers):
        raise error(
            ValueError, "checkpoint_sequential", f"1 to {len(layers)} segments", segments,
            "take fewer",
        )  # fmt: skip
    size = len(layers) // segments

    def run(part: Sequence[Callable[..., Any]]) -> Callable[[Any], Any]:
        def through(x: Any) -> Any:
            for layer in part:
                x = layer(x)
            return x

        return through

    for start in range(0, size * (segments - 1), size):
        input = checkpoint(
            run(layers[start : start + size]), input, preserve_rng_state=preserve_rng_state
        )
    return run(layers[size * (segments - 1) :])(input)
