"""`tilework info`."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def gather() -> dict[str, Any]:
    """All that `tilework info` tells."""
    from tilework import config, hardware

    return {
        "settings": config.settings(),
        "cpu": hardware.cpu(),
        "gpu": hardware.gpu(),
        "threads": hardware.threads(),
        "memory pool": config.memory_stats(),
        "variants": hardware.variants(),
    }


def run(args: argparse.Namespace) -> int:
    """Prints what `gather` found, as tables or as JSON."""
    found = gather()
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    from rich.console import Console
    from rich.table import Table

    console = Console()
    gpu = found["gpu"]
    about = Table(show_header=False, title="tilework")
    about.add_row("GPU", gpu["name"] or f"none: {gpu['reason']}")
    for part in ("settings", "cpu", "threads", "memory pool"):
        for name, value in found[part].items():
            if value == "":
                continue
            shown = name if name.isupper() else name.replace("_", " ")  # variables by their names
            about.add_row(f"{part}: {shown}", _text(name, value))
    console.print(about)
    served = Table("ops", "variant", "why", title="Who serves each family of ops")
    for family, row in found["variants"].items():
        served.add_row(family, row["variant"], row["why"])
    console.print(served)
    return 0


def _text(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        for unit in ("bytes", "KiB", "MiB"):
            if value < 1024:
                return f"{value:.4g} {unit}"
            value /= 1024
        return f"{value:.4g} GiB"
    return "none" if value is None else str(value)
