"""`tilework bench`: the options, and a run from beginning to end."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console

from tilework.benchmarks.environment import ISAS
from tilework.errors import error
from tilework.testing.case import Case

# The budget of --quick, a minute, less what start-up, checks and JIT take.
_QUICK_SECONDS, _CASE_SECONDS = 15.0, 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="the main cases, within a minute")
    parser.add_argument(
        "--filter",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="only cases whose name has one of these",
    )
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="no case whose name has one of these",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of every library (default 1)"
    )
    parser.add_argument("--isa", choices=ISAS, help="the highest ISA that every library may use")
    parser.add_argument(
        "--precision", choices=("highest", "high", "medium"), help="of our float32 products"
    )
    parser.add_argument("--seconds", type=float, help="time spent on each case")
    parser.add_argument(
        "--engines",
        nargs="+",
        metavar="ENGINE",
        help="ours: native, numba (default: the one in use)",
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        metavar="PEER",
        help="numpy, torch, torch-channels-last, jax, onnxruntime (default: these), torch-compiled",
    )
    parser.add_argument(
        "--keep-memory-allocator",
        action="store_true",
        help="PyTorch once more, with an allocator that keeps its memory",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it (needs matplotlib)")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument(
        "--accuracy",
        action="store_true",
        help="errors of products and convolutions against float64, not times",
    )
    parser.add_argument(
        "--footprint", action="store_true", help="import time, disk and memory, not times"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the benchmarks; 1 where one of our answers is wrong, or no case fits."""
    _check(args)
    from tilework.testing import cases

    console = Console(width=None if sys.stdout.isatty() else 200)
    if args.accuracy:
        return _accuracy(args, console)
    if args.footprint:
        from tilework.benchmarks import footprint

        return footprint.run(console)
    chosen = [c for c in cases.benchmarks() if _wanted(c, args)]
    if args.list:
        for case in chosen:
            console.print(case.bench.label if case.bench else "", highlight=False)
        return 0
    if not chosen:
        asked = " or ".join(map(repr, args.filter)) or "what is left"
        console.print(f"no case has {asked} in its name; see tilework bench --list")
        return 1
    return _measure(chosen, args, console)


def _check(args: argparse.Namespace) -> None:
    """ValueError on what would fail only once the measuring has begun."""
    from tilework.benchmarks.contestants import PEERS

    known = {"--engines": ("native", "numba"), "--peers": (*PEERS, "torch-compiled")}
    for option, names in known.items():
        for name in getattr(args, option[2:]) or ():
            if name not in names:
                raise error(ValueError, "bench", f"{option} of {', '.join(names)}", name, "drop it")
    if args.threads < 1:
        raise error(ValueError, "bench", "--threads from 1", args.threads, "raise it")
    if args.seconds is not None and args.seconds <= 0:
        raise error(ValueError, "bench", "--seconds above 0", args.seconds, "raise it")


def _accuracy(args: argparse.Namespace, console: Console) -> int:
    import tilework as tw
    from tilework.benchmarks import accuracy, conv_accuracy

    if args.isa:
        tw.set_isa(args.isa)
    if args.precision:
        tw.set_float32_matmul_precision(args.precision)
    accuracy.run(console)
    conv_accuracy.run(console)
    return 0


def _wanted(case: Case, args: argparse.Namespace) -> bool:
    assert case.bench is not None
    if args.quick and not args.filter and not case.bench.quick:
        return False
    label = case.bench.label.lower()
    named = not args.filter or any(text.lower() in label for text in args.filter)
    return named and not any(text.lower() in label for text in args.without)


def _measure(chosen: list[Case], args: argparse.Namespace, console: Console) -> int:
    from rich.progress import Progress

    import tilework as tw
    from tilework.benchmarks import report
    from tilework.benchmarks.contestants import PEERS, TILEWORK, installed
    from tilework.benchmarks.session import Session

    engines = args.engines or [tw.engines.current_engine()]
    peers = installed(PEERS if args.peers is None else args.peers)
    ours = [f"{kind}:{engine}" for engine in engines for kind in TILEWORK]
    kinds = [*ours, *peers]
    seconds = args.seconds or (_QUICK_SECONDS / len(chosen) if args.quick else _CASE_SECONDS)
    rows = []
    about = report.machine(args.threads, args.isa, args.precision)
    session = Session(kinds, args.threads, args.isa, args.precision, args.keep_memory_allocator)
    with session, Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        for kind, why in session.absent.items():
            console.print(f"{kind} takes no part: {why}", markup=False)
        task = bar.add_task("", total=len(chosen))
        for case in chosen:
            bar.update(task, description=str(case))
            rows.append(session.measure(case, seconds))
            bar.advance(task)
    report.show_table(rows, about, console)
    if args.json:
        report.write_json(args.json, rows, about, shlex.join(["tilework", *sys.argv[1:]]))
    if args.plot:
        from tilework.benchmarks.plot import write_plot

        write_plot(args.plot, rows, about)
    bad = [t for row in rows for t in row.times if t.ours and t.state in ("wrong", "failed")]
    return 1 if bad else 0
