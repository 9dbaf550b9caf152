"""Kernels that NVRTC compiles: once a card's kind and source, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from functools import cache
from pathlib import Path

from tilework._version import __version__
from tilework.engines.cuda import nvrtc, sources
from tilework.errors import error

_lock = threading.Lock()


def file_of(kernel: str, capability: int) -> Path:
    """The compiled file that has `kernel`, for a card of this compute capability (90 is 9.0).

    What is not in the cache is compiled: some seconds, once. KeyError where no file has it.
    """
    with _lock:
        for name in sources.likely(kernel):
            path = compiled(name, capability)
            if kernel in kernels_of(path):
                return path
    raise KeyError(f"no kernel {kernel} in {sources.folder() / 'kernels'}")


def compiled(name: str, capability: int) -> Path:
    """A file of sources.files(), compiled, in the cache."""
    path = cache_folder() / f"{Path(name).stem}-sm_{capability}-{_key(name)}.cubin"
    if not path.is_file():
        # Beside it, and renamed when it is whole: another process may do the same.
        made = nvrtc.compiled(name, capability)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            part.write(made)
        os.replace(part.name, path)
    return path


@cache
def kernels_of(path: Path) -> frozenset[str]:
    """The names of the kernels in a compiled file."""
    return kernels_in(path.read_bytes())


def kernels_in(compiled: bytes) -> frozenset[str]:
    """The names of the kernels in a cubin, of whose sections they are, or in PTX."""
    found = re.findall(rb"(?:\0\.text\.|\.entry )(\w+)", compiled)
    return frozenset(name.decode() for name in found)


@cache
def _key(name: str) -> str:
    """What a compiled file depends on, but for the card."""
    parts = [__version__, repr(nvrtc.version())]
    parts += [part for file in sources.included(name) for part in (file, sources.text(file))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


@cache
def cache_folder() -> Path:
    """The user's cache (XDG_CACHE_HOME, ~/.cache); where that cannot be written to, a folder of
    this process's own."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        place = base / "tilework" / "kernels"
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place):
            return place
    except (OSError, RuntimeError):
        return Path(tempfile.mkdtemp(prefix="tilework-kernels-"))


def check_compiler() -> None:
    """ImportError, with what helps, where nothing can be compiled here."""
    if reason := nvrtc.missing():
        what, _, fix = reason.partition(": ")
        raise error(ImportError, "cuda", "kernels, compiled or to be", what, fix)
