"""Kernels that NVRTC compiles: once a card's kind and source, into the user's cache."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
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
        if kernel not in index():
            raise KeyError(f"no kernel {kernel} in {sources.folder() / 'kernels'}")
        return compiled(index()[kernel], capability)


def compiled(name: str, capability: int) -> Path:
    """A file of sources.files(), compiled, in the cache."""
    path = cache_folder() / f"{Path(name).stem}-sm_{capability}-{_key(name)}.cubin"
    if not _is_kept(path):
        _keep(path, nvrtc.compiled(name, capability))
    return path


@cache
def index() -> dict[str, str]:
    """The kernels, and which of sources.files() has each: macros put their names together, so that
    the compiler alone can tell."""
    path = cache_folder() / f"names-{_key(*sources.files())}.json"
    if not _is_kept(path):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            named = list(zip(sources.files(), pool.map(nvrtc.names, sources.files()), strict=True))
        found = {name: file for file, ptx in named for name in sorted(kernels_in(ptx))}
        _keep(path, json.dumps(found).encode())
    read: dict[str, str] = json.loads(path.read_text())
    return read


def kernels_in(compiled: bytes) -> frozenset[str]:
    """The names of the kernels in a cubin, of whose sections they are, or in PTX."""
    found = re.findall(rb"(?:\0\.text\.|\.entry )(\w+)", compiled)
    return frozenset(name.decode() for name in found)


def _keep(path: Path, made: bytes) -> None:
    """Writes beside `path`, and renames what is whole: another process may do the same."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            part.write(made)
            part.close()
            os.replace(part.name, path)
        except OSError:  # no space is left
            os.unlink(part.name)
            raise


def _is_kept(path: Path) -> bool:
    """Whether a file is there. One that is empty is what a loss of power leaves of a new name."""
    return path.is_file() and path.stat().st_size > 0


@cache
def _key(*names: str) -> str:
    """What compiled files depend on, but for the card."""
    parts = [__version__, repr(nvrtc.version())]
    included = dict.fromkeys(part for name in names for part in sources.included(name))
    parts += [part for file in included for part in (file, sources.text(file))]
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
        own = tempfile.mkdtemp(prefix="tilework-kernels-")
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return Path(own)


def check_compiler() -> None:
    """ImportError, with what helps, where nothing can be compiled here."""
    if reason := nvrtc.missing():
        what, _, fix = reason.partition(": ")
        raise error(ImportError, "cuda", "kernels, compiled or to be", what, fix)
