"""What the driver says of the card: its clocks above all, without which a time tells little."""

from __future__ import annotations

import subprocess
from typing import Any

_FIELDS = (
    "name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "clocks.max.mem",
    "power.limit", "temperature.gpu", "pcie.link.gen.current", "pcie.link.width.current",
)  # fmt: skip
_CLOCKS = (
    ("SM", "clocks.sm", "clocks.max.sm"), ("memory", "clocks.mem", "clocks.max.mem"),
)  # fmt: skip
_UNKNOWN = "unknown: nvidia-smi is not here"


def read() -> dict[str, str]:
    """nvidia-smi's fields of the first card, with their units; empty where it does not answer."""
    query = f"--query-gpu={','.join(_FIELDS)}"
    command = ["nvidia-smi", query, "--format=csv,noheader", "--id=0"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = [value.strip() for value in answer.stdout.strip().split(",")]
    if answer.returncode or len(values) != len(_FIELDS):
        return {}
    return dict(zip(_FIELDS, values, strict=True))


def line(before: dict[str, str], after: dict[str, str]) -> str:
    """The clocks at the beginning and the end of a run."""
    if not before or not after:
        return f"clocks {_UNKNOWN}"
    said = [
        f"{what} {before[key]} before, {after[key]} after, of {before[most]}"
        for what, key, most in _CLOCKS
    ]
    return f"clocks: {'; '.join(said)}"


def card(device_name: str) -> dict[str, Any]:
    """The card as a report keeps it: its name, and what the driver says now."""
    return {"name": device_name, "driver": read()}
