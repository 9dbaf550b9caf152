"""Checkpoints: everything that a training run needs to go on, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tilework.errors import error
from tilework.io.files import StrPath
from tilework.io.weights import read, save
from tilework.tensor import Tensor

# The metadata entry that holds the tree. In JSON a list stands for itself, and an object with one
# of these keys for what JSON does not have: so nothing that a user writes can look like another.
_KEY = "tilework.checkpoint.2"
_TENSOR, _DICT, _PAIRS, _TUPLE = "tensor", "dict", "pairs", "tuple"
_DEPTH = 100  # the levels of a tree; a tree that contains itself has no end
_OLD_KEY = "tilework.checkpoint"  # of files without a checksum: see _decode_old


def save_checkpoint(path: StrPath, tree: Any) -> None:
    """Writes nested dicts, lists and tuples of tensors, numbers, strings and None.

    load_checkpoint gives the same tree back. Tensors become the file's tensors, named by their path
    in the tree; the rest becomes JSON in its metadata. Nothing in it is ever executed on loading,
    unlike a pickle. Typically
    `{"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}`.

    Arrays come back as tensors, NumPy's numbers as Python's, every mapping as a dict. TypeError on
    anything that would not come back (a named tuple, a set, a dtype that tilework has not),
    ValueError on a tree that contains itself or has more than 100 levels; `path` is then as it was.

    >>> folder = getfixture("tmp_path")
    >>> save_checkpoint(folder / "c", {"state": {0: {"step": 1}}, "betas": (0.9, 0.999)})
    >>> load_checkpoint(folder / "c")
    {'state': {0: {'step': 1}}, 'betas': (0.9, 0.999)}
    """
    tensors: dict[str, Any] = {}
    encoded = _encode(tree, (), tensors)
    try:
        text = json.dumps(encoded)
    except ValueError as reason:  # an integer of thousands of digits
        raise error(
            ValueError, "io.save_checkpoint", "numbers that JSON has", reason, "leave it out"
        ) from reason
    save(tensors, path, {_KEY: text})


def load_checkpoint(path: StrPath) -> Any:
    """Reads what save_checkpoint wrote.

    ValueError where the file is damaged (its checksum is another) or is no checkpoint.
    """
    tensors, metadata, checked = read(path)
    old = _OLD_KEY in metadata
    if not old and (_KEY not in metadata or not checked):
        raise error(
            ValueError, "io.load_checkpoint", "a checkpoint of tilework", str(path),
            "read plain weights with tilework.io.load",
        )  # fmt: skip
    try:
        if old:
            return _decode_old(json.loads(metadata[_OLD_KEY]), tensors)
        return _decode(json.loads(metadata[_KEY]), tensors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as reason:
        raise error(
            ValueError, "io.load_checkpoint", "a whole checkpoint", f"{path} ({reason!r})",
            "go back to an earlier one",
        ) from reason  # fmt: skip


def _encode(value: Any, at: tuple[Any, ...], tensors: dict[str, Any]) -> Any:
    if len(at) > _DEPTH:
        raise error(
            ValueError, "io.save_checkpoint", f"a tree of {_DEPTH} levels at most",
            f"more at {_path(at[:8])!r}...", "take out what contains itself",
        )  # fmt: skip
    if isinstance(value, (Tensor, np.ndarray)):
        name = _unused_name(at, tensors)
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        if all(type(k) is str for k in value):
            return {_DICT: {k: _encode(v, (*at, k), tensors) for k, v in value.items()}}
        return {
            _PAIRS: [[_key(k, (*at, k)), _encode(v, (*at, k), tensors)] for k, v in value.items()]
        }
    if isinstance(value, list):
        return [_encode(v, (*at, i), tensors) for i, v in enumerate(value)]
    if type(value) is tuple:
        return {_TUPLE: [_encode(v, (*at, i), tensors) for i, v in enumerate(value)]}
    return _plain(value, at)


def _plain(value: Any, at: tuple[Any, ...]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise error(
        TypeError, "io.save_checkpoint",
        "tensors, numbers, strings, None, and dicts, lists and tuples of them",
        f"{type(value).__name__} at {_path(at)!r}", "leave it out",
    )  # fmt: skip


def _key(key: Any, at: tuple[Any, ...]) -> Any:
    if type(key) is tuple:
        return {_TUPLE: [_key(part, at) for part in key]}
    return _plain(key, at)


def _path(at: tuple[Any, ...]) -> str:
    return "/".join(map(str, at))


def _unused_name(at: tuple[Any, ...], tensors: Mapping[str, Any]) -> str:
    """The tensor's path in the tree as a name that no other has: "a/b" may be one key or two."""
    path = _path(at).encode(errors="backslashreplace").decode()
    name, count = path, 1
    while not name or name == "__metadata__" or name in tensors:
        count += 1
        name = f"{path}#{count}"
    return name


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == _TENSOR:
        return tensors[held]
    if kind == _DICT:
        return {k: _decode(v, tensors) for k, v in held.items()}
    if kind == _PAIRS:
        return {_decode(k, tensors): _decode(v, tensors) for k, v in held}
    if kind == _TUPLE:
        return tuple(_decode(v, tensors) for v in held)
    raise ValueError(f"an entry of kind {kind!r}")


def _decode_old(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The first form: dicts stood for themselves, tuples had become lists."""
    if isinstance(value, list):
        return [_decode_old(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$tensor"}:
        return tensors[value["$tensor"]]
    if value.keys() == {"$pairs"}:
        return {k: _decode_old(v, tensors) for k, v in value["$pairs"]}
    return {k: _decode_old(v, tensors) for k, v in value.items()}
