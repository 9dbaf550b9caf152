"""Weights in safetensors files, written so that a crash leaves the old file whole."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tilework.errors import error
from tilework.tensor import Tensor, fresh

StrPath = str | os.PathLike[str]

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


def save(
    state_dict: Mapping[str, Any], path: StrPath, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a state_dict (names to tensors or arrays) to a safetensors file.

    Strided tensors (transposed, channels-last) are written in C order. The file is written beside
    `path`, synced and renamed: at any time `path` is the old file or the new one, whole.
    TypeError where a value is no tensor or of a dtype that tilework does not read back.

    >>> import tilework as tw
    >>> folder = getfixture("tmp_path")
    >>> save({"weight": tw.ones(2, 3)}, folder / "w.safetensors")
    >>> load(folder / "w.safetensors")["weight"].shape
    (2, 3)
    """
    from safetensors.numpy import save_file

    # C order, because the writer takes the bytes from where the data starts and knows no strides.
    arrays = {
        name: np.asarray(_array(name, value), order="C") for name, value in state_dict.items()
    }
    path = Path(path)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        beside.touch(exist_ok=False)
        mode = beside.stat().st_mode  # as the umask has it: the writer's files are for the owner
        save_file(arrays, beside, metadata=dict(metadata or {}))
        beside.chmod(mode)
        _sync(beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync(path.parent)  # or the rename itself may be lost


def load(path: StrPath) -> dict[str, Tensor]:
    """Reads a safetensors file as a dict of tensors. ValueError where the file is damaged."""
    return load_with_metadata(path)[0]


def load_with_metadata(path: StrPath) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a safetensors file: its tensors, and its text metadata."""
    import safetensors

    deserialize: Any = safetensors.deserialize  # no release declares its types
    content = Path(path).read_bytes()
    try:
        entries = deserialize(content)
        metadata = _metadata(content)
    except (safetensors.SafetensorError, ValueError) as reason:
        raise error(
            ValueError, "io.load", "a whole safetensors file", f"{path} ({reason})",
            "copy or save it again",
        ) from reason  # fmt: skip
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise error(
                ValueError, "io.load", f"dtypes among {', '.join(_DTYPES)}",
                f"{entry['dtype']} for {name!r} in {path}", "convert the file first",
            )  # fmt: skip
        stored = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = fresh(stored.copy())  # aligned, writeable, and free of the file's bytes
    return tensors, metadata


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    array = value._array if isinstance(value, Tensor) else value
    if not isinstance(array, np.ndarray) or array.dtype not in _DTYPES.values():
        raise error(
            TypeError, "io.save", "tensors of a dtype that tilework has",
            f"{getattr(array, 'dtype', type(array).__name__)} for {name!r}", "convert it first",
        )  # fmt: skip
    return array


def _metadata(content: bytes) -> dict[str, str]:
    """The header's `__metadata__`; the header has been validated before."""
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length]).get("__metadata__") or {})


def _sync(path: StrPath) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
