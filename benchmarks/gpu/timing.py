"""A session that asks for the transfers of each case too."""

from __future__ import annotations

from collections.abc import Sequence

from tilework.benchmarks.gpu.work import Moved
from tilework.benchmarks.results import Row, Times
from tilework.benchmarks.session import Session, WorkerProcess
from tilework.testing.case import Case


class DeviceSession(Session):
    """Session, which keeps for each case the bytes that a call's arrays have, and the seconds that
    our own contestant on the device takes to move them."""

    def __init__(
        self, kinds: Sequence[str], threads: int, isa: str | None, precision: str | None
    ) -> None:
        super().__init__(kinds, threads, isa, precision)
        self.moved: dict[str, Moved] = {}
        self.transfers: dict[str, Moved] = {}

    def __enter__(self) -> DeviceSession:
        return self

    def measure(self, case: Case, budget: float) -> Row:
        self._moved: Moved | None = None
        self._transfer: Moved | None = None
        row = super().measure(case, budget)
        if self._moved is not None:
            self.moved[row.label] = self._moved
        if self._transfer is not None:
            self.transfers[row.label] = self._transfer
        return row

    def _time(self, turns: list[tuple[WorkerProcess, int, Times]], budget: float) -> None:
        players = list(turns)  # which timing shuffles
        super()._time(turns, budget)
        if players:
            self._moved = Moved(**players[0][0].ask("moved"))
        for worker, i, times in players:
            if times.ours and times.device != "CPU":
                self._transfer = Moved(**worker.ask("transfers", contestant=i))
