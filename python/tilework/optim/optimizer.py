"""What optimisers share: parameter groups, state, one engine call for all parameters of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import is_
from typing import Any

import numpy as np
from numpy import ndarray

from tilework import dtypes
from tilework.autograd import enable_grad
from tilework.engines import ops
from tilework.errors import error
from tilework.tensor import Tensor, fresh, next_time

Group = dict[str, Any]
Array = Any


class Batch:
    """Parameters that one engine call updates: of one dtype, and at the same step.

    `slots` holds the optimiser's arrays, a list for each kind of state.
    """

    __slots__ = ("params", "slots", "states", "step")

    def __init__(self, params: list[Tensor], states: list[dict[str, Any]], step: int) -> None:
        self.params = params
        self.states = states
        self.step = step
        self.slots: list[list[Array]] = []


class Optimizer:
    """The base: a subclass says its kinds of state (`_slots`) and its engine call (`_update`)."""

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        if isinstance(params, Tensor):
            raise error(
                TypeError, type(self).__name__, "an iterable of parameters", "one Tensor",
                "put it in a list",
            )  # fmt: skip
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[Group] = []
        self._plans: dict[int, tuple[list[Tensor], list[Batch]]] = {}
        given = list(params)
        if not given:
            raise error(ValueError, type(self).__name__, "parameters", "none", "pass some")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def __getstate__(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "_plans": {},
        }  # keyed by this process's ids, which a copy's are not

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            shown = (f"    {k}: {v}" for k, v in sorted(group.items()) if k != "params")
            lines += [f"Parameter Group {i}", *shown]
        return "\n".join([f"{type(self).__name__} (", *lines, ")"])

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters with options of their own: {"params": [...], "lr": ...}.

        TypeError on what is no tensor, ValueError on a non-leaf or a parameter already here.
        """
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        held = {p for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise error(
                    TypeError, type(self).__name__, "parameters that are Tensors",
                    type(p).__name__, "pass model.parameters()",
                )  # fmt: skip
            if not p.is_leaf or p in held:
                raise error(
                    ValueError, type(self).__name__, "leaves, each once",
                    "a result of an op" if not p.is_leaf else "one parameter twice",
                    "pass model.parameters()",
                )  # fmt: skip
            held.add(p)
        self.param_groups.append({**self.defaults, **param_group, "params": params})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters, or fills them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p._grad = None
                elif p.grad is not None:
                    p.grad = fresh(np.zeros_like(p._array))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters that have gradients; returns what `closure` (run first) gives."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            grads: list[Array] = []
            for p in group["params"]:
                g = p._grad
                if g.__class__ is ndarray:  # as backward() leaves it
                    grads.append(g)
                elif g is not None:
                    grads.append(g._array)
                else:
                    self._step_some(group)
                    break
            else:
                self._step_all(group, grads)
        return loss

    def _step_all(self, group: Group, grads: list[Array]) -> None:
        """A step in which every parameter has a gradient: its plan is kept."""
        params = group["params"]
        held = self._plans.get(id(group))
        if held is None or not self._holds(*held, params):
            held = self._plans[id(group)] = (list(params), self._plan(params, group))
        plan = held[1]
        if len(plan) == 1:
            self._run(plan[0], grads, group)
        else:
            self._run_each(plan, dict(zip(params, grads, strict=True)), group)

    def _holds(self, planned: list[Tensor], plan: list[Batch], params: list[Tensor]) -> bool:
        """Whether a plan is still of these parameters and this state: users edit both."""
        return (
            len(planned) == len(params)
            and all(map(is_, planned, params))
            and (not plan or self.state.get(planned[0]) is plan[0].states[0])
        )

    def _step_some(self, group: Group) -> None:
        """A step in which some parameters have no gradient: they and their state stay."""
        self._plans.pop(id(group), None)  # steps differ from now on
        grads = {p: p.grad._array for p in group["params"] if p.grad is not None}
        self._run_each(self._plan(list(grads), group), grads, group)

    def _run_each(self, plan: list[Batch], grads: dict[Tensor, Array], group: Group) -> None:
        for batch in plan:
            self._run(batch, [grads[p] for p in batch.params], group)

    def _plan(self, params: list[Tensor], group: Group) -> list[Batch]:
        """The engine calls that a step over `params` takes."""
        batches: dict[tuple[dtypes.DType, int], Batch] = {}
        for p in params:
            state = self.state.setdefault(p, {})
            key = (p.dtype, state.get("step", 0))
            batch = batches.setdefault(key, Batch([], [], key[1]))
            batch.params.append(p)
            batch.states.append(state)
        for batch in batches.values():
            batch.slots = [self._slot(batch, name) for name in self._slots(group)]
        return list(batches.values())

    def _slots(self, group: Group) -> tuple[str, ...]:
        """The kinds of state that a group's parameters have: arrays of their shape."""
        raise NotImplementedError

    def _slot(self, batch: Batch, name: str) -> list[Array]:
        """The arrays of one kind of state; zeros where a parameter has none yet.

        A bfloat16 parameter's are float32: its small updates would vanish in eight bits.
        """
        arrays = []
        for p, state in zip(batch.params, batch.states, strict=True):
            if name not in state:
                wide = dtypes.float32 if p.dtype == dtypes.bfloat16 else p.dtype
                state[name] = fresh(np.zeros_like(p._array, dtype=wide))
            arrays.append(state[name]._array)
        return arrays

    def _run(self, batch: Batch, grads: list[Array], group: Group) -> None:
        arrays = [p._array for p in batch.params]
        if arrays[0].dtype.kind == "f":
            batch.step += 1
            self._update(batch, arrays, grads, group)
        else:
            wide = [ops.widen(a) for a in arrays]
            batch.step += 1
            self._update(batch, wide, [ops.widen(g) for g in grads], group)
            for a, w in zip(arrays, wide, strict=True):
                a[...] = ops.narrow(w)
        now, step = next_time(), batch.step
        for p in batch.params:
            p._storage.version = now
        for state in batch.states:
            state["step"] = step

    def _update(self, batch: Batch, params: list[Array], grads: list[Array], group: Group) -> None:
        """One engine call: writes `params` and the batch's slots."""
        raise NotImplementedError

    # --- state ---

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: ...}, "param_groups": [...]}: parameters stand as their indices."""
        index: dict[Tensor, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                index.setdefault(p, len(index))
            groups.append({**group, "params": [index[p] for p in group["params"]]})
        state = {index[p]: dict(held) for p, held in self.state.items() if held}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state of state_dict(), copied. ValueError where groups or shapes differ."""
        groups = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in groups]
        own_sizes = [len(group["params"]) for group in self.param_groups]
        if sizes != own_sizes:
            raise error(
                ValueError, f"{type(self).__name__}.load_state_dict", f"groups of {own_sizes}",
                f"groups of {sizes}", "build the optimiser over the same parameters",
            )  # fmt: skip
        by_index: dict[Any, Tensor] = {}
        for saved, group in zip(groups, self.param_groups, strict=True):
            by_index.update(zip(saved["params"], group["params"], strict=True))
        state: dict[Tensor, dict[str, Any]] = {}
        for i, held in state_dict["state"].items():
            p = by_index[i]
            state[p] = {name: self._loaded(name, value, p) for name, value in held.items()}
        for saved, group in zip(groups, self.param_groups, strict=True):
            group.update({k: v for k, v in saved.items() if k != "params"})
        self.state = state
        self._plans.clear()

    def _loaded(self, name: str, value: Any, p: Tensor) -> Any:
        if name == "step" or value is None:
            return None if value is None else int(value)
        array = value._array if isinstance(value, Tensor) else np.asarray(value)
        if array.shape != p.shape:
            raise error(
                ValueError, f"{type(self).__name__}.load_state_dict", f"{name} {p.shape}",
                array.shape, "build the optimiser over the same parameters",
            )  # fmt: skip
        wide = dtypes.float32 if p.dtype == dtypes.bfloat16 else p.dtype
        return fresh(np.array(array, wide))


def check_range(op: str, name: str, value: float, low: float, below: float = float("inf")) -> None:
    """ValueError where a hyperparameter is outside [low, below)."""
    if not low <= value < below:
        limit = f"{name} >= {low:g}" if below == float("inf") else f"{name} in [{low:g}, {below:g})"
        raise error(ValueError, op, limit, value, "choose one in range")
