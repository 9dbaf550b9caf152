"""Files that are replaced whole: at any time a path is the old file or the new one."""

from __future__ import annotations

import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tilework.errors import error

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be taken away
    fcntl = None  # type: ignore[assignment]

StrPath = str | os.PathLike[str]


@contextmanager
def replacing(path: StrPath, op: str) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends without an exception.

    It stands beside `path` (beside what `path` points to, if that is a symbolic link), is synced
    and renamed, and has the permissions of the file that it replaces. What earlier writers that
    were killed have left there is removed. OSError as the system gives it; ValueError on a path
    that is no regular file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise error(ValueError, op, "the path of a regular file", str(path), "choose another one")
    _sweep(target)
    file, beside = _create(target)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if target.exists():
                os.chmod(beside, stat.S_IMODE(target.stat().st_mode))
            if fcntl is None:
                file.close()
            os.replace(beside, target)  # before the lock goes with the file
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync(target.parent)  # or the rename itself may be lost


def sync(path: StrPath) -> None:
    """Waits until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prefix(target: Path) -> str:
    return f".{target.name[:50]}."  # a name may have 255 bytes at most


def _create(target: Path) -> tuple[BinaryIO, Path]:
    """A file beside `target` that is locked while it is written: _sweep leaves such ones alone."""
    while True:
        beside = target.with_name(f"{_prefix(target)}{uuid.uuid4().hex}.tmp")
        file = open(beside, "xb")  # noqa: SIM115 (the caller closes it)
        try:
            ours = _lock(file.fileno())
        except OSError:  # a file system without locks, where nobody sweeps
            ours = True
        with suppress(FileNotFoundError):
            if ours and os.path.samestat(os.stat(beside), os.fstat(file.fileno())):
                return file, beside
        file.close()  # another writer's _sweep was quicker, and has removed it or is about to


def _lock(handle: int) -> bool:
    """Whether this is the only holder of a file, which nobody else can then be until it closes.
    OSError on a file system without locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(target: Path) -> None:
    """Removes what writers of `target` that no longer live have left beside it."""
    left = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{32}\.tmp")
    for name in os.listdir(target.parent):
        if not left.fullmatch(name):
            continue
        with suppress(OSError):
            handle = os.open(target.with_name(name), os.O_RDONLY)
            try:
                if _lock(handle):
                    target.with_name(name).unlink(missing_ok=True)
            finally:
                os.close(handle)
