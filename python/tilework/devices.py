"""Where tensors live: PyTorch's `device`, of which this build has the CPU alone."""

from __future__ import annotations

from typing import Any

from tilework.errors import error, word

_TYPES = ("cpu", "cuda")
_HERE = "this build computes on the CPU alone: leave device out, or pass 'cpu'"


class device:
    """A kind of device and, where one of several is meant, its number: `tilework.device("cpu")`.

    Naming a device does not say that it is here; making a tensor on it does. As in PyTorch a device
    equals no string: compare `x.device.type == "cpu"`. RuntimeError on a name that is none.

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
                RuntimeError, "device", "'cpu' or 'cuda', and a number once", word(type), _HERE
            )
        if colon:
            index = int(number)
        if index is not None and (not isinstance(index, int) or index < 0):
            raise error(RuntimeError, "device", "a number of at least 0", index, _HERE)
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


CPU = device("cpu")  # every tensor's: as in PyTorch without a number
Device = device | str | int | None  # what an argument `device` may be; None: the CPU


def names_device(value: Any) -> bool:
    """Whether an argument of to() names a device, and no dtype or tensor."""
    if isinstance(value, str):
        return value.partition(":")[0] in _TYPES
    return isinstance(value, device) or (isinstance(value, int) and not isinstance(value, bool))


def no_cuda(wanted: Any) -> ValueError:
    """For `raise`: what x.cuda() and module.cuda() come to."""
    got = "cuda" if wanted is None else wanted
    return error(ValueError, "cuda", 'device "cpu"', word(got), _HERE)


def check_device(op: str, wanted: Any) -> None:
    """ValueError where `wanted`, an argument `device`, is none that this build has."""
    if wanted is None or wanted is CPU or (isinstance(wanted, str) and wanted == "cpu"):
        return
    try:
        kind = device(wanted).type
    except (RuntimeError, TypeError):
        kind = ""
    if kind != "cpu":
        raise error(ValueError, op, 'device "cpu"', word(wanted), _HERE)
