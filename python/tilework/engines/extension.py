"""The compiled extension as a file: whether it is there, whole, and of this version."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from types import ModuleType

from tilework._version import __version__
from tilework.errors import error

NAME = "tilework._native"
_LIBRARIES = (".so", ".pyd", ".dylib")


def find() -> str:
    """The file of the compiled extension, "" where there is none.

    One that this Python cannot load is an extension too: numba in its place would compute other
    numbers, without a word.
    """
    spec = importlib.util.find_spec(NAME)
    if spec is not None:
        return str(spec.origin)
    folder = Path(__file__).parents[1]
    return next((str(f) for f in folder.glob("_native.*") if f.suffix in _LIBRARIES), "")


def check_whole(path: str) -> None:
    """ImportError where an ELF file is cut short: to load it would end the process with SIGBUS.

    Its table of sections stands last in the file, and the header says where that ends.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            length = file.seek(0, 2)
    except OSError:
        return  # the import says what is wrong
    if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
        return
    (start,) = struct.unpack_from("<Q", head, 0x28)
    size, count = struct.unpack_from("<HH", head, 0x3A)
    if length < start + size * count:
        raise ImportError(f"{path} is cut short: {length} bytes of at least {start + size * count}")


def check_version(extension: ModuleType) -> None:
    """ImportError where the extension was built of another version of tilework."""
    found = getattr(extension, "__version__", None)
    if found != __version__:
        raise error(
            ImportError, "use_engine", f"the extension of tilework {__version__}",
            f"that of {found}, {extension.__file__}", "reinstall tilework",
        )  # fmt: skip
