"""The benchmark suite: it checks before it times, and says so when an answer is wrong."""

import dataclasses
import json

import numpy as np
import pytest

import tilework as tw
from tilework import cli
from tilework.benchmarks import check, conv_accuracy, environment, footprint, report, session
from tilework.benchmarks.contestants import NumPy, Tilework, make
from tilework.benchmarks.worker import Worker
from tilework.functional.packed import packed_weight
from tilework.testing import cases

CASES = {c.bench.label: c for c in cases.benchmarks()}
SMALL = CASES["gemm 64x64x64"]


def test_labels_are_unique_and_quick_is_a_part():
    assert len(CASES) == len(cases.benchmarks())
    assert 5 <= sum(c.bench.quick for c in CASES.values()) < len(CASES)


def test_labels_say_what_is_frozen():
    for label, case in CASES.items():
        assert ("frozen" in label.split()) == (case.bench.mode == "frozen"), label


HELD = [
    case
    for case in CASES.values()
    if case.family in ("gemm", "conv", "step", "networks")
    and case.bench.mode != "backward"  # which is on the tape, and packs nothing
    and (case.bench.flops < 1e9 or (case.family == "networks" and case.bench.mode == "frozen"))
]


@pytest.mark.parametrize("kind", ["tilework", "tilework-channels-last"])
def test_packed_weights_outlive_a_call_only_where_the_row_says_frozen(kind, monkeypatch):
    seen = []

    def spy(*arguments):
        packed = packed_weight(*arguments)
        seen.append(packed is not None)
        return packed

    for module in ("gemm", "conv"):
        monkeypatch.setattr(f"tilework.functional.{module}.packed_weight", spy)
    contestant = make(f"{kind}:{tw.engines.current_engine()}", 1)
    for case in HELD:
        inputs = case.make_inputs(case.bench.dtype)
        prepared = contestant.prepare(case, inputs, np.zeros(1, "f"))
        if prepared is None:
            continue
        seen.clear()
        with contestant.running(case):
            for _ in range(2):  # a weight is packed once it is seen again
                prepared.call()
        assert any(seen) == (case.bench.mode == "frozen"), case.bench.label


def test_a_run_writes_table_json_and_plot(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    arguments = ["bench", "--filter", "gemm 64x64x64", "--peers", "numpy", "--seconds", "0.05"]
    arguments += ["--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert "gemm 64x64x64" in text
    assert "GPU: " in text
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["machine"]["threads"] == 1
    (row,) = found["rows"]
    # A product has no images: nobody plays it channels last.
    assert [t["state"] for t in row["times"]] == ["ready", "absent", "ready"]
    for times in (t for t in row["times"] if t["state"] == "ready"):
        assert 0 < times["low"] <= times["seconds"] <= times["high"] < 1
        assert times["rounds"] >= session.MIN_ROUNDS
    assert (tmp_path / "b.png").read_bytes()[:4] == b"\x89PNG"


def test_two_threads_put_each_library_in_its_own_process():
    with session.Session([f"tilework:{tw.engines.current_engine()}", "numpy"], threads=2) as two:
        assert [len(w.contestants) for w in two.workers] == [1, 1]
        row = two.measure(SMALL, 0.02)
    assert [t.state for t in row.times] == ["ready", "ready"]


def test_a_missing_library_is_told_and_left_out():
    with session.Session(["numpy", "tilework:nonsense"]) as one:
        assert list(one.absent) == ["tilework:nonsense"]


def test_a_worker_prepares_samples_and_forgets():
    worker = Worker(1, [f"tilework:{tw.engines.current_engine()}", "numpy"])
    label = "DQN 4-128-128-2 step, batch 64"
    assert [o["state"] for o in worker.prepare(label, sets=2)] == ["ready", "absent"]
    assert worker.sample(0, 2)["seconds"] > 0
    assert worker.forget() == {}
    assert worker.ready == {}


def gradients(label="linear+gelu 32@768x3072 backward"):
    case = CASES[label]
    inputs = case.make_inputs("float32")
    judge = check.Judge(case, inputs)
    contestant = Tilework(tw.engines.current_engine())
    return judge, contestant.prepare(case, inputs, judge.grad).answer()


SPOILS = (
    lambda a: a * np.float32(1.001),
    lambda a: a + a.std() * np.float32(0.01),
    np.zeros_like,
)


def test_wrong_answers_and_gradients_are_seen():
    judge, answer = gradients()
    judge.check(answer, ours=True)
    for position in range(len(answer)):
        for spoil in SPOILS:
            wrong = list(answer)
            wrong[position] = spoil(answer[position])
            with pytest.raises(AssertionError, match="linear_gelu"):
                judge.check(wrong, ours=True)


def test_a_wrong_contestant_is_not_timed(monkeypatch):
    spoilt = dataclasses.replace(SMALL, reference=lambda a, b: np.matmul(a, b) + 1)
    monkeypatch.setattr(cases, "benchmarks", lambda: (spoilt,))
    worker = Worker(1, ["numpy"])
    (outcome,) = worker.prepare(SMALL.bench.label, sets=1)
    assert outcome["state"] == "wrong"
    assert "elements are off" in outcome["why"]
    assert worker.ready == {}


def test_numpy_plays_only_what_it_has():
    inputs = SMALL.make_inputs("float32")
    grad = np.zeros((64, 64), "f")
    assert NumPy().prepare(SMALL, inputs, grad) is not None
    assert NumPy().prepare(CASES["gelu 4096x3072"], inputs, grad) is None


def test_pytorch_plays_in_both_layouts():
    torch = pytest.importorskip("torch")
    two = make("torch", 1), make("torch-channels-last", 1)
    x = np.zeros((2, 3, 4, 5), "f")
    assert [c.share(x).is_contiguous(memory_format=torch.channels_last) for c in two] == [
        False,
        True,
    ]
    inputs = SMALL.make_inputs("float32")
    played = [c.prepare(SMALL, inputs, np.zeros((64, 64), "f")) is not None for c in two]
    assert played == [True, False]  # a product has no images


# Of each family what ONNX Runtime plays, small where there is a choice.
ONNX_PLAYS = (
    "conv stem 7x7 s2 3->64@224 N=16 forward",
    "conv transposed 4x4 s2 256->128@16 N=16 forward",
    "conv grouped 3x3 g32 128@28 N=16 forward",
    "conv dilated 3x3 256@28 N=16 forward",
    "max 3x3 s2 64@112 N=16 forward",
    "average 3x3 64@56 N=16 forward",
    "adaptive max 7x7 64@56 N=16 forward",
    "global average 512@7 N=16 forward",
    "bilinear up, corners 64@56 N=16 forward",
    "bilinear down 64@112 N=16 forward",
    "nearest up 64@56 N=16 forward",
    "pixel_shuffle 256@56 by 2 N=16 forward",
    "group_norm 64@56 N=16",
    "instance_norm 64@56 N=16",
    "layer_norm 4096x768",
    "rms_norm 4096x768",
    "log_softmax 4096x1024",
    "gelu 4096x3072",
    "bias+relu 4096x3072",
    "add 4096x3072",
    "linear+gelu 32@768x3072 frozen",
    "ResNet-18 inference at 224, batch 1 frozen",
)
ONNX_LEAVES = (
    "conv 3x3 64@56 N=1 backward",
    "batch_norm 64@56 N=16",
    "linear+gelu 32@768x3072 forward",
    "linear+gelu 32@768x3072 bfloat16 frozen",
    "LeNet-5 step, batch 64",
    "cross_entropy 4096x1000 backward",
)


@pytest.mark.full
@pytest.mark.parametrize("label", ONNX_PLAYS)
def test_onnx_runtime_gives_the_right_answers(label):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    case = CASES[label]
    inputs = case.make_inputs("float32")
    judge = check.Judge(case, inputs)
    judge.check(make("onnxruntime", 1).prepare(case, inputs, judge.grad).answer(), ours=False)


@pytest.mark.parametrize("label", ONNX_LEAVES)
def test_onnx_runtime_plays_inference_alone(label):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    case = CASES[label]
    inputs = case.make_inputs(case.bench.dtype)
    assert make("onnxruntime", 1).prepare(case, inputs, np.zeros(1, "f")) is None


def test_errors_of_convolutions():
    found = conv_accuracy.errors(8, 6, seeds=1)
    assert next(iter(found)) == "tilework"
    for errors in found.values():
        assert len(errors) == 3
        assert all(0 < e < 8 for e in errors)  # roundings of sums of 72 and 144 products


def test_environment_holds_everybody_to_the_same(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    env = environment.worker_environment(1, "avx2", "high")
    assert env["TILEWORK_ISA"] == env["ATEN_CPU_CAPABILITY"] == "avx2"
    assert env["ONEDNN_MAX_CPU_ISA"] == env["MKL_ENABLE_INSTRUCTIONS"] == "AVX2"
    assert env["TILEWORK_PRECISION"] == "high"
    assert env["XLA_FLAGS"].split()[0] == "--mine"
    assert {env[k] for k in env if k.endswith("_NUM_THREADS")} == {"1"}
    assert "TILEWORK_ISA" not in environment.worker_environment(2)


def test_rates_and_shares():
    row = session.Row("x", "gemm", "matmul", "forward", "float32", flops=2e9, bytes=1e6)
    times = session.Times("tilework", True, "CPU", "ready", seconds=0.01)
    roof = {"float32": 400e9, "bandwidth": 1e9}
    assert report.rate(row, times, roof) == (pytest.approx(200.0), "GFLOP/s", pytest.approx(0.5))
    assert report.rate(row, times, None) == (pytest.approx(200.0), "GFLOP/s", None)
    row.bytes = 8e6
    assert report.rate(row, times, roof) == (pytest.approx(0.8), "GB/s", pytest.approx(0.8))


def test_footprint_of_our_own():
    found = footprint.measure("tilework")
    assert 0 < found.import_seconds < 60
    assert 1e5 < found.disk_bytes < 100e6
    # At the least the weights, their gradients and Adam's two averages, in float32.
    assert found.step_bytes > 4 * 4 * (784 * 2048 + 2048 * 2048)
