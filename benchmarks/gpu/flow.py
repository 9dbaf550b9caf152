"""`tilework bench --device cpu,cuda`, from its options to its files."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

import tilework as tw
from tilework import hardware
from tilework.benchmarks import noise
from tilework.benchmarks.cli import CASE_SECONDS, budget_of, rows_of
from tilework.benchmarks.contestants import ON_CUDA, TILEWORK, installed
from tilework.benchmarks.gpu import cards, clocks, crossing, roofline, table
from tilework.benchmarks.gpu.results import Device, DeviceRun, read_device
from tilework.benchmarks.gpu.timing import DeviceSession
from tilework.benchmarks.machine import machine
from tilework.benchmarks.results import Row
from tilework.benchmarks.selection import chosen
from tilework.errors import error
from tilework.testing import cases
from tilework.testing.case import Case

_VERSIONS = (
    "cupy", "cupy-cuda12x", "cupy-cuda13x", "torch", "nvidia-cuda-runtime", "nvidia-cuda-nvrtc",
    "nvidia-cublas",
)  # fmt: skip


def run(args: argparse.Namespace, console: Console) -> int:
    """Measures, tells and writes. The exit status: 1 where an answer of ours is wrong."""
    _check(args)
    other = read_device(args.compare[0]) if args.compare else None
    selected = _chosen(args, other)
    if not selected:
        console.print("no case has that in its name; see tilework bench --list --all")
        return 1
    measured, left_out = measure(selected, args, console, other, bool(args.crossing))
    return told(measured, left_out, args, console)


def _check(args: argparse.Namespace) -> None:
    """ValueError on an option that has no meaning beside a device."""
    for option in ("html", "plot", "keep_memory_allocator"):
        if getattr(args, option):
            raise error(
                ValueError, "bench", "--json, --roofline or --crossing beside a device",
                f"--{option.replace('_', '-')}", "drop it",
            )  # fmt: skip


def _chosen(args: argparse.Namespace, other: DeviceRun | None) -> list[Case]:
    """What the options ask for; beside another run its cases, unless they name some."""
    if other is not None and not (args.all or args.quick or args.filter):
        labels = {row.label for row in other.rows}
        return [c for c in cases.benchmarks() if c.bench is not None and c.bench.label in labels]
    how = "quick" if args.quick else "all" if args.all else "usual"
    return chosen(cases.benchmarks(), how, args.filter, args.without)


def measure(
    selected: list[Case],
    args: argparse.Namespace,
    console: Console,
    other: DeviceRun | None = None,
    crossed: bool = False,
    keep: Callable[[DeviceRun], None] | None = None,
) -> tuple[DeviceRun, int]:
    """What was measured, and how many cases there was no time for; `crossed`: the sweep too. `keep`
    is given what there is after each case, in case that the rest never comes."""
    began = time.perf_counter()
    about = machine(args.threads, args.isa, args.precision)
    before, clocks_before = noise.read(), clocks.read()
    kinds = _players(args, other)
    with DeviceSession(kinds, args.threads, args.isa, args.precision) as session:
        for kind, why in session.absent.items():
            if kind != "tilework-cuda" or tw.cuda.is_available():
                console.print(f"{kind} takes no part: {why}", markup=False)
        budget = budget_of(args, began, len(selected))
        device = described(args.model_gpu)
        device.moved, device.transfers = session.moved, session.transfers
        kept = None if keep is None else lambda rows: keep(unfinished(rows, about, device))
        seconds = args.seconds or CASE_SECONDS
        rows = rows_of(session, selected, budget, seconds, console, kept)
        clocks_after = clocks.read()  # while the card is awake
    found = noise.verdict(
        before, noise.read(), _of_cpu(rows), args.threads, len(os.sched_getaffinity(0))
    )
    if device.measured:
        device.about["clocks"] = clocks.line(clocks_before, clocks_after)
    command = shlex.join(["tilework", *sys.argv[1:]])
    measured = DeviceRun(rows, about, found, command, _now(), device, other=other)
    if keep is not None:
        keep(measured)
    if crossed:
        ours = [k for k in kinds if k == "tilework-cuda" or k.startswith("tilework:")]
        crossing.measured_anew(args, ours, measured)
    return measured, len(selected) - len(rows)


def unfinished(rows: list[Row], about: dict[str, Any], device: Device) -> DeviceRun:
    """A run that ended before all was measured."""
    text = "Not all was measured: the report ended before"
    noise_ = {"reasons": [text], "text": text}
    return DeviceRun(rows, about, noise_, when=_now(), device=device)


def without_rows() -> DeviceRun:
    """A run of this machine and its device, of which nothing is measured yet."""
    return unfinished([], machine(1, None, None), described(None))


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(" ", "minutes")


def _players(args: argparse.Namespace, other: DeviceRun | None) -> list[str]:
    """The contestants' kinds; with another run's device columns, the CPU's alone."""
    peers = ["torch"] if args.peers is None else args.peers
    asked = (args.device or "cpu,cuda").split(",")
    kinds: list[str] = []
    if "cpu" in asked or other is not None:
        engines = args.engines or [tw.engines.current_engine()]
        kinds += [f"{kind}:{engine}" for engine in engines for kind in TILEWORK]
        kinds += installed(peers)
    if other is None and "cuda" in asked and tw.cuda.is_available():
        with_torch = bool(installed(["torch"])) and "torch" in peers
        kinds += [kind for kind in ON_CUDA if kind != "torch-cuda" or with_torch]
    return kinds


def _of_cpu(rows: list[Row]) -> list[Row]:
    """The rows without the device's times, whose spread says nothing of this machine."""
    return [Row(**{**vars(r), "times": [t for t in r.times if t.device == "CPU"]}) for r in rows]


def described(model: str | None) -> Device:
    """The device that is here, or the card that stands in for it."""
    if not tw.cuda.is_available():
        key = model or cards.named(hardware.gpu()["name"]) or "h200"  # a card without CuPy
        return Device(cards.CARDS[key].name, False, tw.cuda.why_not(), key)
    name = tw.cuda.get_device_name()
    key = model or cards.named(name)
    return Device(name, True, "", key, {**clocks.card(name), "versions": versions()})


def versions() -> dict[str, Any]:
    """Of what a device's times depend on."""
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def told(measured: DeviceRun, left_out: int, args: argparse.Namespace, console: Console) -> int:
    """Prints and writes a run; the exit status."""
    table.show_table(measured, console)
    table.show_summary(measured, left_out, console)
    if args.json:
        measured.write(args.json)
    if args.roofline:
        roofline.write_plot(args.roofline, measured)
    if measured.crossing:
        crossing.show(measured, console)
    if args.crossing:
        crossing.write_plot(args.crossing, measured)
    wrong = any(
        t.ours and t.state in ("wrong", "failed") for row in measured.rows for t in row.times
    )
    return int(wrong)
