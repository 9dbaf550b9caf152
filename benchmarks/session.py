"""Whose turn it is: contestants are timed in a shuffled order, round after round."""

from __future__ import annotations

import json
import random
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tilework.benchmarks import environment
from tilework.benchmarks.results import Row, Times
from tilework.testing.case import Case

INPUT_SETS = 3  # rotated, so that no answer comes from the inputs of the call before
SAMPLE_SECONDS = 0.004  # long beside the clock and the pipe, short beside the machine's drifts
MIN_ROUNDS, MAX_ROUNDS = 5, 200
ANSWER_SECONDS = 900.0  # whoever takes longer for one answer hangs
_CLOSING_SECONDS = 60.0


class WorkerProcess:
    """The other end of worker.py."""

    def __init__(self, kinds: Sequence[str], threads: int, env: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tilework.benchmarks.worker", str(threads), *kinds]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env
        )
        introduction = self._read()
        self.contestants: list[dict[str, Any]] = introduction["contestants"]
        self.absent: dict[str, str] = introduction["absent"]

    def ask(self, do: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._read()

    @property
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Ends the process, by force where it does not end by itself."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # one that a driver holds may stay: nobody waits for it

    def _read(self) -> Any:
        assert self._process.stdout is not None
        # Nothing of an earlier line is left in the buffer: each request has one.
        if not select.select([self._process.stdout], [], [], ANSWER_SECONDS)[0]:
            self._process.kill()
            raise RuntimeError(f"a benchmark process had not answered after {ANSWER_SECONDS:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a benchmark process ended with status {self._process.wait()}")
        return json.loads(line)


class Session:
    """The workers of one run.

    At one thread one process holds everybody. With more, each library has its own, because the
    threads of a pool that spins would slow the next library's. A variant that wants another
    environment has its own process always. Only one process works at a time.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        threads: int = 1,
        isa: str | None = None,
        precision: str | None = None,
        keep: bool = False,
    ) -> None:
        env = environment.worker_environment(threads, isa, precision)
        self.workers = [
            WorkerProcess(group, threads, env) for group in self._groups(kinds, threads)
        ]
        if keep:
            keeping = env | environment.KEEP_MEMORY
            self.workers.append(WorkerProcess(["torch-keeping-memory"], threads, keeping))
        self._random = random.Random(0)

    def _groups(self, kinds: Sequence[str], threads: int) -> list[list[str]]:
        """Who shares a process."""
        return [list(kinds)] if threads == 1 else [[kind] for kind in kinds]

    @property
    def absent(self) -> dict[str, str]:
        """The contestants that could not be imported, and why."""
        return {k: v for worker in self.workers for k, v in worker.absent.items()}

    def close(self) -> None:
        for worker in self.workers:
            worker.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def measure(self, case: Case, budget: float) -> Row:
        """Times a case for about `budget` seconds, at least MIN_ROUNDS rounds."""
        bench = case.bench
        assert bench is not None
        row = Row(
            bench.label, case.family, case.op, bench.mode, bench.dtype, bench.flops, bench.bytes
        )
        turns: list[tuple[WorkerProcess, int, Times]] = []
        for worker in self.workers:
            for outcome in worker.ask("prepare", case=bench.label, sets=INPUT_SETS):
                who = worker.contestants[outcome["contestant"]]
                times = Times(**who, state=outcome["state"], why=outcome["why"])
                row.times.append(times)
                if times.state == "ready":
                    turns.append((worker, outcome["contestant"], times))
        self._time(turns, budget)
        for worker in self.workers:
            worker.ask("forget")
        return row

    def _time(self, turns: list[tuple[WorkerProcess, int, Times]], budget: float) -> None:
        calls = {}
        for worker, i, _ in turns:
            worker.ask("sample", contestant=i, calls=INPUT_SETS)  # JIT, caches, first-touch
            estimate = worker.ask("sample", contestant=i, calls=INPUT_SETS)["seconds"]
            calls[worker, i] = max(1, round(SAMPLE_SECONDS / max(estimate, 1e-9)))
        samples: dict[tuple[WorkerProcess, int], list[float]] = {(w, i): [] for w, i, _ in turns}
        start, rounds = time.perf_counter(), 0
        while turns and rounds < MAX_ROUNDS:
            if rounds >= MIN_ROUNDS and time.perf_counter() - start > budget:
                break
            self._random.shuffle(turns)
            for worker, i, _ in turns:
                answer = worker.ask("sample", contestant=i, calls=calls[worker, i])
                samples[worker, i].append(answer["seconds"])
            rounds += 1
        for worker, i, times in turns:
            taken = samples[worker, i]
            times.low, times.seconds, times.high = statistics.quantiles(taken, n=4)
            times.rounds = len(taken)
