"""Where tensors live: PyTorch's `device`, which ones are here, and the way from one to another."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

from tilework.arrays import host, ndarray
from tilework.engines import device as beside
from tilework.errors import error, word

_TYPES = ("cpu", "cuda")
_NAMES = "leave device out, or pass 'cpu' or 'cuda'"


class device:
    """A kind of device and, where one of several is meant, its number: `tilework.device("cpu")`.

    Naming a device does not say that it is here; making a tensor on it does. As in PyTorch a device
    equals no string: compare `x.device.type == "cpu"`. RuntimeError on a name that is none. `with`
    a device what is made without one is made there.

    >>> tw.ones(2).device
    device(type='cpu')
    >>> tw.ones(2).device == tw.device("cpu"), str(tw.device("cuda", 1))
    (True, 'cuda:1')
    """

    __slots__ = ("_index", "_type")
    _type: str
    _index: int | None

    def __new__(cls, type: Any, index: int | None = None) -> device:
        """`type`: "cpu" or "cuda", with or without a number ("cuda:1"); a device; or the number of
        a CUDA device."""
        if isinstance(type, device) and index is None:
            return type
        if isinstance(type, int) and not isinstance(type, bool) and index is None:
            type, index = "cuda", type
        if not isinstance(type, str):
            raise error(
                TypeError, "device", "'cpu', 'cuda' or a device", word(type), "give one of them"
            )
        kind, colon, number = type.partition(":")
        wrong = kind not in _TYPES or (colon and not (number.isdecimal() and index is None))
        if wrong:
            raise error(
                RuntimeError, "device", "'cpu' or 'cuda', and a number once", word(type), _NAMES
            )
        if colon:
            index = int(number)
        if index is not None and (not isinstance(index, int) or index < 0):
            raise error(RuntimeError, "device", "a number of at least 0", index, _NAMES)
        made = object.__new__(cls)
        object.__setattr__(made, "_type", kind)
        object.__setattr__(made, "_index", index)
        return made

    @property
    def type(self) -> str:
        """The kind: "cpu" or "cuda"."""
        return self._type

    @property
    def index(self) -> int | None:
        """The number among those of its kind; None where none is named."""
        return self._index

    def __setattr__(self, name: str, value: Any) -> None:
        raise error(
            AttributeError, "device", "a device as it is", f"{name} = {value!r}", "make another"
        )

    def __enter__(self) -> device:
        _entered.set((*_entered.get(), _default.set(self)))
        return self

    def __exit__(self, *_: object) -> None:
        *before, token = _entered.get()
        _default.reset(token)
        _entered.set(tuple(before))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, device):
            return NotImplemented
        return self._type == other._type and self._index == other._index

    def __hash__(self) -> int:
        return hash((self._type, self._index))

    def __reduce__(self) -> Any:
        return device, (self._type, self._index)

    def __str__(self) -> str:
        return self._type if self._index is None else f"{self._type}:{self._index}"

    def __repr__(self) -> str:
        number = "" if self._index is None else f", index={self._index}"
        return f"device(type={self._type!r}{number})"


CPU = device("cpu")  # the device of what NumPy holds: as in PyTorch without a number
CUDA = device("cuda", 0)  # of what the device's arrays hold
Device = device | str | int | None  # what an argument `device` may be; None: the default

_default: ContextVar[device] = ContextVar("default_device", default=CPU)
_entered: ContextVar[tuple[Token[device], ...]] = ContextVar("entered_devices", default=())


def set_default_device(device: Device) -> None:
    """What tensors are made on where no device is named: the CPU, until this is called. None: the
    CPU again. For this thread, as in PyTorch; from_numpy shares the CPU's memory all the same.

    RuntimeError on a name that is none, or a device that is not here.

    >>> tw.set_default_device("cpu")
    >>> tw.zeros(2).device
    device(type='cpu')
    """
    _default.set(CPU if device is None else resolved("set_default_device", device))


def get_default_device() -> device:
    """What tensors are made on where no device is named.

    >>> tw.get_default_device()
    device(type='cpu')
    """
    return _default.get()


def restored(op: str, where: str, fix: str) -> device:
    """The device that something was saved on, CPU or CUDA. RuntimeError, with a fix of the
    caller's, where it is not here."""
    try:
        return resolved(op, where)
    except RuntimeError as reason:
        from tilework.engines import found

        absent = where.startswith("cuda") and beside.provider is None
        got = (absent and found.missing().partition(": ")[0]) or "none such"
        raise error(RuntimeError, op, f"the device of a tensor of '{where}'", got, fix) from reason


def names_device(value: Any) -> bool:
    """Whether an argument of to() names a device, and no dtype or tensor."""
    if isinstance(value, str):
        return value.partition(":")[0] in _TYPES
    return isinstance(value, device) or (isinstance(value, int) and not isinstance(value, bool))


def device_of(array: Any) -> device:
    """Where an array lives."""
    return CPU if array.__class__ is ndarray else CUDA


def resolved(op: str, wanted: Any) -> device:
    """CPU or CUDA, by an argument `device`: None is the default. RuntimeError where it names none,
    or one that is not here, with what is missing."""
    if wanted is None:
        wanted = _default.get()
    if wanted is CPU or wanted == "cpu":
        return CPU
    try:
        named = device(wanted)
    except (RuntimeError, TypeError):
        raise error(RuntimeError, op, "'cpu' or 'cuda' for device", word(wanted), _NAMES) from None
    if named.type == "cpu" or wanted is CUDA:  # that of a tensor, which is there
        return CPU if named.type == "cpu" else CUDA
    here = beside.needed(op, f"'{named}'")
    if named.index is not None and named.index >= here.count():
        raise error(
            RuntimeError, op, f"a device below cuda:{here.count()}", f"'{named}'", "take cuda:0"
        )
    return CUDA


def namespace_on(at: device) -> Any:
    """The module whose functions make arrays on a device, CPU or CUDA."""
    return host if at is CPU else beside.needed("namespace", at).namespace


def moved(array: Any, to: device) -> Any:
    """An array on a device, CPU or CUDA: itself where it is there."""
    here = array.__class__ is ndarray
    if here == (to.type == "cpu"):
        return array
    served = beside.needed("to", to)
    if not here:
        return served.to_host(array)
    return served.to_device(array) if array.ndim else beside.number_on(served.namespace, array)


def moved_beside(array: Any, other: Any) -> Any:
    """An array on the device of another array."""
    return array if array.__class__ is other.__class__ else moved(array, device_of(other))
