"""Hooks: how one is put and taken away, and those of tensors, which see a gradient on its way and
may change it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from tilework.errors import error
from tilework.tape import enable_grad, no_grad
from tilework.tensor import Tensor, fresh, tensor_method

Hook = Callable[[Tensor], Any]

_keys = itertools.count()


class TensorHooks:
    """Those of one tensor, in the order of registration; it stands in `_retain`.

    `before` see the gradient before it goes on, `after` the leaf that has received it; `retains`
    says that retain_grad was called, too.
    """

    __slots__ = ("after", "before", "retains")

    def __init__(self, retains: bool) -> None:
        self.before: dict[int, Hook] = {}
        self.after: dict[int, Hook] = {}
        self.retains = retains

    def of_the_past(self) -> tuple[TensorHooks, bool]:
        """These for what a tensor was before a write; whether the tensor still retains."""
        past = TensorHooks(False)
        past.before, past.after = self.before, self.after
        return past, self.retains

    def passed(self, grad: Any) -> Any:
        """The gradient as the hooks leave it: a tensor, on the tape, or an array, off it."""
        if isinstance(grad, Tensor):
            with enable_grad():
                return self._passed(grad)
        with no_grad():
            return self._passed(fresh(grad))._array

    def _passed(self, grad: Tensor) -> Tensor:
        for hook in list(self.before.values()):
            changed = hook(grad)
            if changed is None:
                continue
            if not isinstance(changed, Tensor) or changed.shape != grad.shape:
                raise error(
                    RuntimeError, "register_hook", f"a hook that returns None or {grad.shape}",
                    getattr(changed, "shape", type(changed).__name__), "return the new gradient",
                )  # fmt: skip
            grad = changed.to(grad.dtype)
        return grad

    def arrived(self, leaf: Tensor) -> None:
        for hook in list(self.after.values()):
            hook(leaf)


class RemovableHandle:
    """Takes a hook away again: `handle.remove()`, or the end of a `with`."""

    def __init__(
        self,
        hooks: dict[int, Any],
        hook: Any,
        prepend: bool = False,
        changed: Callable[[], None] | None = None,
    ) -> None:
        """Puts `hook` behind the others or before them; `changed` is called now, and as it goes."""
        self._hooks, self._key, self._changed = hooks, next(_keys), changed
        others = dict(hooks)
        if prepend:
            hooks.clear()
        hooks[self._key] = hook
        hooks.update(others)
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed()

    def remove(self) -> None:
        """Removes the hook; more than once does no harm."""
        self._hooks.pop(self._key, None)
        self._tell()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def hooks_of(x: Tensor) -> TensorHooks | None:
    """None where it has none."""
    held: Any = x._retain
    return held if isinstance(held, TensorHooks) else None


def _registered(op: str, x: Tensor, leaf: bool = False) -> TensorHooks:
    if not x._requires_grad or (leaf and x._node is not None):
        wanted = f"a {'leaf' if leaf else 'tensor'} that requires grad"
        raise error(RuntimeError, op, wanted, "another", "requires_grad_() it before")
    found = hooks_of(x)
    if found is None:
        x._retain = found = TensorHooks(bool(x._retain))
    return found


@tensor_method("register_hook")
def register_hook(self: Tensor, hook: Hook) -> RemovableHandle:
    """Calls `hook(grad)` once the gradient of this tensor is whole, in each backward; a tensor that
    it returns goes on in the gradient's place. Gives a handle, whose remove() ends it.

    RuntimeError where the tensor requires no grad, or where a hook returns another shape. As in
    PyTorch a hook should not write into what it is given.

    >>> x = tw.ones(2, requires_grad=True)
    >>> handle = x.register_hook(lambda grad: grad * 10)
    >>> (x * 3).sum().backward()
    >>> x.grad
    tensor([30., 30.])
    """
    return RemovableHandle(_registered("register_hook", self).before, hook)


@tensor_method("register_post_accumulate_grad_hook")
def register_post_accumulate_grad_hook(self: Tensor, hook: Hook) -> RemovableHandle:
    """Calls `hook(leaf)` after a backward has added to this leaf's `grad`: to step an optimiser at
    once, say, and free the gradient. RuntimeError on what is no leaf that requires grad.

    >>> x, seen = tw.ones(2, requires_grad=True), []
    >>> handle = x.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad.sum()))
    >>> (x * 3).sum().backward()
    >>> seen
    [tensor(6.)]
    """
    return RemovableHandle(
        _registered("register_post_accumulate_grad_hook", self, True).after, hook
    )
