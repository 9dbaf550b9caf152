"""Files as torch.save writes them: a zip of a pickle and of each tensor's numbers.

PyTorch reads them back (with weights_only, its default, too), and so does io.load. The pickle is
written with Python's own pickler, which lets names be written that are not imported here.
"""

from __future__ import annotations

import codecs
import io
import os
import pickle
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any, BinaryIO, ClassVar

import numpy as np

from tilework.arrays import address
from tilework.devices import CPU, moved
from tilework.errors import error
from tilework.io.files import StrPath, replacing
from tilework.io.pickled import STORAGES
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor, fresh

_STORAGES = {np.dtype(dtype): name for name, dtype in STORAGES.items()}
_PLAIN = (bool, int, float, str, bytes, type(None))
_HELD = (dict, list, tuple, OrderedDict, Counter)


class _Global:
    """A name of a module that need not be here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:  # what a pickle calls must look like it
        raise NotImplementedError


class _Stored:
    """A tensor's numbers, under the key of their record."""

    def __init__(self, dtype: np.dtype[Any], key: str, device: str, length: int) -> None:
        self.of = ("storage", _global("torch", _STORAGES[dtype]), key, device, length)


def _is_known(obj: Any) -> bool:
    """What a plain value's own pickling names: bytes are text that is encoded."""
    return obj is OrderedDict or obj is Counter or obj is codecs.encode


_made: dict[tuple[str, str], _Global] = {}


def _global(module: str, name: str) -> _Global:
    return _made.setdefault((module, name), _Global(module, name))


_InPython: Any = pickle._Pickler


class _Pickler(_InPython):  # type: ignore[misc]
    dispatch: ClassVar[dict[type, Any]] = dict(_InPython.dispatch)

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=2)
        self.records: dict[Any, tuple[str, np.ndarray[Any, Any]]] = {}  # key and numbers
        self._held: list[Any] = []

    def _write_global(self, found: _Global) -> None:
        self.write(pickle.GLOBAL + f"{found.module}\n{found.name}\n".encode())
        self.memoize(found)

    dispatch[_Global] = _write_global

    def persistent_id(self, obj: Any) -> Any:
        return obj.of if isinstance(obj, _Stored) else None

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in _PLAIN or kind in _HELD or kind is _Global or _is_known(obj):
            return NotImplemented
        if isinstance(obj, Tensor):
            return self._reduce_tensor(obj)
        raise error(
            TypeError, "save", "tensors, numbers and text in dicts, lists and tuples",
            kind.__name__, "save model.state_dict(), and a number's item()",
        )  # fmt: skip

    def _reduce_tensor(self, x: Tensor) -> Any:
        none: Any = OrderedDict()  # of hooks
        if isinstance(x, Parameter):
            inner = fresh(x._array)
            self._held.append(inner)  # the pickle's memo goes by addresses
            return _global("torch._utils", "_rebuild_parameter"), (inner, x.requires_grad, none)
        at = (address(x._array), x._array.shape, x._array.strides, x._array.dtype)
        if at not in self.records:
            numbers = np.asarray(moved(x._array, CPU), order="C")
            self.records[at] = str(len(self.records)), numbers
        key, array = self.records[at]
        strides = tuple(s // array.itemsize for s in array.strides)
        stored = _Stored(x.dtype, key, str(x.device), array.size)
        of = (stored, 0, tuple(x.shape), strides, False, none)
        return _global("torch._utils", "_rebuild_tensor_v2"), of


def save(obj: Any, f: StrPath | BinaryIO, **options: Any) -> None:
    """Writes tensors, numbers and text in dicts, lists and tuples to a file of torch.save's form: a
    path, or a file that is open to be written.

    torch.load reads it back, and tilework.load; strided tensors are written in C order, and one
    that stands in several places once. Each is written with its device's name, where load() brings
    it back. A path is replaced whole, as by io.save. PyTorch's other
    arguments (`pickle_module`, `pickle_protocol`) are taken and change nothing. TypeError on
    anything else: a module, a function, an array of NumPy's.

    >>> model, folder = nn.Linear(2, 3), getfixture("tmp_path")
    >>> tw.save({"model": model.state_dict(), "epoch": 3}, folder / "last.pt")
    >>> tw.load(folder / "last.pt")["epoch"]
    3
    """
    program = io.BytesIO()
    pickler = _Pickler(program)
    pickler.dump(obj)
    if hasattr(f, "write"):
        _write(f, "archive", program.getvalue(), pickler.records.values())
        return
    name = os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive"
    with replacing(f, "save") as file:
        _write(file, name, program.getvalue(), pickler.records.values())


def _write(
    file: Any, name: str, program: bytes, records: Iterable[tuple[str, np.ndarray[Any, Any]]]
) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(f"{name}/data.pkl", program)
        archive.writestr(f"{name}/byteorder", sys.byteorder)
        for key, array in records:
            with archive.open(f"{name}/data/{key}", "w", force_zip64=array.nbytes >= 2**31) as out:
                out.write(array.reshape(-1).view(np.uint8).data)
        archive.writestr(f"{name}/version", "3\n")
