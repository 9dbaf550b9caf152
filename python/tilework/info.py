"""`tilework info`."""

from __future__ import annotations

import argparse
import json
from typing import Any


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    about = parser.add_subparsers(dest="about", metavar="conv2d")
    conv = about.add_parser("conv2d", help="which kernel serves one convolution, and why")
    conv.add_argument("--json", action="store_true", help="for programs")
    conv.add_argument("--input", type=_numbers, required=True, metavar="N,C,H,W")
    conv.add_argument("--weight", type=_numbers, required=True, metavar="O,C/GROUPS,KH,KW")
    for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1)):
        conv.add_argument(f"--{name}", type=_numbers, default=(usual,), metavar="N or H,W")
    conv.add_argument("--groups", type=int, default=1)
    conv.add_argument("--dtype", default="float32", choices=("float32", "float64", "bfloat16"))


def gather() -> dict[str, Any]:
    """All that `tilework info` tells."""
    from tilework import config, explain, hardware

    return {
        "settings": config.settings(),
        "cpu": hardware.cpu(),
        "gpu": hardware.gpu(),
        "threads": hardware.threads(),
        "memory pool": config.memory_stats(),
        "variants": hardware.variants(),
        "convolutions": {
            name: _explained(x, weight, settings) for name, x, weight, settings in explain.TYPICAL
        },
    }


def _explained(x: Any, weight: Any, settings: dict[str, Any]) -> list[dict[str, str]]:
    from tilework.explain import PASSES, explain_conv2d

    try:
        return explain_conv2d(x, weight, **settings)
    except ValueError as refusal:  # of the routine that set_conv_routine() asks for
        row = {"variant": "none", "routine": "none", "why": str(refusal)}
        return [{"pass": name, **row} for name in PASSES]


def run(args: argparse.Namespace) -> int:
    """Prints what `gather` found, or about one convolution, as tables or as JSON."""
    if args.about == "conv2d":
        return _about_conv2d(args)
    found = gather()
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    from rich.console import Console
    from rich.table import Table

    from tilework import explain

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
    typical = Table(
        "convolution", *explain.PASSES, title="Which routine serves typical convolutions"
    )
    for name, rows in found["convolutions"].items():
        by_pass = {p: [r["routine"] for r in rows if r["pass"] == p] for p in explain.PASSES}
        typical.add_row(name, *(", ".join(dict.fromkeys(by_pass[p])) for p in explain.PASSES))
    console.print(typical)
    return 0


def _about_conv2d(args: argparse.Namespace) -> int:
    from tilework import explain

    rows = explain.explain_conv2d(
        args.input, args.weight, args.stride, args.padding, args.dilation, args.groups, args.dtype
    )
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("pass", "variant", "routine", "why")
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)
    return 0


def _text(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        for unit in ("bytes", "KiB", "MiB"):
            if value < 1024:
                return f"{value:.4g} {unit}"
            value /= 1024
        return f"{value:.4g} GiB"
    return "none" if value is None else str(value)
