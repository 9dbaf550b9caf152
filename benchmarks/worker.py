"""A process that holds contestants, and prepares, checks and times as lines of JSON tell it.

`python -m tilework.benchmarks.worker THREADS KIND...`. Requests come on standard input:

    {"do": "prepare", "case": LABEL, "sets": 3}   ->  one {"contestant", "state", "why"} for each
    {"do": "sample", "contestant": i, "calls": n} ->  {"seconds": of one call}
    {"do": "moved"}                               ->  {"to_device", "to_host"}: a call's bytes
    {"do": "transfers", "contestant": i}          ->  {"to_device", "to_host"}: their seconds
    {"do": "forget"}                              ->  {}
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import traceback
from typing import Any

import numpy as np

from tilework.benchmarks.check import Judge
from tilework.benchmarks.contestants import Arrays, Contestant, Prepared, make
from tilework.testing import cases
from tilework.testing.case import Case
from tilework.testing.inputs import placed


class Worker:
    """The contestants of one process, and the case they are ready for."""

    def __init__(self, threads: int, kinds: list[str]) -> None:
        self.contestants: list[Contestant] = []
        self.absent: dict[str, str] = {}
        for kind in kinds:
            try:
                self.contestants.append(make(kind, threads))
            except (ImportError, RuntimeError) as reason:  # the latter of a device
                self.absent[kind] = str(reason)
        self.cases = {c.bench.label: c for c in cases.benchmarks() if c.bench is not None}
        self.case: Case | None = None
        self.ready: dict[int, list[Prepared]] = {}
        self.inputs: tuple[Any, ...] = ()
        self.answer: Arrays = []  # to those inputs

    def introduce(self) -> dict[str, Any]:
        """Who is here."""
        who = [{"name": c.name, "ours": c.ours, "device": c.device} for c in self.contestants]
        return {"contestants": who, "absent": self.absent}

    def prepare(self, case: str, sets: int) -> list[dict[str, Any]]:
        """Binds each contestant to `sets` inputs, and checks its first answer."""
        self.case = self.cases.get(case) or _of_sweep(case)
        assert self.case.bench is not None
        made = [self.case.make_inputs(self.case.bench.dtype, seed) for seed in range(sets)]
        # Where every library's own tensors begin. NumPy's large arrays begin 16 bytes past it, and
        # each vector that is read from them is cut by the end of a cache line.
        inputs = [
            tuple(placed(x, 0) if isinstance(x, np.ndarray) else x for x in one) for one in made
        ]
        judge = Judge(self.case, inputs[0])
        self.inputs, self.answer, self.ready = inputs[0], [], {}
        outcome = []
        for i, contestant in enumerate(self.contestants):
            state, why = "ready", ""
            try:
                prepared = [contestant.prepare(self.case, x, judge.grad) for x in inputs]
                ready = [p for p in prepared if p is not None]
                if len(ready) == sets:
                    answer = ready[0].answer()
                    judge.check(answer, contestant.ours, contestant.device)
                    self.ready[i], self.answer = ready, answer
                else:
                    state = "absent"
            except AssertionError as reason:
                state, why = "wrong", str(reason)
            except Exception:
                state, why = "failed", traceback.format_exc(limit=-3)
            outcome.append({"contestant": i, "state": state, "why": why})
        return outcome

    def sample(self, contestant: int, calls: int) -> dict[str, float]:
        """Seconds a call, over `calls` calls with the inputs in turn, after one untimed."""
        assert self.case is not None
        prepared = self.ready[contestant]
        turns = list(itertools.islice(itertools.cycle(p.call for p in prepared), calls))
        player = self.contestants[contestant]
        with player.running(self.case):
            prepared[-1].call()
            seconds = player.timed(turns)
        return {"seconds": seconds / calls}

    def moved(self) -> dict[str, int]:
        """Bytes of the arrays of one call: what goes in, and what comes out. Zero where nobody
        answered."""
        ways = {"to_device": self._given(), "to_host": self.answer}
        return {way: sum(x.nbytes for x in arrays) for way, arrays in ways.items()}

    def transfers(self, contestant: int) -> dict[str, float]:
        """Seconds that a contestant takes to bring those arrays over, and back."""
        to_device, to_host = self.contestants[contestant].transfers(self._given(), self.answer)
        return {"to_device": to_device, "to_host": to_host}

    def _given(self) -> Arrays:
        return [x for x in self.inputs if isinstance(x, np.ndarray)]

    def forget(self) -> dict[str, Any]:
        """Lets go of the inputs."""
        self.case, self.ready, self.inputs, self.answer = None, {}, (), []
        return {}


def _of_sweep(label: str) -> Case:
    """A case of the sweep over sizes (gpu/sweep.py)."""
    from tilework.benchmarks.gpu import sweep

    return sweep.by_label(label)


def main() -> None:
    threads, *kinds = sys.argv[1:]
    # Libraries print what they like: standard output belongs to the answers alone.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(int(threads), kinds)
    print(json.dumps(worker.introduce()), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(worker, request.pop("do"))(**request)), file=answers)


if __name__ == "__main__":
    main()
