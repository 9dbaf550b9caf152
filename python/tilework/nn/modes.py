"""Training and evaluation mode for a while: afterwards every module's is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tilework.nn.module import Module


class HasModes(Protocol):
    """A module, or a task of several."""

    def modules(self) -> Iterator[Module]: ...

    def eval(self) -> Any: ...


@contextmanager
def modes_kept(owner: HasModes) -> Iterator[None]:
    """The modules' training modes are afterwards as they were."""
    modes = [(module, module.training) for module in owner.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def evaluating(owner: HasModes) -> Iterator[None]:
    """Evaluation mode, in which a call changes no running statistics."""
    with modes_kept(owner):
        owner.eval()
        yield
