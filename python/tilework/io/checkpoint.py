"""Checkpoints: everything that a training run needs to go on, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tilework.errors import error
from tilework.io.weights import StrPath, load_with_metadata, save
from tilework.tensor import Tensor

_KEY = "tilework.checkpoint"  # the metadata entry that holds the tree
_TENSOR = "$tensor"
_PAIRS = "$pairs"  # a dict whose keys are not strings, which JSON does not have


def save_checkpoint(path: StrPath, tree: Mapping[str, Any]) -> None:
    """Writes nested dicts, lists and tuples of tensors, numbers, strings and None.

    Tensors become the file's tensors, named by their path in the tree; the rest becomes JSON in
    its metadata. Nothing in it is ever executed on loading, unlike a pickle. Typically
    `{"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}`.

    >>> folder = getfixture("tmp_path")
    >>> save_checkpoint(folder / "c", {"state": {0: {"step": 1}}, "betas": (0.9, 0.999)})
    >>> load_checkpoint(folder / "c")
    {'state': {0: {'step': 1}}, 'betas': [0.9, 0.999]}
    """
    tensors: dict[str, Any] = {}
    text = json.dumps(_encode(tree, "", tensors))
    save(tensors, path, {_KEY: text})


def load_checkpoint(path: StrPath) -> dict[str, Any]:
    """Reads what save_checkpoint wrote; tuples come back as lists.

    ValueError where the file is damaged or is no checkpoint.
    """
    tensors, metadata = load_with_metadata(path)
    if _KEY not in metadata:
        raise error(
            ValueError, "io.load_checkpoint", "a checkpoint of tilework", str(path),
            "read plain weights with tilework.io.load",
        )  # fmt: skip
    try:
        tree = _decode(json.loads(metadata[_KEY]), tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as reason:
        raise error(
            ValueError, "io.load_checkpoint", "a whole checkpoint", f"{path} ({reason!r})",
            "go back to an earlier one",
        ) from reason  # fmt: skip
    if not isinstance(tree, dict):
        raise error(
            ValueError, "io.load_checkpoint", "a dict at the top", type(tree).__name__,
            "save it again",
        )  # fmt: skip
    return tree


def _encode(value: Any, path: str, tensors: dict[str, Any]) -> Any:
    if isinstance(value, (Tensor, np.ndarray)):
        tensors[path] = value
        return {_TENSOR: path}
    if isinstance(value, Mapping):
        entries = [
            (k, _encode(v, f"{path}/{k}" if path else str(k), tensors)) for k, v in value.items()
        ]
        return dict(entries) if all(isinstance(k, str) for k in value) else {_PAIRS: entries}
    if isinstance(value, (list, tuple)):
        return [_encode(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise error(
        TypeError, "io.save_checkpoint", "tensors, numbers, strings, None and containers of them",
        f"{type(value).__name__} at {path!r}", "leave it out",
    )  # fmt: skip


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TENSOR}:
        return tensors[value[_TENSOR]]
    if value.keys() == {_PAIRS}:
        return {k: _decode(v, tensors) for k, v in value[_PAIRS]}
    return {k: _decode(v, tensors) for k, v in value.items()}
