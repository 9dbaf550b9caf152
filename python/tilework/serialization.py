"""torch.save and torch.load by their names: what is saved and read is plain, and nothing is run."""

from __future__ import annotations

from typing import Any, BinaryIO

from tilework.devices import resolved
from tilework.io.files import StrPath
from tilework.io.pickling import save
from tilework.io.weights import load as _load
from tilework.nested import mapped

__all__ = ["load", "save"]


def load(
    f: StrPath | BinaryIO, map_location: Any = None, pickle_module: Any = None, *,
    weights_only: bool | None = None, mmap: bool | None = None, **options: Any,
) -> Any:  # fmt: skip
    """Reads what save() wrote, or torch.save, or a safetensors file: as io.load does.

    `map_location` is the device to read to, the CPU where none is named. `weights_only=False`
    changes nothing: a file that names a class or a function is refused (ValueError), since reading
    it would run what it says. PyTorch's other arguments are taken.

    >>> folder = getfixture("tmp_path")
    >>> tw.save([tw.ones(2), "text"], folder / "x.pt")
    >>> tw.load(folder / "x.pt", map_location="cpu")
    [tensor([1., 1.]), 'text']
    """
    if callable(map_location) or isinstance(map_location, dict):  # which all lead to the CPU here
        return _load(f)
    device, found = resolved("load", map_location or "cpu"), _load(f)
    return found if device.type == "cpu" else mapped(lambda x: x.to(device), found)
