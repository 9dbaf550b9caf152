"""The machine that figures are taken on, and what tells two of them apart."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from typing import Any

from tilework._version import __version__
from tilework.benchmarks.environment import worker_environment

_LIBRARIES = ("numpy", "torch", "jax", "onnxruntime", "numba")


def machine(threads: int, isa: str | None, precision: str | None) -> dict[str, Any]:
    """What the figures are taken on; its roof is measured in a process set up as the workers."""
    command = [sys.executable, "-m", "tilework.hardware"]
    env = worker_environment(threads, isa, precision)
    answer = subprocess.run(command, env=env, capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(answer.stderr.strip().splitlines()[-1])
    found = {name: _version(name) for name in _LIBRARIES}
    return {
        **json.loads(answer.stdout),
        "python": platform.python_version(),
        "libraries": {"tilework": __version__, **{k: v for k, v in found.items() if v}},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def heading(about: dict[str, Any]) -> str:
    """The machine in a line."""
    precision = "" if about["precision"] == "highest" else f", {about['precision']!r} precision"
    return f"{about['cpu']['model']}, {about['isa']}, {about['threads']} thread(s){precision}"


def gpu(about: dict[str, Any]) -> str:
    """The GPU's name, or why there is none."""
    return str(about["gpu"]["name"] or f"none: {about['gpu']['reason']}")


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """In what two machines, or their settings, differ so that times may not be compared."""
    pairs = [("CPU", old["cpu"]["model"], new["cpu"]["model"])]
    pairs += [(name, old[name], new[name]) for name in ("isa", "threads", "precision")]
    return [f"{name} {a}, now {b}" for name, a, b in pairs if a != b]


def changed_libraries(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The libraries whose version is another, tilework's aside."""
    a, b = old["libraries"], new["libraries"]
    return [name for name in _LIBRARIES if a.get(name) != b.get(name)]
