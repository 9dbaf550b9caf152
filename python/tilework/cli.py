"""The command `tilework`. What a subcommand needs is imported when it runs, not before."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from tilework._version import __version__

# A subcommand is a module with add_arguments(parser) and run(args) -> exit status.
_COMMANDS: dict[str, tuple[str, str]] = {
    "info": ("tilework.info", "this machine, and which kernel serves each op on it"),
    "bench": ("tilework.benchmarks.cli", "time our kernels against the installed peers"),
    "gpu-report": (
        "tilework.benchmarks.gpu.report",
        "test and time this machine's GPU, into one file to keep or send",
    ),
    "generate": ("tilework.models.cli", "continue a text by a language model's weights"),
    "summary": ("tilework.summary_command", "the layers of a network, its parameters and products"),
    "train": ("tilework.train.cli", "fit a network and judge it on held-out data"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (by default the process's own) and returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="tilework", description="Fast neural-network layers for CPUs."
    )
    parser.add_argument("--version", action="version", version=f"tilework {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == asked:
            implementation = importlib.import_module(module)
            implementation.add_arguments(command)
            command.set_defaults(run=implementation.run)
    args = parser.parse_args(arguments)
    try:
        status: int = args.run(args)
    except (ValueError, FileNotFoundError, ImportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("[TILEWORK_"):
            raise
        print(f"tilework: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status
