"""A session that asks for the transfers of each case too, and outlives a device's faults."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from tilework.benchmarks import environment, session
from tilework.benchmarks.contestants import ON_CUDA
from tilework.benchmarks.gpu.work import Moved
from tilework.benchmarks.results import Row, Times
from tilework.benchmarks.session import Session, WorkerProcess
from tilework.testing.case import Case


class DeviceSession(Session):
    """Session, which keeps for each case the bytes that a call's arrays have, and the seconds that
    our own contestant on the device takes to move them.

    Who plays on the device has a process of its own: a fault there ends all later work of the
    process, so that it is started anew, as any is that has ended.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        threads: int = 1,
        isa: str | None = None,
        precision: str | None = None,
    ) -> None:
        super().__init__(kinds, threads, isa, precision)
        self._grouped = self._groups(kinds, threads)
        self._threads = threads
        self._environment = environment.worker_environment(threads, isa, precision)
        self.moved: dict[str, Moved] = {}
        self.transfers: dict[str, Moved] = {}

    def __enter__(self) -> DeviceSession:
        return self

    def _groups(self, kinds: Sequence[str], threads: int) -> list[list[str]]:
        on_cpu = [kind for kind in kinds if kind not in ON_CUDA]
        groups = super()._groups(on_cpu, threads) if on_cpu else []
        return [*groups, *([kind] for kind in kinds if kind in ON_CUDA)]

    def measure(self, case: Case, budget: float) -> Row:
        """Session's; a process that ended on the way is a failure of its contestant."""
        assert case.bench is not None
        self._moved: Moved | None = None
        self._transfer: Moved | None = None
        try:
            row = super().measure(case, budget)
        except (RuntimeError, OSError) as reason:  # OSError: the pipe to a process that has ended
            row = _row(case, str(reason))
        else:
            if self._moved is not None:
                self.moved[row.label] = self._moved
            if self._transfer is not None:
                self.transfers[row.label] = self._transfer
        failed = any(t.state == "failed" and t.device != "CPU" for t in row.times)
        self._start_anew([w.ended or (failed and g[0] in ON_CUDA) for w, g in self._pairs()])
        return row

    def _pairs(self) -> list[tuple[WorkerProcess, list[str]]]:
        return list(zip(self.workers, self._grouped, strict=True))

    def _time(self, turns: list[tuple[WorkerProcess, int, Times]], budget: float) -> None:
        players = list(turns)  # which timing shuffles
        super()._time(turns, budget)
        if players:
            self._moved = Moved(**players[0][0].ask("moved"))
        for worker, i, times in players:
            if times.ours and times.device != "CPU":
                self._transfer = Moved(**worker.ask("transfers", contestant=i))

    def _start_anew(self, which: list[bool]) -> None:
        """New processes for those. One that does not begin leaves its place to the old one, which
        fails by what it answers."""
        for i, (worker, group) in enumerate(self._pairs()):
            if which[i]:
                worker.close()
                with suppress(RuntimeError, OSError):
                    self.workers[i] = session.WorkerProcess(group, self._threads, self._environment)


def _row(case: Case, reason: str) -> Row:
    """A case that ended a process."""
    bench = case.bench
    assert bench is not None
    row = Row(bench.label, case.family, case.op, bench.mode, bench.dtype, bench.flops, bench.bytes)
    row.times.append(Times("tilework, CUDA", True, "CUDA", "failed", reason))
    return row
