"""What a library costs before it computes: import time, disk, and the memory of a training step.

Each figure comes from fresh processes of its own; times are medians of several.
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

LIBRARIES = ("numpy", "tilework", "torch", "jax")
# What the library itself brings: jax is nothing without jaxlib.
_PACKAGES = {"jax": ("jax", "jaxlib")}
_PROCESSES = 7

_IMPORT = """
import time
start = time.perf_counter()
import {library}
print(time.perf_counter() - start)
"""

# VmHWM, the most memory that this process has held. (The maxrss of getrusage starts at the
# parent's.)
_STEP = """
import numpy
import {library} as lib
from {library} import nn, optim
from {library}.nn import functional as F
lib.set_num_threads(1)
model = nn.Sequential(
    nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10)
)
optimizer = optim.Adam(model.parameters())
rng = numpy.random.default_rng(0)
x = lib.tensor(rng.standard_normal((2048, 784), dtype=numpy.float32))
y = lib.tensor(rng.integers(0, 10, 2048))
for _ in range(3):
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


class Footprint(NamedTuple):
    """Seconds and bytes; None where the library has no such thing."""

    library: str
    import_seconds: float
    disk_bytes: int
    step_bytes: int | None


def _number_from(code: str, library: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code.format(library=library)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _disk_bytes(library: str) -> int:
    total = 0
    for package in _PACKAGES.get(library, (library,)):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        files = Path(spec.origin).parent.rglob("*")
        total += sum(f.stat().st_size for f in files if f.is_file() and f.suffix != ".pyc")
    return total


def measure(library: str) -> Footprint:
    """The footprint of one installed library."""
    _number_from(_IMPORT, library)  # from now on its files are in the system's cache
    seconds = statistics.median(_number_from(_IMPORT, library) for _ in range(_PROCESSES))
    step = int(_number_from(_STEP, library)) if library in ("tilework", "torch") else None
    return Footprint(library, seconds, _disk_bytes(library), step)


def run(console: Console) -> int:
    """Measures what is installed, prints the table, and returns 0."""
    table = Table(title="Footprint (the step: an MLP 784-2048-2048-10, batch 2048, Adam)")
    for heading in ("library", "import, s", "beyond NumPy, s", "on disk, MB", "peak of a step, MB"):
        table.add_column(heading, justify="left" if heading == "library" else "right")
    numpy_seconds = 0.0
    for library in LIBRARIES:
        if importlib.util.find_spec(library) is None:
            continue
        found = measure(library)
        if library == "numpy":
            numpy_seconds = found.import_seconds
        step = "" if found.step_bytes is None else f"{found.step_bytes / 1e6:.0f}"
        beyond = "" if library == "numpy" else f"{found.import_seconds - numpy_seconds:.3f}"
        disk = f"{found.disk_bytes / 1e6:.1f}"
        table.add_row(library, f"{found.import_seconds:.3f}", beyond, disk, step)
    console.print(table)
    return 0
