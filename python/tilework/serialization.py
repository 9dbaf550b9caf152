"""torch.save and torch.load by their names: what is saved and read is plain, and nothing is run."""

from __future__ import annotations

from typing import Any, BinaryIO

from tilework.devices import Device, resolved, restored
from tilework.io.files import StrPath
from tilework.io.pickled import Place
from tilework.io.pickling import save
from tilework.io.weights import load_to
from tilework.tensor import Tensor

__all__ = ["load", "save"]

_FIX = "load with map_location='cpu'"


def load(
    f: StrPath | BinaryIO, map_location: Any = None, pickle_module: Any = None, *,
    weights_only: bool | None = None, mmap: bool | None = None, **options: Any,
) -> Any:  # fmt: skip
    """Reads what save() wrote, or torch.save, or a safetensors file: as io.load does, but that
    tensors come back on the device that they were saved on.

    `map_location` sends them elsewhere: a device for all; a dict of devices' names, from where they
    were to where they go; a function of a storage's numbers, a tensor on the CPU, and of the
    device's name, whose result says by its own device where they go, and by None where they were.
    RuntimeError where a device is not here. `weights_only=False` changes nothing: a file that names
    a class or a function is refused (ValueError), since reading it would run what it says.
    PyTorch's other arguments are taken.

    >>> folder = getfixture("tmp_path")
    >>> tw.save([tw.ones(2), "text"], folder / "x.pt")
    >>> tw.load(folder / "x.pt", map_location="cpu")
    [tensor([1., 1.]), 'text']
    """
    return load_to(f, _place(map_location))


def _place(map_location: Any) -> Place:
    """Where a storage goes, by the argument of PyTorch's kinds."""
    if map_location is None:
        return lambda storage, where: restored("load", where, _FIX)
    if isinstance(map_location, dict):
        return lambda storage, where: restored("load", map_location.get(where, where), _FIX)
    if callable(map_location):

        def asked(storage: Tensor, where: str) -> Device:
            found = map_location(storage, where)
            return restored("load", where, _FIX) if found is None else found.device

        return asked
    device = resolved("load", map_location)
    return lambda storage, where: device
