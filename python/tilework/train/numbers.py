"""Where the random numbers of a run stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tilework.functional import get_rng_state, set_rng_state

State = dict[str, Any]
_OWN = "tilework"


class Numbers:
    """tilework's random numbers, loaders' generators where they have one, and others by name."""

    def __init__(self, generators: Mapping[str, np.random.Generator]) -> None:
        self._named = {f"generator {name}": made for name, made in generators.items()}
        self._loaders: dict[str, np.random.Generator] = {}

    def follow(self, **loaders: Any) -> None:
        """Keeps these loaders' generators too, and those of their samplers."""
        self._loaders = {}
        for name, loader in loaders.items():
            holder, at = loader, name
            while holder is not None:
                made = getattr(holder, "generator", None)
                if isinstance(made, np.random.Generator):
                    self._loaders[at] = made
                inner = getattr(holder, "batch_sampler", None) or getattr(holder, "sampler", None)
                holder, at = inner, f"{at} sampler"

    def get(self) -> State:
        made = {**self._named, **self._loaders}
        states = {name: _plain(x.bit_generator.state) for name, x in made.items()}
        return {_OWN: get_rng_state(), **states}

    def set(self, state: State) -> None:
        """ValueError where the state is of other generators."""
        made = {**self._named, **self._loaders}
        if set(state) != {_OWN, *made}:
            raise ValueError(f"random numbers of {', '.join(state)}")
        for name, generator in made.items():
            generator.bit_generator.state = state[name]
        set_rng_state(state[_OWN])


def _plain(value: Any) -> Any:
    """A generator's state in numbers, text and lists, which a checkpoint has."""
    if isinstance(value, Mapping):
        return {name: _plain(held) for name, held in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
