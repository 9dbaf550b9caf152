"""`tilework bench --device cpu,cuda` and `tilework gpu-report`: with a simulated device, whose
times mean nothing, and without any."""

import dataclasses
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tilework as tw
from tilework import cli
from tilework.benchmarks import check, results, session
from tilework.benchmarks.gpu import (
    cards,
    clocks,
    contestants,
    crossing,
    flow,
    report,
    roofline,
    sweep,
    table,
    timing,
    work,
)
from tilework.benchmarks.gpu.results import Device, DeviceRun, read_device
from tilework.benchmarks.session import WorkerProcess
from tilework.benchmarks.worker import Worker
from tilework.testing import cases, simulated
from tilework.testing.runner import to_tensors

CASES = {c.bench.label: c for c in cases.benchmarks()}
LABEL = "gemm 64x64x64"
SOFTMAX = next(s for s in sweep.SERIES if s.name == "softmax")
SMALL = sweep.sized(SOFTMAX, 2)
PRODUCT = sweep.sized(next(s for s in sweep.SERIES if s.name == "matmul"), 24)
FORWARD, BACKWARD = (
    dataclasses.replace(
        SMALL, bench=dataclasses.replace(SMALL.bench, label=f"small {mode}", mode=mode)
    )
    for mode in ("forward", "backward")
)
MACHINE = {
    "cpu": {"model": "A <CPU>"}, "isa": "avx2", "threads": 1, "precision": "highest",
    "roof": {"float32": 1e11, "float64": 5e10, "bandwidth": 2e10}, "python": "3.11",
    "gpu": {"name": "", "reason": "none is here"}, "libraries": {"tilework": "1"},
}  # fmt: skip
NONE_HERE = "no NVIDIA driver: install one"

needs_simulator = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())


class Here:
    """A worker of this very process, so that it has the device that the test has."""

    ended = False

    def __init__(self, kinds, threads, env):
        self._worker = Worker(threads, list(kinds))
        introduction = self._worker.introduce()
        self.contestants, self.absent = introduction["contestants"], introduction["absent"]

    def ask(self, do, **arguments):
        return json.loads(json.dumps(getattr(self._worker, do)(**arguments)))

    def close(self):
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One process, a known machine, and few rounds."""
    monkeypatch.setattr(session, "WorkerProcess", Here)
    monkeypatch.setattr(session, "MAX_ROUNDS", 3)
    monkeypatch.setattr(session, "MIN_ROUNDS", 2)
    monkeypatch.setattr(session, "SAMPLE_SECONDS", 1e-5)
    monkeypatch.setattr(contestants, "WARM_SECONDS", 0.0)
    monkeypatch.setattr(contestants, "_TRANSFERS", 1)
    monkeypatch.setattr(flow, "machine", lambda *_: MACHINE)
    ours = {kind: where for kind, where in flow.ON_CUDA.items() if kind != "torch-cuda"}
    monkeypatch.setattr(flow, "ON_CUDA", ours)


@pytest.fixture
def none_here(monkeypatch):
    monkeypatch.setattr(tw.cuda, "is_available", lambda: False)
    monkeypatch.setattr(tw.cuda, "why_not", lambda: NONE_HERE)


@pytest.fixture
def device(monkeypatch):
    """A simulated one, and small cases."""
    monkeypatch.setattr(cases, "benchmarks", lambda: (FORWARD, BACKWARD, PRODUCT))
    with simulated.device() as made:
        yield made


def bench(*more, label=LABEL):
    return cli.main(["bench", "--filter", label, "--seconds", "0.01", "--peers", *more])


# --- the work of a case, and what a card leaves of it ---


def test_every_timed_case_has_its_work():
    unknown = {c.op for c in CASES.values() if not work.modelled(c.op, c.bench.flops)}
    assert not unknown


@pytest.mark.parametrize("key", cards.CARDS)
def test_a_card_has_all_its_peaks_and_their_source(key):
    card = cards.CARDS[key]
    assert set(card.flops) == {"float64", "float32", "tf32", "bfloat16", "float16"}
    assert card.flops["float64"] < card.flops["float32"] <= card.flops["tf32"]
    assert card.flops["tf32"] < card.flops["bfloat16"] == card.flops["float16"]
    assert 1e11 < card.bandwidth < 1e13
    assert card.pcie in (32e9, 64e9)
    assert "NVIDIA" in card.source
    assert cards.named(card.driver) == key


@pytest.mark.parametrize(
    "other", ["NVIDIA A100-SXM4-40GB", "NVIDIA H200 NVL", "NVIDIA GH200 480GB", "simulated"]
)
def test_another_of_its_family_is_no_card_of_the_table(other):
    assert cards.named(other) == ""


def a_row(op="matmul", dtype="float32", flops=0.0, bytes_=1.0, label="a", **seconds):
    times = [
        results.Times(name, True, "CUDA" if name == "cuda" else "CPU", "ready", "", t, t, t, 3)
        for name, t in seconds.items()
    ]
    return results.Row(label, "gemm", op, "forward", dtype, flops, bytes_, times)


def test_a_bound_is_what_takes_longest():
    card = cards.CARDS["h200"]
    products = work.work(a_row(flops=67e12, bytes_=1.0))
    assert cards.bound(products, card) == pytest.approx(1.0)
    assert cards.bound(work.work(a_row(bytes_=9.6e12)), card) == pytest.approx(2.0)
    faster = work.work(a_row(flops=67e12, bytes_=1.0), "high")
    assert cards.bound(faster, card) == pytest.approx(67 / 494.5)
    fastest = work.work(a_row(flops=67e12, bytes_=1.0), "medium")
    assert cards.bound(fastest, card) == pytest.approx(67 / 989.5)
    narrow = work.work(a_row(dtype="bfloat16", flops=989.5e12))
    assert cards.bound(narrow, card) == pytest.approx(1.0)
    assert cards.roof(products, card) == pytest.approx(67e12)
    # Arithmetic that a card of a hundredth of the CUDA cores' speed would be bound by.
    slow = dataclasses.replace(card, flops={**card.flops, "float32": 1e11})
    gelu = work.work(a_row("gelu", bytes_=8e9))
    assert gelu.intensity == pytest.approx(2.5)
    assert cards.bound(gelu, slow) == pytest.approx(0.2)
    assert cards.bound(gelu, card) == pytest.approx(8e9 / 4.8e12)


# --- without a GPU ---


@pytest.mark.usefixtures("none_here")
def test_without_a_gpu_its_column_is_a_bound_and_says_so(tmp_path, capsys):
    path = tmp_path / "b.json"
    assert bench("--device", "cpu,cuda", "--model-gpu", "a100", "--json", str(path)) == 0
    text = capsys.readouterr().out
    assert "A100 SXM 80 GB: bound, not measured" in text
    assert f"bound, not measured: {NONE_HERE}" in text
    assert "NVIDIA A100 Tensor Core GPU datasheet" in text
    run = read_device(path)
    assert not run.device.measured
    (row,) = run.rows
    assert run.device_times(row) == []
    least = max(2 * 64**3 / 19.5e12, 3 * 4 * 64**2 / 2.039e12)
    assert run.device_seconds(row) == pytest.approx(least)
    assert f">= {results.duration(least)}" in text
    assert run.device.moved[LABEL] == (2 * 4 * 64**2, 4 * 64**2)
    assert run.device.transfer(LABEL) == pytest.approx((8 * 64**2 / 32e9, 4 * 64**2 / 32e9))
    points = json.loads(path.read_text())["roofline"]
    assert [(p["device"], p["measured"]) for p in points] == [
        ("CPU", True), ("A100 SXM 80 GB", False),
    ]  # fmt: skip
    assert points[1]["rate"] == pytest.approx(points[1]["roof"])


@pytest.mark.usefixtures("none_here")
def test_the_report_without_a_gpu_says_what_is_missing(tmp_path, capsys):
    path = tmp_path / "r.json"
    assert cli.main(["gpu-report", "--output", str(path)]) == 1
    assert capsys.readouterr().err == f"tilework gpu-report needs a GPU: {NONE_HERE}\n"
    assert not path.exists()


def test_wrong_options_are_told(capsys):
    for words in (["--device", "cpu,tpu"], ["--device", "cpu,cuda", "--html", "x.html"]):
        assert bench(*words) == 2
        assert "[bench] expected" in capsys.readouterr().err


# --- with one ---


@needs_simulator
@pytest.mark.usefixtures("device")
def test_with_a_device_its_times_and_transfers_have_columns(tmp_path, capsys):
    path = tmp_path / "b.json"
    words = ["--device", "cpu,cuda", "--model-gpu", "h200", "--json", str(path)]
    assert bench(*words, label="small forward") == 0
    text = capsys.readouterr().out
    for words in ("tilework, CUDA", "to device", "to host", "with transfers", "GPU: simulated"):
        assert words in text
    assert "not measured" not in text
    assert "clocks" in text
    run = read_device(path)
    assert run.device.measured
    (row,) = run.rows
    assert [(t.name, t.device, t.state) for t in row.times if t.state != "absent"] == [
        ("tilework", "CPU", "ready"), ("tilework, CUDA", "CUDA", "ready"),
    ]  # fmt: skip
    assert all(seconds > 0 for seconds in run.device.transfers["small forward"])
    assert run.device.about["versions"] == flow.versions()
    assert {p.device for p in roofline.points(run)} == {"CPU", "simulated"}


@needs_simulator
@pytest.mark.parametrize("label", ["DQN 4-128-128-2 step, batch 64", "drawn"])
def test_a_case_with_a_state_of_its_own_is_checked_at_its_first_call(label, device, monkeypatch):
    step = CASES["DQN 4-128-128-2 step, batch 64"]
    drawn = dataclasses.replace(CASES["dropout 4096x768"], inputs=lambda *_: (np.ones(999, "f"),))
    drawn = dataclasses.replace(drawn, bench=dataclasses.replace(drawn.bench, label="drawn"))
    monkeypatch.setattr(cases, "benchmarks", lambda: (step, drawn))
    engine = tw.engines.current_engine()
    with timing.DeviceSession([f"tilework:{engine}", "tilework-cuda"]) as one:
        case = step if label != "drawn" else drawn
        row = one.measure(case, 0.01)
    assert [(t.state, t.why) for t in row.times] == [("ready", "")] * 2
    assert one.transfers[label].to_device > 0


@needs_simulator
def test_products_have_a_column_of_cublas(device, tmp_path, capsys):
    path = tmp_path / "b.json"
    assert bench("--device", "cuda,cpu", "--json", str(path), label="matmul") == 0
    assert "cuBLAS" in capsys.readouterr().out
    run = read_device(path)
    assert [(t.name, t.state) for t in run.device_times(run.rows[0])] == [
        ("tilework, CUDA", "ready"), ("cuBLAS", "ready"),
    ]  # fmt: skip
    assert run.fastest_on_device(run.rows[0]).name == "tilework, CUDA"
    worker = Worker(1, ["cublas"])
    device.launched.clear()
    assert [o["state"] for o in worker.prepare(PRODUCT.bench.label, sets=1)] == ["ready"]
    assert not device.launched  # the cupy engine's, no kernel of ours
    assert [o["state"] for o in worker.prepare("small forward", sets=1)] == ["absent"]


@pytest.mark.parametrize(("precision", "bits"), [("highest", 24), ("high", 11), ("medium", 8)])
def test_products_on_tensor_cores_may_lose_what_their_bits_cost(precision, bits):
    case = sweep.sized(sweep.SERIES[0], 4)  # of few terms, so that each one's error counts
    inputs = case.make_inputs("float32")
    judge = check.Judge(case, inputs)
    kept = [np.ldexp(np.round(np.ldexp(m, bits)), e - bits) for m, e in map(np.frexp, inputs)]
    answer = [np.matmul(*(x.astype(np.float64) for x in kept)).astype(np.float32)]
    before = tw.get_float32_matmul_precision()
    try:
        tw.set_float32_matmul_precision(precision)
        judge.check(answer, ours=True, on="CUDA")
        contestants.beside_cpu(case, inputs, judge.grad, answer, [np.matmul(*inputs)])
        tw.set_float32_matmul_precision("highest")
        if bits < 24:
            with pytest.raises(AssertionError, match="elements are off"):
                judge.check(answer, ours=True, on="CUDA")
    finally:
        tw.set_float32_matmul_precision(before)


@needs_simulator
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(("spoil", "state"), [(0, "ready"), (1, "wrong"), (2, "wrong")])
def test_a_wrong_answer_of_the_device_is_not_timed(spoil, state, monkeypatch):
    plain = contestants.TileworkOnCuda.fetched
    fetches = []

    def spoilt(self, x):
        fetches.append(x)
        found = plain(self, x)
        return found * np.float32(1.01) if len(fetches) == spoil else found

    monkeypatch.setattr(contestants.TileworkOnCuda, "fetched", spoilt)
    worker = Worker(1, ["tilework-cuda"])
    (outcome,) = worker.prepare("small backward", sets=1)
    assert len(fetches) == 2  # the output, its gradient
    assert outcome["state"] == state, outcome["why"]
    fetches.clear()
    assert bench("--device", "cpu,cuda", label="small backward") == int(state == "wrong")


@needs_simulator
@pytest.mark.usefixtures("device")
def test_gradients_are_held_against_the_cpu_engine(monkeypatch):
    case = BACKWARD
    inputs = case.make_inputs("float32")
    grad = np.ones_like(inputs[0])
    cpu = contestants.Tilework(tw.engines.current_engine())
    answer = cpu.prepare(case, inputs, grad).answer()
    held = []
    monkeypatch.setattr(contestants, "beside_cpu", lambda *given: held.append(given))
    on_card = contestants.TileworkOnCuda(1).prepare(case, inputs, grad).answer()
    ((*_, found, beside),) = held
    monkeypatch.undo()
    assert all(map(np.array_equal, found, on_card))
    assert all(map(np.array_equal, beside, answer))
    contestants.beside_cpu(case, inputs, grad, answer, answer)
    off = [answer[0], answer[1] + np.float32(1e-3)]
    with pytest.raises(AssertionError, match="gradient 0, beside the CPU engine's"):
        contestants.beside_cpu(case, inputs, grad, off, answer)


@needs_simulator
@pytest.mark.usefixtures("device")
def test_a_report_is_one_file_that_another_machine_compares(tmp_path, capsys, monkeypatch):
    tests = {"ran": True, "why": "", "passed": 3, "failed": 0, "skipped": 0, "failures": []}
    monkeypatch.setattr(report, "run_tests", lambda: tests)
    monkeypatch.setattr(report, "chosen", lambda *_: [FORWARD])
    monkeypatch.setattr(flow, "installed", lambda _: [])
    monkeypatch.setattr(sweep, "SERIES", (dataclasses.replace(SOFTMAX, sizes=(1, 4)),))
    path = tmp_path / "r.json"
    assert cli.main(["gpu-report", "--quick", "--output", str(path)]) == 0
    text = capsys.readouterr().out
    assert "tests: 3 passed, 0 failed" in text
    assert "softmax: the GPU pays" in text
    run = read_device(path)
    assert run.tests == tests
    assert [one["name"] for one in run.crossing] == ["softmax"]
    assert len(run.crossing[0]["with_transfers"]) == 2

    tests["failed"] = 1
    assert cli.main(["gpu-report", "--quick", "--output", str(tmp_path / "failed.json")]) == 1
    capsys.readouterr()

    monkeypatch.setattr(flow, "machine", lambda *_: {**MACHINE, "cpu": {"model": "Another"}})
    both = tmp_path / "both.json"
    words = ["bench", "--compare", str(path), "--seconds", "0.01", "--peers", "--json", str(both)]
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "Another, avx2, 1 thread(s), beside simulated (measured 20" in text
    assert "tilework, CUDA" in text
    assert "not measured" not in text
    content = json.loads(both.read_text())
    assert {t["device"] for t in content["rows"][0]["times"]} == {"CPU"}
    assert content["other"]["device"]["card"] == "simulated"

    words += ["--crossing", str(tmp_path / "c.png")]
    assert cli.main(words) == 0
    theirs, ours = run.crossing[0], json.loads(both.read_text())["crossing"][0]
    assert ours["device"] == theirs["device"]  # as it was measured there, beside this CPU
    assert ours["with_transfers"] == theirs["with_transfers"]
    assert ours["cpu"] != theirs["cpu"]


@needs_simulator
@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    "fault", [RuntimeError("it ended with status -11"), BrokenPipeError("gone")]
)
def test_a_fault_of_the_device_ends_its_process_and_not_the_run(fault):
    engine = tw.engines.current_engine()
    with timing.DeviceSession([f"tilework:{engine}", "tilework-cuda"]) as one:
        cpu, card = one.workers
        assert [w.contestants[0]["device"] for w in one.workers] == ["CPU", "CUDA"]

        def ask(do, **arguments):
            raise fault

        card.ask = ask
        (times,) = one.measure(FORWARD, 0.01).times
        assert (times.name, times.state, times.why) == ("tilework, CUDA", "failed", str(fault))
        assert one.workers[0] is cpu
        assert one.workers[1] is not card
        assert [t.state for t in one.measure(FORWARD, 0.01).times] == ["ready", "ready"]
        cpu.ask, cpu.ended = ask, True  # the system took it, for its memory
        assert [t.state for t in one.measure(FORWARD, 0.01).times] == ["failed"]
        assert one.workers[0] is not cpu
        assert [t.state for t in one.measure(FORWARD, 0.01).times] == ["ready", "ready"]


@needs_simulator
@pytest.mark.usefixtures("device")
def test_a_process_that_does_not_begin_again_fails_each_case(monkeypatch):
    with timing.DeviceSession(["tilework:native", "tilework-cuda"]) as one:
        card = one.workers[1]

        def ask(do, **arguments):
            raise RuntimeError("it ended with status 1")

        def none(*_):
            raise RuntimeError("no card any more")

        card.ask = ask
        monkeypatch.setattr(session, "WorkerProcess", none)
        for _ in range(2):
            (times,) = one.measure(FORWARD, 0.01).times
            assert (times.state, times.why) == ("failed", "it ended with status 1")


def test_a_process_that_hangs_is_ended(tmp_path, monkeypatch):
    script = tmp_path / "hangs"
    script.write_text(
        '#!/bin/sh\necho \'{"contestants": [], "absent": {}}\'\nread one\nexec sleep 60\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    worker = WorkerProcess([], 1, dict(os.environ))
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.2)
    with pytest.raises(RuntimeError, match=r"had not answered after 0\.2 s"):
        worker.ask("forget")
    worker.close()
    assert worker.ended


def test_a_contestant_whose_device_refuses_is_absent(monkeypatch):
    def make(kind, threads):
        raise RuntimeError("compute capability 8.0 is wanted")

    monkeypatch.setattr("tilework.benchmarks.worker.make", make)
    assert Worker(1, ["tilework-cuda"]).absent == {
        "tilework-cuda": "compute capability 8.0 is wanted"
    }


@needs_simulator
@pytest.mark.usefixtures("device")
def test_what_ends_a_report_leaves_what_was_measured(tmp_path, monkeypatch):
    tests = {"ran": True, "why": "", "passed": 3, "failed": 0, "skipped": 0, "failures": []}
    monkeypatch.setattr(report, "run_tests", lambda: tests)
    monkeypatch.setattr(report, "chosen", lambda *_: [FORWARD, BACKWARD])
    monkeypatch.setattr(flow, "installed", lambda _: [])
    measure = timing.DeviceSession.measure

    def interrupted(self, case, budget):
        if case is BACKWARD:
            raise KeyboardInterrupt
        return measure(self, case, budget)

    monkeypatch.setattr(timing.DeviceSession, "measure", interrupted)
    path = tmp_path / "r.json"
    assert cli.main(["gpu-report", "--output", str(path)]) == 130
    run = read_device(path)
    assert ([row.label for row in run.rows], run.tests) == (["small forward"], tests)
    assert run.device.transfers["small forward"].to_device > 0
    assert "ended before" in run.noise["text"]
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]


def test_a_file_stays_until_another_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    results.write_whole(path, "before")

    def cut(file):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", cut)
    with pytest.raises(OSError, match="no space"):
        results.write_whole(path, "after")
    monkeypatch.undo()
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]


@needs_simulator
@pytest.mark.usefixtures("device")
def test_what_ends_a_report_leaves_its_tests(tmp_path, monkeypatch):
    tests = {"ran": True, "why": "", "passed": 3, "failed": 0, "skipped": 0, "failures": []}
    monkeypatch.setattr(report, "run_tests", lambda: tests)
    monkeypatch.setattr(flow, "measure", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["gpu-report", "--output", str(tmp_path / "r.json")])
    run = read_device(tmp_path / "r.json")
    assert (run.rows, run.tests, run.device.card) == ([], tests, "simulated")
    assert table.headline(run) == "no case has both a CPU's time and a GPU's"


def test_marked_tests_run_in_a_process_of_their_own(tmp_path, monkeypatch):
    package = tmp_path / "marked"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "test_it.py").write_text(
        "import pytest\n"
        "def test_other(): assert 0\n"
        "@pytest.mark.gpu\ndef test_good(): pass\n"
        "@pytest.mark.gpu\ndef test_bad(): assert 0, 'as it should'\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), *sys.path)))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # a part of the tests is the outer pytest's
    monkeypatch.chdir(tmp_path)
    found = report.run_tests("marked")
    assert (found["ran"], found["passed"], found["failed"]) == (True, 1, 1)
    assert "as it should" in found["failures"][0]["text"]
    (package / "test_it.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test_it(): pytest.skip('no card')\n"
    )
    found = report.run_tests("marked")
    assert (found["ran"], found["why"], found["failed"]) == (False, "every one was skipped", 1)
    assert report.run_tests("no_such_package")["failed"] == 1


def test_the_marked_tests_are_those_that_the_report_runs():
    """One file: that another cannot be imported where a card is, is no reason to run none."""
    mark = "pytest.mark." + "gpu"
    here = Path(__file__)
    marked = [file.name for file in here.parent.glob("*.py") if mark in file.read_text()]
    assert sorted(marked) == [here.name, "test_gpu.py"]
    assert inspect.signature(report.run_tests).parameters["package"].default.endswith(".test_gpu")


def test_a_failed_test_is_in_the_report(tmp_path):
    file = tmp_path / "tests.xml"
    file.write_text(
        '<testsuites><testsuite><testcase classname="a" name="b"><failure message="m">why'
        '</failure></testcase><testcase classname="a" name="c"><skipped/></testcase>'
        '<testcase classname="a" name="d"/></testsuite></testsuites>'
    )
    found = report.counted(file)
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 1, 1)
    assert found["failures"] == [{"test": "a::b", "text": "why"}]
    assert "1 passed, 1 failed\n  failed: a::b" in report.verdict(found)


def test_clocks_come_from_nvidia_smi_or_are_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert clocks.read() == {}
    assert clocks.line({}, {}) == "clocks unknown: nvidia-smi is not here"
    values = "A card, 580.1, 1980 MHz, 1981 MHz, 3201 MHz, 3202 MHz, 700.00 W, 30, 5, 16"
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho '{values}'\n")
    smi.chmod(0o755)
    found = clocks.read()
    assert found["driver_version"] == "580.1"
    assert clocks.line({**found, "clocks.sm": "345 MHz"}, found) == (
        "clocks: SM 345 MHz before, 1980 MHz after, of 1981 MHz; memory 3201 MHz before, "
        "3201 MHz after, of 3202 MHz"
    )


# --- from which size the GPU pays ---


@pytest.mark.parametrize(
    ("cpu", "gpu", "found"),
    [
        ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], None),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], 1.0),
        ([1.0, 10.0, 100.0], [10.0, 10.0, 10.0], 10.0),
        ([1.0, 4.0, 100.0], [2.0, 2.0, 10.0], 10**0.5),
        ([9.0, 1.0, 100.0], [2.0, 10.0, 10.0], 10**1.5),  # ahead again, and then it stays so
        ([1.0, 9.0, 1.0], [2.0, 2.0, 2.0], None),
        ([1.0, 9.0, 1.0, 100.0], [2.0, 2.0, 10.0, 10.0], 10**2.5),
    ],
)
def test_the_crossing_point_is_where_the_gpu_stays_ahead(cpu, gpu, found):
    point = sweep.crossing([10**i for i in range(len(cpu))], cpu, gpu)
    assert point == (None if found is None else pytest.approx(found))


def test_each_size_of_the_sweep_is_a_case_with_its_bytes():
    for series in sweep.SERIES:
        case = sweep.by_label(series.label(series.sizes[0]))
        inputs = case.make_inputs("float32")
        arrays = [x for x in inputs if isinstance(x, np.ndarray)]
        given, back = sweep.bytes_of(series, series.sizes[0])
        weights = sum(x.nbytes for x in arrays[2:]) if series.name == "MLP step" else 0
        assert given == sum(x.nbytes for x in arrays) - weights
        assert back == 4 * max(case.expected(inputs).size, 1)
    with pytest.raises(KeyError):
        sweep.by_label("matmul, 3")


@pytest.mark.usefixtures("none_here")
def test_a_card_that_lacks_cupy_is_bound_by_its_own_peaks(monkeypatch):
    assert flow.described(None).model == "h200"
    found = {"name": "NVIDIA GeForce RTX 4090", "reason": NONE_HERE}
    monkeypatch.setattr(flow.hardware, "gpu", lambda: found)
    assert flow.described(None).model == "rtx4090"
    assert flow.described("a100").model == "a100"


@needs_simulator
@pytest.mark.full
def test_every_small_timed_case_is_ready_on_the_device():
    small = [c.bench.label for c in CASES.values() if c.bench.bytes < 1.3e6 and c.bench.flops < 1e7]
    with simulated.device(races=False):
        worker = Worker(1, ["tilework-cuda"])
        found = {label: worker.prepare(label, sets=1)[0] for label in small}
    assert len(found) > 20
    assert {label: o["why"] for label, o in found.items() if o["state"] != "ready"} == {}


@needs_simulator
@pytest.mark.parametrize("series", sweep.SERIES, ids=lambda s: s.name)
def test_the_sweep_counts_no_launch_too_many(series):
    """Its bound has those that every call must make."""
    case = sweep.sized(series, series.sizes[0])
    with simulated.device(races=False) as made, tw.device("cuda"):
        call = case.bind(tw, tw.functional, to_tensors(case.make_inputs("float32")))
        call()
        made.launched.clear()
        call()
        assert sum(made.launched.values()) >= series.launches


@pytest.mark.usefixtures("none_here")
def test_pictures_are_drawn(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    small = tuple(dataclasses.replace(s, sizes=s.sizes[:1]) for s in sweep.SERIES)
    monkeypatch.setattr(sweep, "SERIES", small)
    pictures = [tmp_path / "roof.png", tmp_path / "cross.png"]
    words = [
        f"--{what}={path}" for what, path in zip(("roofline", "crossing"), pictures, strict=True)
    ]
    assert bench("--device", "cpu,cuda", *words) == 0
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in pictures)
    assert "transfers included" in capsys.readouterr().out


def test_ratios_have_three_digits():
    assert [table.times(x) for x in (7.942, 26.72, 958.3, 1643.0)] == [
        "7.94x", "26.7x", "958x", "1,640x",
    ]  # fmt: skip


def test_a_card_without_peaks_has_no_roof(tmp_path):
    pytest.importorskip("matplotlib")
    device = Device("A card", True)
    row = a_row(cpu=12.0, cuda=1.0, flops=4.0)
    run = DeviceRun([row], MACHINE, {"reasons": [], "text": ""}, device=device)
    cpu, card = roofline.points(run)
    assert (cpu.rate, cpu.roof) == (pytest.approx(1 / 3), pytest.approx(8e10))
    assert (card.rate, card.roof) == (4.0, None)
    assert table._device_cells(run, row, ["cuda"]) == ["1 s", ""]
    roofline.write_plot(tmp_path / "r.png", run)
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"


def test_a_sweep_that_no_device_answered_draws_no_panel(tmp_path):
    pytest.importorskip("matplotlib")
    one = crossing._columns(SOFTMAX, {4: 1.0}, {}, True)
    assert one["sizes"] == []
    assert crossing.pays(one["pays_from"], one) == "has no size that both sides have"
    run = DeviceRun([], MACHINE, {"reasons": [], "text": ""}, device=Device("A card", True))
    run.crossing = [one]
    crossing.write_plot(tmp_path / "c.png", run)
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"


def test_gains_count_the_transfers():
    device = Device("A card", True, "", "", {}, {}, {"a": work.Moved(2.0, 1.0)})
    row = a_row(cpu=12.0, cuda=1.0)
    run = DeviceRun([row], MACHINE, {"reasons": [], "text": ""}, device=device)
    assert table.gains(run, row) == pytest.approx((12.0, 3.0))
    assert "12x our CPU, the geometric mean of 1; 3x with the transfers of 1" in table.headline(run)
    assert crossing.note(run).startswith("A card, measured")


# --- the CPU's own run stays as it was ---


def test_without_devices_nothing_of_this_is_imported(tmp_path):
    code = (
        "import sys; from tilework import cli; cli.main(['bench', '--list', '--filter', 'gemm']); "
        "import tilework.benchmarks.worker, tilework.benchmarks.session; "
        "assert not [m for m in sys.modules if m.startswith(('tilework.benchmarks.gpu', 'cupy'))]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_a_file_of_the_cpu_alone_is_as_it_was(tmp_path):
    run = results.Run([a_row(cpu=1.0)], MACHINE, {"reasons": [], "text": ""})
    run.write(tmp_path / "b.json")
    assert list(json.loads((tmp_path / "b.json").read_text())) == [
        "rows", "machine", "noise", "command", "when",
    ]  # fmt: skip
    assert not results.has_device(tmp_path / "b.json")
    assert not results.has_device(tmp_path / "none.json")
