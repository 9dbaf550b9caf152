"""`tilework bench`: the options, and a run from beginning to end."""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from tilework.benchmarks.environment import ISAS
from tilework.errors import error
from tilework.testing.case import Case

if TYPE_CHECKING:
    from tilework.benchmarks.results import Row, Run
    from tilework.benchmarks.selection import Budget
    from tilework.benchmarks.session import Session

# A minute and three, less what ends the last case and prints.
QUICK_SECONDS, USUAL_SECONDS = 50.0, 165.0
CASE_SECONDS = 3.0  # where the cases were asked for

DEVICES = ("cpu", "cuda")

_EPILOG = """exit status: 1 where an answer of ours is wrong or no case fits, 2 for wrong options,
3 where --compare finds a case slower beyond noise (of two quiet runs on one machine), else 0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--quick", action="store_true", help="the main cases, within a minute")
    many.add_argument(
        "--all", action="store_true", help="all cases, not the usual ones within three minutes"
    )
    parser.add_argument(
        "--filter",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="of all cases those whose name has one of these",
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
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as a page to look at")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it (needs matplotlib)")
    parser.add_argument(
        "--compare",
        nargs="+",
        type=Path,
        metavar=("OLD", "NEW"),
        help="hold this run against that of a file of --json; or one file against another; a file "
        "of gpu-report stands beside this machine's CPU",
    )
    parser.add_argument(
        "--device",
        metavar="DEVICES",
        help="cpu,cuda: both in one table; without a GPU the bound of --model-gpu in its place",
    )
    parser.add_argument(
        "--model-gpu",
        choices=("h200", "a100", "rtx4090"),
        help="the card whose published peaks bound the times (default: the one here, else h200)",
    )
    parser.add_argument(
        "--roofline", type=Path, metavar="FILE", help="draw each kernel's (with --device)"
    )
    parser.add_argument(
        "--crossing",
        type=Path,
        metavar="FILE",
        help="draw from which size the GPU pays, transfers included (with --device)",
    )
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument(
        "--accuracy",
        action="store_true",
        help="errors of products and convolutions against float64, not times",
    )
    parser.add_argument(
        "--footprint", action="store_true", help="import time, disk and memory, not times"
    )
    parser.add_argument(
        "--overhead",
        action="store_true",
        help="common calls on 8x8 beside PyTorch's, on one thread",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the benchmarks; the exit status is _EPILOG's."""
    _check(args)
    from tilework.benchmarks import results, selection
    from tilework.testing import cases

    console = Console(width=None if sys.stdout.isatty() else 200)
    if args.accuracy:
        return _accuracy(args, console)
    if args.footprint:
        from tilework.benchmarks import footprint

        return footprint.run(console)
    if args.overhead:
        from tilework.benchmarks import overhead

        return overhead.run(console, args.json, args.peers)
    if _beside_a_gpu(args) and not args.list:
        from tilework.benchmarks.gpu import flow

        return flow.run(args, console)
    files = [results.read(path) for path in args.compare or ()]
    old = files[0] if files else None
    if len(files) == 2:
        return _told(files[1], 0, old, args, console)
    how = "quick" if args.quick else "all" if args.all else "usual"
    chosen = selection.chosen(cases.benchmarks(), how, args.filter, args.without)
    if args.list:
        for case in chosen:
            label = case.bench.label if case.bench else ""
            console.print(label, highlight=False, markup=False)
        return 0
    if not chosen:
        asked = " or ".join(map(repr, args.filter)) or "what is left"
        console.print(f"no case has {asked} in its name; see tilework bench --list --all")
        return 1
    measured, left_out = _measure(chosen, args, console)
    return _told(measured, left_out, old, args, console)


def _beside_a_gpu(args: argparse.Namespace) -> bool:
    """Whether a device's columns are asked for, or come from a file."""
    from tilework.benchmarks import results

    if args.model_gpu or "cuda" in (args.device or "").split(","):
        return True
    return len(args.compare or ()) == 1 and results.has_device(args.compare[0])


def _check(args: argparse.Namespace) -> None:
    """ValueError on what would fail only once the measuring has begun."""
    from tilework.benchmarks.contestants import PEERS

    known = {"--engines": ("native", "numba"), "--peers": (*PEERS, "torch-compiled")}
    for option, names in known.items():
        for name in getattr(args, option[2:]) or ():
            if name not in names:
                raise error(ValueError, "bench", f"{option} of {', '.join(names)}", name, "drop it")
    for name in (args.device or "cpu").split(","):
        if name not in DEVICES:
            raise error(
                ValueError, "bench", "--device of cpu, cuda, with a comma between", name, "drop it"
            )
    if args.threads < 1:
        raise error(ValueError, "bench", "--threads from 1", args.threads, "raise it")
    if args.seconds is not None and args.seconds <= 0:
        raise error(ValueError, "bench", "--seconds above 0", args.seconds, "raise it")
    if len(args.compare or ()) > 2:
        raise error(
            ValueError, "bench", "--compare of one file or two", len(args.compare), "drop some"
        )


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


def budget_of(args: argparse.Namespace, began: float, count: int) -> Budget | None:
    """What is left for `count` cases of a run that began then; None where no end is set."""
    from tilework.benchmarks.selection import Budget

    if args.seconds is not None or args.all or args.filter:
        return None
    whole = QUICK_SECONDS if args.quick else USUAL_SECONDS
    return Budget(whole - (time.perf_counter() - began), count)


def _measure(chosen: list[Case], args: argparse.Namespace, console: Console) -> tuple[Run, int]:
    """What was measured, and how many cases there was no time for."""
    import tilework as tw
    from tilework.benchmarks import noise
    from tilework.benchmarks.contestants import PEERS, TILEWORK, installed
    from tilework.benchmarks.machine import machine
    from tilework.benchmarks.results import Run
    from tilework.benchmarks.session import Session

    began = time.perf_counter()
    engines = args.engines or [tw.engines.current_engine()]
    kinds = [f"{kind}:{engine}" for engine in engines for kind in TILEWORK]
    kinds += installed(PEERS if args.peers is None else args.peers)
    about = machine(args.threads, args.isa, args.precision)
    before = noise.read()
    with Session(
        kinds, args.threads, args.isa, args.precision, args.keep_memory_allocator
    ) as session:
        for kind, why in session.absent.items():
            console.print(f"{kind} takes no part: {why}", markup=False)
        budget = budget_of(args, began, len(chosen))
        rows = rows_of(session, chosen, budget, args.seconds or CASE_SECONDS, console)
    cpus = len(os.sched_getaffinity(0))
    found = noise.verdict(before, noise.read(), rows, args.threads, cpus)
    when = datetime.datetime.now().astimezone().isoformat(" ", "minutes")
    command = shlex.join(["tilework", *sys.argv[1:]])
    return Run(rows, about, found, command, when), len(chosen) - len(rows)


def rows_of(
    session: Session, chosen: list[Case], budget: Budget | None, seconds: float, console: Console,
    keep: Callable[[list[Row]], None] | None = None,
) -> list[Row]:  # fmt: skip
    """The cases' rows: the main ones are measured first, in case that the time is up. `keep` is
    given after each those that there are."""
    from rich.progress import Progress

    rows: dict[Case, Row] = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(chosen))
        for case in sorted(chosen, key=lambda c: not (c.bench and c.bench.quick)):
            share = seconds if budget is None else budget.share()
            if share is None:
                break
            bar.update(task, description=escape(str(case)))
            rows[case] = session.measure(case, share)
            if keep is not None:
                keep(list(rows.values()))
            bar.advance(task)
    return [rows[case] for case in chosen if case in rows]


def _told(
    measured: Run, left_out: int, old: Run | None, args: argparse.Namespace, console: Console
) -> int:
    """Prints and writes a run, and how it compares with an older one; the exit status."""
    from tilework.benchmarks import compare, report

    report.show_table(measured, console)
    found = None
    if old is not None:
        found = compare.compare(old, measured)
        compare.show(found, old, measured, console)
    report.show_summary(measured, left_out, console)
    if args.json:
        measured.write(args.json)
    if args.html:
        from tilework.benchmarks.page import write_page

        write_page(args.html, measured, (found, old) if found and old else None)
    if args.plot:
        from tilework.benchmarks.plot import write_plot

        write_plot(args.plot, measured)
    if any(t.ours and t.state in ("wrong", "failed") for row in measured.rows for t in row.times):
        return 1
    return found.status if found else 0
