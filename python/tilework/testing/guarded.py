"""Cases on operands that lie against memory which cannot be read: what reads one element past an
operand ends the process.

So they run in a process of their own, which notes what it is at before it begins:

    python -m tilework.testing.guarded TARGET NOTES START

runs the target's cases from number START on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

import tilework as tw
from tilework import functional as F
from tilework.testing.case import Case
from tilework.testing.cases import all_cases
from tilework.testing.fenced import Fence, Side, reach
from tilework.testing.runner import TARGETS, Target, cotangent, running_on, to_tensors

LARGEST = 1 << 19  # elements of a case's arrays
MOST_CRASHES = 5  # that one run looks for: each takes a process
_NOTE_BYTES = 200


class Fences:
    """A fence for each operand of a call."""

    def __init__(self) -> None:
        self._fences: dict[Any, Fence] = {}

    def put(self, place: Any, x: Any, side: Side) -> Any:
        """An array at an end of its fence; other values as they are."""
        if not isinstance(x, np.ndarray):
            return x
        low, high = reach(x)
        fence = self._fences.get(place)
        if fence is None or fence.room < high - low:
            fence = self._fences[place] = Fence(max(high - low, 1 << 16))
        return fence.put(x, side)


def run_case(case: Case, dtype: str, fences: Fences, side: Side) -> None:
    """The call, and its gradients, with every array at an end of its fence."""
    inputs = case.make_inputs(dtype)
    inputs = tuple(fences.put(place, x, side) for place, x in enumerate(inputs))
    tensors = to_tensors(inputs, case.differentiable)
    with np.errstate(all="ignore"):
        out = case.bind(tw, F, tensors)()
        if case.differentiable:
            grad = fences.put("grad", cotangent(case, out.detach().numpy()), side)
            out.backward(tw.from_numpy(grad))


def jobs(target: Target) -> Iterator[tuple[Case, str, Side]]:
    """What a target runs: small cases at every dtype, against the page behind, and every third
    against the one in front."""
    for number, case in enumerate(c for c in all_cases() if c.quick and target.serves(c.family)):
        arrays = (x for x in case.make_inputs(case.dtypes[0]) if isinstance(x, np.ndarray))
        if sum(x.size for x in arrays) > LARGEST:
            continue
        for dtype in case.dtypes:
            yield case, dtype, "end"
            if number % 3 == 0:
                yield case, dtype, "start"


def crashes(target: Target) -> list[str]:
    """A line for each case that ends the process or raises: no more than MOST_CRASHES."""
    found: list[str] = []
    start = 0
    with tempfile.NamedTemporaryFile() as notes:
        while len(found) < MOST_CRASHES:
            command = [sys.executable, "-m", __name__, str(target), notes.name, str(start)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                break
            notes.seek(0)
            note = notes.read(_NOTE_BYTES).decode().strip()
            reason = (done.stderr.strip() or "no word").splitlines()
            found.append(f"{note}: exit status {done.returncode}: {reason[0]} ... {reason[-1]}")
            if not note:
                break
            start = int(note.split()[0]) + 1
    return found


def main(name: str, notes: str, start: int) -> None:
    """Runs a target's cases from number `start` on, each noted in the file `notes`."""
    import faulthandler

    faulthandler.enable()
    target = next(t for t in TARGETS if str(t) == name)
    file = os.open(notes, os.O_WRONLY)
    fences = Fences()
    with running_on(target):
        for number, (case, dtype, side) in enumerate(jobs(target)):
            if number < start:
                continue
            note = f"{number} {case} {dtype}, {side}".encode()[:_NOTE_BYTES]
            os.pwrite(file, note.ljust(_NOTE_BYTES), 0)
            run_case(case, dtype, fences, side)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
