"""Mixed precision by PyTorch's names: autocast, and the scaling of losses."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar

from tilework import autocasting, dtypes
from tilework.autograd import no_grad
from tilework.errors import error, word
from tilework.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])

__all__ = [
    "GradScaler", "autocast", "get_autocast_dtype", "is_autocast_available", "is_autocast_enabled",
]  # fmt: skip

_KINDS = ("cpu", "cuda")


def _kind(op: str, device_type: Any) -> str:
    if device_type not in _KINDS:
        raise error(RuntimeError, op, "'cpu' or 'cuda'", word(device_type), "name one of them")
    return str(device_type)


class autocast:
    """While it is entered, products of float32 tensors are computed and given in bfloat16: linear
    layers, matmul and its like, convolutions, attention, recurrent layers. Losses, prod, cdist and
    quantile take and give float32; all else keeps the dtype it is given, as in PyTorch. For this
    thread; a context manager and a decorator.

    `device_type` "cpu" or "cuda", whose tensors it is about. `dtype` is bfloat16; another one is a
    warning, and nothing is changed. `enabled=False` turns it off within. `cache_enabled` keeps what
    weights become without gradients until the end. RuntimeError on another kind of device.

    >>> layer = nn.Linear(2, 3)
    >>> with tw.autocast("cpu", dtype=tw.bfloat16):
    ...     layer(tw.ones(1, 2)).dtype == tw.bfloat16
    True
    """

    def __init__(
        self,
        device_type: str,
        dtype: Any = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        self.device = _kind("autocast", device_type)
        wanted = dtypes.bfloat16 if dtype is None else dtypes.check(dtype, "autocast")
        if enabled and wanted is not dtypes.bfloat16:
            warnings.warn(
                f"[autocast] expected bfloat16; got {wanted}: nothing is converted", stacklevel=2
            )
            enabled = False
        self._dtype = wanted if enabled else None
        self._caches = cache_enabled
        self._before: list[tuple[Any, bool]] = []

    def __enter__(self) -> autocast:
        state = autocasting.state
        self._before.append((state.dtypes.get(self.device), state.caches))
        self._set(self._dtype)
        if self._caches is not None:
            state.caches = self._caches
        autocasting.count(1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        reason: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        autocasting.count(-1)
        dtype, autocasting.state.caches = self._before.pop()
        self._set(dtype)
        if not autocasting.state.dtypes:
            autocasting.state.weights.clear()

    def _set(self, dtype: Any) -> None:
        if dtype is None:
            autocasting.state.dtypes.pop(self.device, None)
        else:
            autocasting.state.dtypes[self.device] = dtype

    def __call__(self, function: F) -> F:
        @wraps(function)
        def called(*args: Any, **options: Any) -> Any:
            with self:
                return function(*args, **options)

        return called  # type: ignore[return-value]


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is entered for a kind of device.

    >>> tw.is_autocast_enabled("cpu")
    False
    """
    return _kind("is_autocast_enabled", device_type) in autocasting.state.dtypes


def get_autocast_dtype(device_type: str) -> dtypes.DType:
    """What float32 becomes under autocast: bfloat16.

    >>> tw.get_autocast_dtype("cpu") == tw.bfloat16
    True
    """
    _kind("get_autocast_dtype", device_type)
    return dtypes.bfloat16


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast knows a kind of device.

    >>> tw.amp.is_autocast_available("cpu"), tw.amp.is_autocast_available("tpu")
    (True, False)
    """
    return device_type in _KINDS


class GradScaler:
    """Scales losses so that small gradients stay above the least number, and steps only where no
    gradient is infinite or NaN; the scale grows while all goes well, and falls where it did not.

    bfloat16 has float32's range and needs none of it: programs written for float16 run as they are.
    With `enabled=False` every call passes through.

    >>> layer = nn.Linear(2, 1)
    >>> optimizer, scaler = optim.SGD(layer.parameters(), lr=0.1), tw.amp.GradScaler("cpu")
    >>> scaler.scale(layer(tw.ones(1, 2)).sum()).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> scaler.get_scale()
    65536.0
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        _kind("GradScaler", device)
        if not (growth_factor > 1.0 and 0.0 < backoff_factor < 1.0):
            raise error(
                ValueError, "GradScaler", "growth_factor above 1 and backoff_factor below",
                (growth_factor, backoff_factor), "give one of each",
            )  # fmt: skip
        self._enabled = enabled
        self._scale = float(init_scale)
        self._growth, self._backoff, self._interval = growth_factor, backoff_factor, growth_interval
        self._good = 0  # steps since the scale changed
        self._bad = False  # whether a gradient of this step is not finite
        self._unscaled: dict[int, bool] = {}  # by optimiser: whether its gradients are not finite
        self._stepped: set[int] = set()

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """What losses are multiplied by."""
        return self._scale if self._enabled else 1.0

    def scale(self, outputs: Any) -> Any:
        """A loss, or a list or tuple of them, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        return type(outputs)(self.scale(x) for x in outputs)

    def unscale_(self, optimizer: Any) -> None:
        """Divides the optimiser's gradients by the scale, once a step: before they are clipped.
        RuntimeError where they are divided, or stepped, already."""
        if not self._enabled:
            return
        if id(optimizer) in self._unscaled or id(optimizer) in self._stepped:
            raise error(
                RuntimeError, "unscale_", "gradients that are scaled", "unscaled ones",
                "call update() once the step is done",
            )  # fmt: skip
        bad = False
        with no_grad():
            for p in (p for group in optimizer.param_groups for p in group["params"]):
                if p.grad is not None:
                    p.grad.mul_(1.0 / self._scale)
                    bad = bad or not bool(p.grad.isfinite().all())
        self._unscaled[id(optimizer)] = bad
        self._bad = self._bad or bad

    def step(self, optimizer: Any, *args: Any, **options: Any) -> Any:
        """optimizer.step(), unless a gradient is infinite or NaN."""
        if not self._enabled:
            return optimizer.step(*args, **options)
        if id(optimizer) in self._stepped:
            raise error(
                RuntimeError, "step", "one step before update()", "two", "call update() between"
            )
        if id(optimizer) not in self._unscaled:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        return None if self._unscaled[id(optimizer)] else optimizer.step(*args, **options)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Ends a step: the scale falls if a gradient was not finite, and grows after
        `growth_interval` steps without one; or it is `new_scale`. RuntimeError before any step."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._unscaled:
            raise error(
                RuntimeError, "update", "a step before", "none", "call step(optimizer) before it"
            )
        elif self._bad:
            self._scale, self._good = self._scale * self._backoff, 0
        else:
            self._good += 1
            if self._good == self._interval:
                self._scale, self._good = self._scale * self._growth, 0
        self._bad, self._unscaled, self._stepped = False, {}, set()

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors and the count of good steps; empty where it is not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth, "backoff_factor": self._backoff,
            "growth_interval": self._interval, "_growth_tracker": self._good,
        }  # fmt: skip

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state_dict. RuntimeError on an empty one, where it is enabled."""
        if not self._enabled:
            return
        if not state_dict:
            raise error(
                RuntimeError, "load_state_dict", "an enabled scaler's state", "an empty one",
                "save it with enabled=True",
            )  # fmt: skip
        self._scale = float(state_dict["scale"])
        self._growth, self._backoff = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._interval, self._good = state_dict["growth_interval"], state_dict["_growth_tracker"]
