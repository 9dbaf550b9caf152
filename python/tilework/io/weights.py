"""Weights in safetensors files, written so that a crash leaves the old file whole.

The file's metadata has a checksum of all that is in it, which other readers pass over.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from tilework.devices import CPU, moved
from tilework.errors import error
from tilework.io.files import StrPath, replacing
from tilework.io.pickled import PICKLE, ZIP, Place, read_pickled, widened
from tilework.tensor import Tensor, fresh

# safetensors' names; its own NumPy reader has no bfloat16.
_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_READ = {**_DTYPES, "F16": np.dtype(np.float16), "I16": np.dtype(np.int16), "I8": np.dtype(np.int8)}
_METADATA = "__metadata__"
# Two entries: where a flipped bit has renamed one of them, the other is left alone.
_CRC, _FORMAT = "tilework.crc32", "tilework.format"
_VERSION = "1"
_UNKNOWN = "00000000"  # the checksum's place while the data are written
_LARGEST_HEADER = 100_000_000  # safetensors reads no longer one
_CHUNK = 1 << 20  # bytes: what is read is still in the cache when its checksum is taken


def save(
    state_dict: Mapping[str, Any], path: StrPath, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a state_dict (names to tensors or arrays) to a safetensors file.

    Strided tensors (transposed, channels-last) are written in C order. The file is written beside
    `path`, synced and renamed: at any time `path` is the old file or the new one, whole.
    TypeError where it is no dict, where a value is no tensor or of a dtype that tilework does not
    read back, or a name is no string; ValueError where a name is none that the format has; OSError
    as the system gives it (a full disk). Nothing has been replaced then.

    >>> import tilework as tw
    >>> folder = getfixture("tmp_path")
    >>> save({"weight": tw.ones(2, 3)}, folder / "w.safetensors")
    >>> load(folder / "w.safetensors")["weight"].shape
    (2, 3)
    """
    if not isinstance(state_dict, Mapping):
        raise error(
            TypeError, "io.save", "names to tensors", type(state_dict).__name__,
            "pass model.state_dict(); tw.save writes other trees",
        )  # fmt: skip
    arrays = {_name(name): _array(name, value) for name, value in state_dict.items()}
    texts = {_name(key): _text(value) for key, value in (metadata or {}).items()}
    for reserved in (_CRC, _FORMAT):
        if reserved in texts:
            raise error(ValueError, "io.save", "other metadata", reserved, "rename the entry")
    # The widest elements first: each tensor is then aligned in the file.
    ordered = dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))
    entries = _entries(ordered)
    if len(_header(entries, texts, _UNKNOWN)) > _LARGEST_HEADER:
        raise error(
            ValueError, "io.save", f"names and metadata of {_LARGEST_HEADER} bytes at most",
            "more", "keep large things in tensors",
        )  # fmt: skip
    with replacing(path, "io.save") as file:
        file.write(_header(entries, texts, _UNKNOWN))
        crc = _seed(entries, texts)
        for array in ordered.values():
            # C order, made one tensor at a time.
            for chunk in _chunks(np.asarray(array, order="C")):
                crc = zlib.crc32(chunk, crc)
                file.write(chunk)
        file.seek(0)
        file.write(_header(entries, texts, f"{crc:08x}"))


def load(path: StrPath | BinaryIO) -> Any:
    """Reads a safetensors file as a dict of tensors, or what torch.save wrote (.pt, .pth, .bin):
    of a path, or for torch.save's of a file that is open to be read.

    Float16 becomes float32, int8 and int16 int32. A file of torch.save, the zip form and the one
    before torch 1.6, gives its tensors, numbers and text in its dicts, lists and tuples, on the CPU
    wherever they were. Nothing in it is run: ValueError where it names a class or a function (a
    module saved whole).

    ValueError where the file is damaged: where its parts do not fit together, or are not those of
    the checksum that save() has written.

    >>> folder = getfixture("tmp_path")
    >>> save({"bias": fresh(np.zeros(3))}, folder / "w.safetensors")
    >>> load(folder / "w.safetensors")
    {'bias': tensor([0., 0., 0.], dtype=float64)}
    """
    return load_to(path, None)


def load_to(path: StrPath | BinaryIO, place: Place | None) -> Any:
    """load(), with tensors where `place` says; safetensors files know of no device but the CPU."""
    if hasattr(path, "read"):
        return read_pickled(path, place)
    with open(path, "rb") as file:
        begins = file.read(4)
    if begins.startswith((ZIP, PICKLE)):
        return read_pickled(path, place)
    found = load_with_metadata(path)[0]
    return found if place is None else {k: x.to(place(x, "cpu")) for k, x in found.items()}


def load_with_metadata(path: StrPath) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a safetensors file: its tensors, and its text metadata."""
    tensors, metadata, _ = read(path)
    return tensors, metadata


def read(path: StrPath) -> tuple[dict[str, Tensor], dict[str, str], bool]:
    """The tensors and metadata of a file, and whether a checksum stands for them.

    Each tensor is read into its own array: nothing else takes room.
    """
    with open(path, "rb") as file:
        entries, metadata, start = _read_header(path, file)
        crc, known = metadata.pop(_CRC, None), metadata.pop(_FORMAT, None)
        if known != (None if crc is None else _VERSION):
            raise _damaged(path, f"the checksum {crc} in format {known}")
        found = _seed(entries, metadata)
        file.seek(start)
        tensors = {}
        for name, entry in entries.items():
            array = np.empty(entry["shape"], _READ[entry["dtype"]])
            for chunk in _chunks(array):
                if file.readinto(chunk) != len(chunk):
                    raise _damaged(path, "a file cut short")
                if crc is not None:
                    found = zlib.crc32(chunk, found)
            tensors[name] = fresh(widened(array))
    if crc is not None and crc != f"{found:08x}":
        raise _damaged(path, f"the checksum {found:08x} where {crc} is written")
    return tensors, metadata, crc is not None


def _damaged(path: StrPath, reason: object) -> ValueError:
    return error(
        ValueError, "io.load", "a whole safetensors file", f"{path} ({reason})",
        "copy or save it again",
    )  # fmt: skip


# --- the header: its length in eight bytes, then JSON ---


def _entries(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, dict[str, Any]]:
    entries = {}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        entries[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    return entries


def _header(entries: Mapping[str, Any], metadata: Mapping[str, str], crc: str) -> bytes:
    marked = {**metadata, _FORMAT: _VERSION, _CRC: crc}
    text = json.dumps(
        {_METADATA: marked, **entries}, separators=(",", ":"), ensure_ascii=False
    ).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _seed(entries: Mapping[str, Any], metadata: Mapping[str, str]) -> int:
    """The checksum of all but the data, which it goes on with in the order of the entries."""
    parts = [[n, e["dtype"], list(e["shape"]), *e["data_offsets"]] for n, e in entries.items()]
    return zlib.crc32(json.dumps([parts, sorted(metadata.items())]).encode())


def _read_header(
    path: StrPath, file: BinaryIO
) -> tuple[dict[str, dict[str, Any]], dict[str, str], int]:
    """The entries in the data's order, the metadata, and where the data start."""
    import safetensors

    try:
        with safetensors.safe_open(Path(path), "numpy"):  # checks that all parts fit together
            pass
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        metadata = dict(header.pop(_METADATA, None) or {})
    except (safetensors.SafetensorError, ValueError, OSError) as reason:
        raise _damaged(path, reason) from reason
    for name, entry in header.items():
        if entry["dtype"] not in _READ:
            raise error(
                ValueError, "io.load", f"dtypes among {', '.join(_READ)}",
                f"{entry['dtype']} for {name!r} in {path}", "convert the file first",
            )  # fmt: skip
    ordered = dict(sorted(header.items(), key=lambda item: (*item[1]["data_offsets"], item[0])))
    return ordered, metadata, 8 + length


# --- what goes in ---


def _chunks(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    """The bytes of a C-contiguous array, some at a time."""
    flat = array.reshape(-1).view(np.uint8).data
    for start in range(0, len(flat), _CHUNK):
        yield flat[start : start + _CHUNK]


def _array(name: Any, value: Any) -> np.ndarray[Any, Any]:
    array = moved(value._array, CPU) if isinstance(value, Tensor) else value
    if not isinstance(array, np.ndarray) or array.dtype not in _NAMES:
        raise error(
            TypeError, "io.save", "tensors of a dtype that tilework has",
            f"{getattr(array, 'dtype', type(array).__name__)} for {name!r}", "convert it first",
        )  # fmt: skip
    return array


def _name(name: Any) -> str:
    text = _text(name)
    if text == _METADATA:
        raise error(ValueError, "io.save", "other names", repr(text), "rename the tensor")
    return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise error(
            TypeError, "io.save", "names and metadata that are strings", repr(value),
            "convert it with str(...)",
        )  # fmt: skip
    try:
        value.encode()
    except UnicodeEncodeError:
        raise error(
            ValueError, "io.save", "names and metadata in Unicode", ascii(value),
            "leave lone surrogates out",
        ) from None  # fmt: skip
    return value
