"""What optimisers share: parameter groups, state, one engine call for all parameters of a step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.arrays import namespace, ndarray, writeable
from tilework.autograd import enable_grad
from tilework.devices import CPU, moved
from tilework.engines import device as beside
from tilework.engines import ops
from tilework.errors import error
from tilework.storage import next_time
from tilework.tensor import Tensor, fresh

Group = dict[str, Any]
Array = Any


def _refuse_frozen(params: Iterable[Tensor]) -> None:
    """ValueError on a read-only one: before a step of several engine calls begins, since one that
    fails on the way would leave the model half updated."""
    for p in params:
        if p._storage.frozen or not writeable(p._array):
            raise error(
                ValueError, "step", "writable parameters",
                f"a read-only one of shape {p._array.shape}",
                "leave frozen parameters out of the optimiser",
            )  # fmt: skip


class Batch:
    """Parameters that one engine call updates: of one dtype, and after as many steps."""

    __slots__ = ("grads", "made", "params", "slots", "states", "steps")

    def __init__(self, steps: int, slots: int) -> None:
        self.steps = steps
        self.params: list[Tensor] = []
        self.grads: list[Array] = []
        self.states: list[dict[str, Any]] = []
        self.slots: list[list[Array]] = [[] for _ in range(slots)]
        self.made: list[dict[str, Tensor]] = []  # state that is a state's only after the step


class Optimizer:
    """The base: a subclass says its kinds of state (`_slots`) and its engine call (`_update`).

    `state[p]` and `param_groups` are read at each step: what is written there counts on the next.
    """

    _counts = True  # whether `state[p]["step"]` counts the steps

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        if isinstance(params, Tensor):
            raise error(
                TypeError, type(self).__name__, "an iterable of parameters", "one Tensor",
                "put it in a list",
            )  # fmt: skip
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        given = list(params)
        if not given:
            raise error(ValueError, type(self).__name__, "parameters", "none", "pass some")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

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
            if set_to_none:
                for p in group["params"]:
                    p._grad = None
                continue
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = fresh(namespace(p._array).zeros_like(p._array))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters that have gradients; returns what `closure` (run first) gives."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        # A group's engine call checks its own, of the CPU's: a device's have no flag for that.
        if len(self.param_groups) > 1 or beside.provider is not None:
            for group in self.param_groups:
                _refuse_frozen(p for p in group["params"] if p._grad is not None)
        for group in self.param_groups:
            grads: list[Array] = []
            for p in group["params"]:
                g = p._grad
                if g.__class__ is ndarray:  # as backward() leaves it
                    grads.append(g)
                elif g is not None:
                    grads.append(g._array if isinstance(g, Tensor) else g)
                else:
                    self._step_some(group)
                    break
            else:
                if grads:
                    self._step_all(group["params"], grads, group)
        return loss

    def _step_all(self, params: list[Tensor], grads: list[Array], group: Group) -> None:
        """A step in which every parameter has a gradient: one engine call where all are alike."""
        try:
            slots, states, counts = self._gather(params, group)
            step = counts[0] + 1
            arrays = [p._array for p in params]
            alike = step.__class__ is int and counts.count(counts[0]) == len(counts)
            if alike and arrays[0].dtype.kind == "f":
                self._update(arrays, grads, slots, step, group)
                now = next_time()
                for p in params:
                    p._storage.version = now
                for state in states:
                    state["step"] = step
                return
        except (KeyError, AttributeError, TypeError, ValueError):
            pass  # state that is missing or of another kind; nothing has been written
        self._step_sorted(params, grads, group)

    def _step_some(self, group: Group) -> None:
        """A step in which some parameters have no gradient: they and their state stay."""
        params = [p for p in group["params"] if p._grad is not None]
        self._step_sorted(params, [p.grad._array for p in params], group)

    def _step_sorted(self, params: list[Tensor], grads: list[Array], group: Group) -> None:
        """An engine call for each dtype and number of steps; makes the state that is missing."""
        batches: dict[tuple[Any, int], Batch] = {}
        names = self._slots(group)
        for p, grad in zip(params, grads, strict=True):
            state = self.state.get(p)
            if state is None:
                state = self.state[p] = {}
            made: dict[str, Tensor] = {}
            arrays = [self._slot(name, state, p, made, group) for name in names]
            steps = int(state.get("step") or 0) if self._counts else int(not made)
            key = (p.dtype, steps)
            batch = batches.get(key)
            if batch is None:
                batch = batches[key] = Batch(steps, len(names))
            batch.params.append(p)
            batch.grads.append(grad)
            batch.states.append(state)
            batch.made.append(made)
            for slot, array in zip(batch.slots, arrays, strict=True):
                slot.append(array)
        for batch in batches.values():
            _refuse_frozen(batch.params)
        for batch in batches.values():
            self._run_batch(batch, group)

    def _run_batch(self, batch: Batch, group: Group) -> None:
        """bfloat16 parameters go through float32."""
        arrays, grads, step = [p._array for p in batch.params], batch.grads, batch.steps + 1
        if arrays[0].dtype.kind == "f":
            self._update(arrays, grads, batch.slots, step, group)
        else:
            wide = [ops.widen(a) for a in arrays]
            self._update(wide, [ops.widen(g) for g in grads], batch.slots, step, group)
            for a, w in zip(arrays, wide, strict=True):
                a[...] = ops.narrow(w)
        now = next_time()
        for p, state, made in zip(batch.params, batch.states, batch.made, strict=True):
            p._storage.version = now
            state.update(made)
            if self._counts:
                state["step"] = step

    def _gather(
        self, params: list[Tensor], group: Group
    ) -> tuple[list[list[Array]], Sequence[dict[str, Any]], list[int]]:
        """The arrays of each kind of state, the states and numbers of steps done to write back to.

        A loop of each optimiser's own, since a step of a small network is felt here. KeyError or
        AttributeError where something is missing.
        """
        raise NotImplementedError

    def _slots(self, group: Group) -> tuple[str, ...]:
        """The kinds of state that a group's parameters have: arrays of their shape."""
        raise NotImplementedError

    def _slot(
        self, name: str, state: dict[str, Any], p: Tensor, made: dict[str, Tensor], group: Group
    ) -> Array:
        """The array of one kind of state; zeros, noted in `made`, where there is none yet."""
        value = state.get(name)
        if value is None:
            made[name] = fresh(namespace(p._array).zeros_like(p._array, dtype=_wide(p)))
            return made[name]._array
        if not isinstance(value, Tensor) or not _fits(value._array, p):
            value = state[name] = self._loaded(name, value, p, "step")
        return value._array

    def _update(
        self, params: list[Array], grads: list[Array], slots: list[list[Array]], step: int,
        group: Group,
    ) -> None:  # fmt: skip
        """One engine call: writes `params` and `slots`, at their step number `step`, from 1 on.

        Where steps are not counted, 1 says that the slots are new.
        """
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
        """Takes over a state of state_dict(), copied. ValueError where groups or shapes differ.

        PyTorch's own states serve: steps that are tensors, momenta without a step.
        """
        op = "load_state_dict"
        groups = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in groups]
        own_sizes = [len(group["params"]) for group in self.param_groups]
        if sizes != own_sizes:
            raise error(
                ValueError, f"{type(self).__name__}.{op}", f"groups of {own_sizes}",
                f"groups of {sizes}", "build the optimiser over the same parameters",
            )  # fmt: skip
        by_index: dict[Any, Tensor] = {}
        for saved, group in zip(groups, self.param_groups, strict=True):
            by_index.update(zip(saved["params"], group["params"], strict=True))
        state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        for i, held in state_dict["state"].items():
            if i not in by_index:
                raise error(
                    ValueError, f"{type(self).__name__}.{op}", "state of parameters in a group",
                    f"state of {i!r}", "build the optimiser over the same parameters",
                )  # fmt: skip
            p = by_index[i]
            state[p] = {name: self._loaded(name, value, p, op) for name, value in held.items()}
        for saved, group in zip(groups, self.param_groups, strict=True):
            group.update({k: v for k, v in saved.items() if k != "params"})
        self.state = state

    def _loaded(self, name: str, value: Any, p: Tensor, op: str) -> Any:
        """A copy of one entry of a state: a step as a number, an array in the dtype of ours."""
        if value is None:
            return None
        if name == "step":
            return int(value)
        array = moved(value._array, CPU) if isinstance(value, Tensor) else np.asarray(value)
        if array.shape != p.shape:
            raise error(
                ValueError, f"{type(self).__name__}.{op}", f"{name} {p.shape}", array.shape,
                "build the optimiser over the same parameters",
            )  # fmt: skip
        return fresh(moved(np.array(array, _wide(p)), p.device))


def _fits(array: Array, p: Tensor) -> bool:
    """Whether an engine can keep a parameter's state in `array`."""
    return bool(array.shape == p.shape and array.dtype == _wide(p) and writeable(array))


def _wide(p: Tensor) -> dtypes.DType:
    """The dtype of a parameter's state.

    A bfloat16 parameter's is float32: its small updates would vanish in eight bits.
    """
    return dtypes.float32 if p.dtype == dtypes.bfloat16 else p.dtype


def take_hints(op: str, hints: Mapping[str, Any]) -> None:
    """Arguments of PyTorch's that choose how a step is computed, which is one way here: they are
    taken and change nothing. ValueError on a step to be differentiated, TypeError on others."""
    for name, value in hints.items():
        if name not in ("foreach", "fused", "capturable", "differentiable"):
            raise error(TypeError, op, "an argument that it has", name, "drop it")
        if name == "differentiable" and value:
            raise error(ValueError, op, "a step outside of the tape", "differentiable", "drop it")


def check_range(op: str, name: str, value: float, low: float, below: float = float("inf")) -> None:
    """ValueError where a hyperparameter is outside [low, below)."""
    if not low <= value < below:
        limit = f"{name} >= {low:g}" if below == float("inf") else f"{name} in [{low:g}, {below:g})"
        raise error(ValueError, op, limit, value, "choose one in range")
