"""torch.save and torch.load by their names: what is saved and read is plain, and nothing is run."""

from __future__ import annotations

from typing import Any, BinaryIO

from tilework.devices import check_device
from tilework.io.files import StrPath
from tilework.io.pickling import save
from tilework.io.weights import load as _load

__all__ = ["load", "save"]


def load(
    f: StrPath | BinaryIO, map_location: Any = None, pickle_module: Any = None, *,
    weights_only: bool | None = None, mmap: bool | None = None, **options: Any,
) -> Any:  # fmt: skip
    """Reads what save() wrote, or torch.save, or a safetensors file: as io.load does.

    `map_location`, where it is a device, is "cpu" (else ValueError). `weights_only=False` changes
    nothing: a file that names a class or a function is refused (ValueError), since reading it would
    run what it says. PyTorch's other arguments are taken.

    >>> folder = getfixture("tmp_path")
    >>> tw.save([tw.ones(2), "text"], folder / "x.pt")
    >>> tw.load(folder / "x.pt", map_location="cpu")
    [tensor([1., 1.]), 'text']
    """
    if not callable(map_location) and not isinstance(map_location, dict):  # which all come here
        check_device("load", map_location)
    return _load(f)
