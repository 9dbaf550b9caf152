"""The kernels' sources, which lie in the package: which file has a kernel, and what it includes."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)
_ROW = re.compile(r"^// (\S+) +\d+(?:, \d+)+ +\d+ +\d+ +\d+ +\d+(?:, \d+)+", re.MULTILINE)


@cache
def folder() -> Path:
    """csrc: in the package where it is installed, beside it in a checkout."""
    installed = _PACKAGE / "csrc"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / "csrc"


@cache
def files() -> tuple[str, ...]:
    """The files with kernels, as an #include names them."""
    found = sorted((folder() / "kernels").glob("*/*.cuh"))
    return tuple(file.relative_to(folder()).as_posix() for file in found)


@cache
def text(name: str) -> str:
    """A file's text; empty where it is not shipped: what the host alone includes."""
    file = folder() / name
    return file.read_text() if file.is_file() else ""


def included(name: str) -> tuple[str, ...]:
    """The file and all of ours that it includes, directly or not."""
    found: dict[str, None] = {}
    ahead = [name]
    while ahead:
        at = ahead.pop()
        if at not in found and text(at):
            found[at] = None
            ahead += INCLUDE.findall(text(at))
    return tuple(found)


def likely(kernel: str) -> list[str]:
    """The files, those first whose table of kernels names `kernel` most closely.

    A kernel's name is put together by macros, so that no search of the text finds it; the tables at
    the heads of the files have patterns of the names (tools/cuda_tables.py).
    """
    return sorted(files(), key=lambda name: -_closeness(kernel, name))


def _closeness(kernel: str, file: str) -> int:
    """How many letters of the name the closest pattern of the file tells; -1 where none fits."""
    fitting = [p for p in _ROW.findall(text(file)) if fnmatchcase(kernel, p)]
    family = Path(file).stem
    return max((len(p.replace("*", "")) for p in fitting), default=-1) + (family in kernel)
