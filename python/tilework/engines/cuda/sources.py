"""The kernels' sources, which lie in the package: the files, and what each includes."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)


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
