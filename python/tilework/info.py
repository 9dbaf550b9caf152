"""`tilework info`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

from tilework.config import NOT_SET


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


# Of the command line, the cells that its words name.
RECURRENT = {"lstm": "lstm", "gru": "gru", "rnn": "rnn_tanh"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    about = parser.add_subparsers(dest="about", metavar="conv2d, attention, lstm, gru or rnn")
    conv = about.add_parser("conv2d", help="which kernel serves one convolution, and why")
    conv.add_argument("--json", action="store_true", help="for programs")
    conv.add_argument("--input", type=_numbers, required=True, metavar="N,C,H,W")
    conv.add_argument("--weight", type=_numbers, required=True, metavar="O,C/GROUPS,KH,KW")
    for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1)):
        conv.add_argument(f"--{name}", type=_numbers, default=(usual,), metavar="N or H,W")
    conv.add_argument("--groups", type=int, default=1)
    attention = about.add_parser("attention", help="which kernel serves one attention, and why")
    attention.add_argument("--json", action="store_true", help="for programs")
    attention.add_argument("--query", type=_numbers, required=True, metavar="B,H,L,E")
    attention.add_argument("--key", type=_numbers, required=True, metavar="B,G,S,E")
    attention.add_argument("--value-width", type=int, metavar="V", help="E where it is not given")
    attention.add_argument("--causal", action="store_true")
    attention.add_argument("--window", type=_numbers, default=(-1, -1), metavar="LEFT,RIGHT")
    recurrent = [about.add_parser(name, help=f"which kernel serves one layer of {name}, and why")
                 for name in RECURRENT]  # fmt: skip
    for layer in recurrent:
        layer.add_argument("--json", action="store_true", help="for programs")
        layer.add_argument("--input", type=_numbers, required=True, metavar="T,B,I")
        layer.add_argument("--hidden", type=int, required=True, metavar="H")
    for one in (conv, attention, *recurrent):
        one.add_argument("--dtype", default="float32", choices=("float32", "float64", "bfloat16"))


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
    """Prints what `gather` found, or about one layer, as tables or as JSON."""
    if args.about == "conv2d":
        return _about_conv2d(args)
    if args.about == "attention":
        return _about_attention(args)
    if args.about in RECURRENT:
        from tilework.explain import explain_recurrent

        rows = explain_recurrent(RECURRENT[args.about], args.input, args.hidden, args.dtype)
        return _print(args.json, rows)
    found = gather()
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    from rich.console import Console

    console = Console()
    for table in (_machine(found), _served(found["variants"]), _typical(found["convolutions"])):
        console.print(table)
    return 0


def _machine(found: dict[str, Any]) -> Any:
    """The settings and what they run on, a section a part; what is not set shares a line."""
    from rich.table import Table

    table = Table(show_header=False, title=f"tilework {found['settings']['version']}")
    gpu = found["gpu"]
    parts = {name: found[name] for name in ("settings", "cpu", "threads", "memory pool")}
    card = ": ".join(filter(None, (gpu["name"] or "none", gpu["reason"])))
    for part, values in {**parts, "GPU": {"": card}}.items():
        shown = {k: v for k, v in values.items() if v not in ("", NOT_SET) and k != "version"}
        if part == "memory pool":  # counters say nothing before the first allocation
            shown = {k: v for k, v in shown.items() if v}
        unset = [name for name, value in values.items() if value == NOT_SET]
        rows = [(k if k.isupper() else k.replace("_", " "), _text(k, v)) for k, v in shown.items()]
        rows += [("not set", ", ".join(unset))] if unset else []
        for i, row in enumerate(rows):
            table.add_row("" if i else part, *row, end_section=i == len(rows) - 1)
    return table


def _served(variants: dict[str, dict[str, str]]) -> Any:
    """A row for all families that one variant serves for one reason."""
    from rich.table import Table

    table = Table("ops", "variant", "why", title="Who serves each family of ops", show_lines=True)
    found = ((family, tuple(row.values())) for family, row in sorted(variants.items()))
    for row, families in by_reason(found).items():
        table.add_row(", ".join(families), *row)
    return table


def by_reason(found: Iterable[tuple[str, tuple[str, ...]]]) -> dict[tuple[str, ...], list[str]]:
    """What is served by the names of what it serves: who serves them for one reason share a row.

    >>> from tilework.info import by_reason
    >>> by_reason([("pool", ("avx2", "the best")), ("norm", ("avx2", "the best"))])
    {('avx2', 'the best'): ['pool', 'norm']}
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, row in found:
        groups.setdefault(row, []).append(name)
    return groups


def _typical(convolutions: dict[str, list[dict[str, str]]]) -> Any:
    """Which routine serves each pass of some convolutions."""
    from rich.table import Table

    from tilework.explain import PASSES

    table = Table("convolution", *PASSES, title="Which routine serves typical convolutions")
    for name, rows in convolutions.items():
        by_pass = {p: [r["routine"] for r in rows if r["pass"] == p] for p in PASSES}
        table.add_row(name, *(", ".join(dict.fromkeys(by_pass[p])) for p in PASSES))
    return table


def _about_conv2d(args: argparse.Namespace) -> int:
    from tilework import explain

    return _print(
        args.json,
        explain.explain_conv2d(
            args.input, args.weight, args.stride, args.padding, args.dilation, args.groups,
            args.dtype,
        ),
    )  # fmt: skip


def _about_attention(args: argparse.Namespace) -> int:
    from tilework import explain

    return _print(
        args.json,
        explain.explain_attention(
            args.query, args.key, args.value_width, args.causal, args.window, args.dtype
        ),
    )


def _print(as_json: bool, rows: list[dict[str, str]]) -> int:
    """Rows of passes, those that agree together."""
    if as_json:
        print(json.dumps(rows, indent=1))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], show_lines=True)
    found = ((row["pass"], tuple(row.values())[1:]) for row in rows)
    for row, passes in by_reason(found).items():
        table.add_row("\n".join(passes), *row)
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
