"""Files of torch.save: pickles that are read without running anything.

A pickle is a program. This reader runs it with a handful of functions that make tensors and
ordered dicts, and refuses every other name before it is looked up.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from tilework import dtypes
from tilework.devices import CPU, Device
from tilework.errors import error
from tilework.io.files import StrPath
from tilework.tensor import Tensor, fresh

ZIP, PICKLE = b"PK\x03\x04", b"\x80\x02"  # how files begin, since torch 1.6 and before
# The storages that a file may name. Those that have no tensors here are widened.
STORAGES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_WIDENED = {np.dtype(np.float16): np.float32, np.dtype(np.int16): np.int32,
            np.dtype(np.int8): np.int32}  # fmt: skip
# The names of torch's dtypes that may stand in a tree.
_DTYPES = {
    **{name: getattr(dtypes, name) for name in
       ("float64", "float32", "bfloat16", "int64", "int32", "uint8")},
    "double": dtypes.float64, "float": dtypes.float32, "long": dtypes.int64, "int": dtypes.int32,
    "bool": dtypes.bool,
}  # fmt: skip
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LEGACY_HEADS = 3  # magic number, protocol, what wrote it


def widened(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What has no tensors here in the dtype that holds it; anything else as it is."""
    return array.astype(_WIDENED.get(array.dtype, array.dtype), copy=False)


class _Refused(Exception):
    """What the file asks for is not allowed."""

    def __init__(self, what: str, fix: str = "save model.state_dict() there") -> None:
        super().__init__(what)
        self.fix = fix


class _Storage:
    """A run of numbers, which may not have been read yet."""

    __slots__ = ("dtype", "goes_to", "length", "numbers", "was_on")

    def __init__(self, dtype: np.dtype[Any], was_on: str, length: int) -> None:
        self.dtype, self.length = dtype, length
        self.numbers: np.ndarray[Any, Any] | None = None
        self.was_on = was_on
        self.goes_to: Device = CPU

    def tensor(self) -> Tensor:
        """All of its numbers."""
        assert self.numbers is not None
        return fresh(widened(self.numbers))


class _Rebuilt:
    """A tensor that is made of its storage once all are read."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
        if not isinstance(storage, _Storage):
            raise _Refused(f"a tensor of a {type(storage).__name__}")
        self.storage, self.offset = storage, int(offset)
        self.shape, self.strides = tuple(map(int, shape)), tuple(map(int, strides))
        if len(self.shape) != len(self.strides) or min(self.shape + self.strides, default=0) < 0:
            raise _Refused(f"a tensor of shape {self.shape} and strides {self.strides}")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if self.offset < 0 or (0 not in self.shape and last >= storage.length):
            raise _Refused(f"a tensor beyond its storage of {storage.length} numbers")

    def tensor(self) -> Tensor:
        numbers = self.storage.numbers
        assert numbers is not None
        size = numbers.itemsize
        strides = tuple(s * size for s in self.strides)
        data = numbers.view(np.uint8).data  # bfloat16 has no buffer of its own
        view = np.ndarray(self.shape, numbers.dtype, data, self.offset * size, strides)
        made = fresh(widened(view) if view.dtype in _WIDENED else view.copy(order="K"))
        return made.to(device=self.storage.goes_to)


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Rebuilt:
    return _Rebuilt(storage, offset, shape, strides)


def _parameter(data: Any, *rest: Any) -> Any:
    return data


def _bytes(text: str, encoding: str) -> bytes:
    """How bytes stand in a pickle of this age."""
    if encoding != "latin1":
        raise _Refused(f"text in {encoding}")
    return text.encode("latin1")


def _byte_array(data: Any = b"") -> bytearray:
    """Of bytes alone: of a number it would have that size."""
    if not isinstance(data, bytes):
        raise _Refused(f"a bytearray of a {type(data).__name__}")
    return bytearray(data)


class _Name:
    """A class of torch whose name alone matters."""

    def __init__(self, name: str) -> None:
        self.name = name


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    **{
        (module, kind.__name__): kind
        for module in ("__builtin__", "builtins")
        for kind in (set, frozenset, complex)
    },
    **{(module, "bytearray"): _byte_array for module in ("__builtin__", "builtins")},
    ("_codecs", "encode"): _bytes,
    ("collections", "Counter"): Counter,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch", "device"): lambda *name: ":".join(map(str, name)),
    ("torch._utils", "_rebuild_tensor"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


_StorageOf = Callable[[np.dtype[Any], str, str, int], _Storage]  # dtype, key, device, length
Place = Callable[[Tensor, str], Device]  # a storage's numbers and device -> where they are to be


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, storage_of: _StorageOf):
        super().__init__(file, encoding="utf-8")
        self._storage_of = storage_of

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _Name(name)
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch" and name.endswith("Storage"):
            raise _Refused(f"a {name}", "convert the tensor to float32 or int64 there")
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        kind, named, key, device, length, *_ = pid
        if kind != "storage" or not isinstance(named, _Name):
            raise _Refused(f"a persistent {kind!r}")
        return self._storage_of(np.dtype(STORAGES[named.name]), str(key), str(device), int(length))


def read_pickled(path: StrPath | BinaryIO, place: Place | None = None) -> Any:
    """What torch.save wrote: tensors in dicts, lists and tuples, with numbers and text; of a path,
    or of a file that is open to be read. On the CPU where `place` does not say where each storage
    goes.

    ValueError where the file is damaged, or names anything else: a module, saved whole, needs its
    class, which this never looks up.
    """
    with _told(path):
        tree, storages = _read(path)
    if place is not None:
        for storage in storages:
            storage.goes_to = place(storage.tensor(), storage.was_on)
    with _told(path):
        return _with_tensors(tree, {})


@contextmanager
def _told(path: StrPath | BinaryIO) -> Iterator[None]:
    """Says of whatever fails that it is the file's fault."""
    try:
        yield
    except _Refused as reason:
        raise error(
            ValueError, "io.load", "tensors, numbers and text in plain containers",
            f"{reason} in {path}", reason.fix,
        ) from reason  # fmt: skip
    except Exception as reason:  # a pickle may fail anywhere
        raise error(
            ValueError, "io.load", "a whole file of torch.save", f"{path} ({reason!r})",
            "copy or save it again",
        ) from reason  # fmt: skip


def _read(path: StrPath | BinaryIO) -> tuple[Any, list[_Storage]]:
    """The tree, whose tensors are to be made, and the storages that they are of."""
    storages: dict[str, _Storage] = {}
    with _opened(path) as file:
        start = file.tell()
        begins = file.read(len(ZIP))
        file.seek(start)
        tree = (_read_zip if begins == ZIP else _read_legacy)(file, storages)
    return tree, list(storages.values())


def _opened(path: Any) -> AbstractContextManager[BinaryIO]:
    """A file by its path, or one that is open, and stays so."""
    return nullcontext(path) if hasattr(path, "read") else open(path, "rb")


def _read_zip(file: BinaryIO, storages: dict[str, _Storage]) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        (program,) = (name for name in names if name.endswith("/data.pkl"))
        folder = program.removesuffix("data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise _Refused("compressed data")  # torch writes none; it may unpack to any size
        order = "little"
        if folder + "byteorder" in names:
            order = archive.read(folder + "byteorder").decode()

        def storage_of(dtype: np.dtype[Any], key: str, device: str, length: int) -> _Storage:
            if key not in storages:
                storage = storages[key] = _Storage(dtype, device, length)
                storage.numbers = _numbers(archive.read(f"{folder}data/{key}"), storage, order)
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(program)), storage_of).load()


def _read_legacy(file: BinaryIO, storages: dict[str, _Storage]) -> Any:
    """Three pickles before the tree; then the storages' keys, and each one's length and numbers."""

    def storage_of(dtype: np.dtype[Any], key: str, device: str, length: int) -> _Storage:
        return storages.setdefault(key, _Storage(dtype, device, length))

    magic, protocol, written_by = (
        _Unpickler(file, storage_of).load() for _ in range(_LEGACY_HEADS)
    )
    if magic != _MAGIC or protocol != _PROTOCOL:
        raise _Refused("a pickle of something else")
    tree = _Unpickler(file, storage_of).load()
    order = "little" if written_by["little_endian"] else "big"
    for key in _Unpickler(file, storage_of).load():
        storage = storages[key]
        (length,) = struct.unpack("<q" if order == "little" else ">q", file.read(8))
        if length != storage.length:
            raise ValueError(f"a storage of {length} numbers")
        storage.numbers = _numbers(file.read(length * storage.dtype.itemsize), storage, order)
    return tree


def _numbers(data: bytes, storage: _Storage, order: str) -> np.ndarray[Any, Any]:
    if len(data) != storage.length * storage.dtype.itemsize:
        raise ValueError(f"{len(data)} bytes for {storage.length} of {storage.dtype}")
    numbers = np.frombuffer(bytearray(data), storage.dtype)
    return numbers.byteswap() if order == "big" else numbers


def _with_tensors(tree: Any, made: dict[int, Any]) -> Any:
    """The tree with its tensors; what stands in it twice is made once."""
    if id(tree) in made:
        return made[id(tree)]
    if isinstance(tree, (_Rebuilt, Mapping, list, tuple, set, frozenset)):
        made[id(tree)] = found = _made(tree, made)
        return found
    if isinstance(tree, (_Storage, _Name)):
        raise _Refused("a storage by itself")
    return tree


def _made(tree: Any, made: dict[int, Any]) -> Any:
    if isinstance(tree, _Rebuilt):
        return tree.tensor()
    if isinstance(tree, Mapping):
        return {key: _with_tensors(value, made) for key, value in tree.items()}
    return type(tree)(_with_tensors(value, made) for value in tree)
