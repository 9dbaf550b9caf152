"""The benchmark suite: it checks before it times, and says so when an answer is wrong."""

import dataclasses
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

import tilework as tw
from tilework import cli
from tilework.benchmarks import (
    check,
    compare,
    conv_accuracy,
    environment,
    footprint,
    noise,
    overhead,
    page,
    report,
    results,
    selection,
    session,
)  # fmt: skip
from tilework.benchmarks.contestants import NumPy, Tilework, make
from tilework.benchmarks.worker import Worker
from tilework.functional.packed import packed_weight
from tilework.testing import cases

CASES = {c.bench.label: c for c in cases.benchmarks()}
SMALL = CASES["gemm 64x64x64"]


def test_labels_are_unique_and_quick_is_a_part():
    assert len(CASES) == len(cases.benchmarks())
    assert 5 <= sum(c.bench.quick for c in CASES.values()) < len(CASES)


def test_the_usual_cases_are_of_every_family():
    usual = selection.chosen(CASES.values(), "usual")
    quick = selection.chosen(CASES.values(), "quick")
    assert len(selection.chosen(CASES.values(), "all")) == len(CASES)
    assert set(quick) < set(usual) < set(CASES.values())
    assert len(usual) == len(quick) + len(selection.USUAL)  # each name is a case's, and once
    assert {c.family for c in usual} == {c.family for c in CASES.values()}


def test_labels_say_what_is_frozen():
    for label, case in CASES.items():
        assert ("frozen" in label.split()) == (case.bench.mode == "frozen"), label


HELD = [
    case
    for case in CASES.values()
    if case.family in ("gemm", "conv", "step", "networks")
    and case.op != "q_learning"  # whose target network stays as it is from step to step
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
    assert cli.main([*arguments, "--html", str(tmp_path / "b.html")]) == 0
    text = capsys.readouterr().out
    assert "gemm 64x64x64" in text
    assert "GPU: " in text
    assert "the geometric mean of 1 cases" in text
    assert "quiet" in text or "TOO NOISY TO TRUST" in text
    assert "absent" not in text.lower()
    assert "gemm 64x64x64" in (tmp_path / "b.html").read_text()
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["machine"]["threads"] == 1
    (row,) = found["rows"]
    # A product has no images: nobody plays it channels last.
    assert [t["state"] for t in row["times"]] == ["ready", "absent", "ready"]
    for times in (t for t in row["times"] if t["state"] == "ready"):
        assert 0 < times["low"] <= times["seconds"] <= times["high"] < 1
        assert times["rounds"] >= session.MIN_ROUNDS
    assert (tmp_path / "b.png").read_bytes()[:4] == b"\x89PNG"
    two = [str(tmp_path / "b.json")] * 2
    assert cli.main(["bench", "--compare", *two]) == 0  # of a run with itself
    text = capsys.readouterr().out
    assert "1.000x: the geometric mean of 1 cases" in text
    assert "Slower beyond noise: none" in text


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
    "conv transposed 16 s8 256->1@4000 N=1 forward",
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
    "pow 3 of 1000",
    "linear+gelu 32@768x3072 frozen",
    "ResNet-18 inference at 224, batch 1 frozen",
)
ONNX_LEAVES = (
    "conv 3x3 64@56 N=1 backward",
    "batch_norm 64@56 N=16",
    "linear+gelu 32@768x3072 forward",
    "linear+gelu 32@768x3072 bfloat16 frozen",
    "LeNet-5 step, batch 64",
    "float32 to bfloat16 4096x3072",
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
    row = results.Row("x", "gemm", "matmul", "forward", "float32", flops=2e9, bytes=1e6)
    times = results.Times("tilework", True, "CPU", "ready", seconds=0.01)
    roof = {"float32": 400e9, "bandwidth": 1e9}
    assert results.rate(row, times, roof) == (pytest.approx(200.0), "GFLOP/s", pytest.approx(0.5))
    assert results.rate(row, times, None) == (pytest.approx(200.0), "GFLOP/s", None)
    row.bytes = 8e6
    assert results.rate(row, times, roof) == (pytest.approx(0.8), "GB/s", pytest.approx(0.8))


def test_footprint_of_our_own():
    found = footprint.measure("tilework")
    assert 0 < found.import_seconds < 60
    assert 1e5 < found.disk_bytes < 100e6
    # At the least the weights, their gradients and Adam's two averages, in float32.
    assert found.step_bytes > 4 * 4 * (784 * 2048 + 2048 * 2048)


# --- what a call costs ---


@pytest.mark.parametrize("taped", [False, True])
def test_the_calls_of_overhead_run(taped):
    names = overhead.names_for(tw, tw.nn.functional, taped)
    on_tape = [
        getattr(overhead.result_of(call, names), "requires_grad", False) for call in overhead.CALLS
    ]
    assert 50 <= sum(on_tape) < len(on_tape) if taped else not any(on_tape)
    assert len({call.statement for call in overhead.CALLS}) == len(overhead.CALLS)


@pytest.mark.usefixtures("threads")
def test_overhead_writes_a_table_and_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(overhead, "CALLS", [overhead.CALLS[0], overhead.CALLS[-1]])
    monkeypatch.setattr(overhead, "ROUNDS", 3)
    path = tmp_path / "o.json"
    assert cli.main(["bench", "--overhead", "--peers", "--json", str(path)]) == 0
    text = capsys.readouterr().out
    assert "x + y" in text
    assert "x.detach() (view)" in text
    found = results.read(path)
    assert [(row.op, row.mode, row.family) for row in found.rows] == [
        ("x + y", "no tape", "call"),
        ("x.detach()", "no tape", "view"),
        ("x + y", "tape", "call"),  # detach() is not recorded
    ]
    for row in found.rows:
        (times,) = row.times
        assert times.ours
        assert 0 < times.low <= times.seconds <= times.high < 1e-2


def test_overhead_holds_a_view_to_both_limits():
    row = a_row("x.t()", tilework=2e-6, PyTorch=4e-6)
    assert overhead.share(row) == pytest.approx(0.5)
    row = dataclasses.replace(row, family="view")
    assert overhead.share(row) == pytest.approx(2e-6 / 3e-6)
    assert overhead.share(a_row("x + y", tilework=2e-6)) == 0.0


# --- what a run comes to ---

MACHINE = {
    "cpu": {"model": "A <CPU>"}, "isa": "avx2", "threads": 1, "precision": "highest",
    "roof": {"float32": 1e11, "float64": 5e10, "bandwidth": 2e10}, "python": "3.11",
    "gpu": {"name": "", "reason": "none is here"}, "libraries": {"tilework": "1", "torch": "2"},
}  # fmt: skip
QUIET = {"reasons": [], "text": "The machine was quiet"}


def a_row(label, spread=0.01, **seconds):
    """A case by what each took; None for who had nothing to do."""
    times = [
        results.Times(name, name == "tilework", "CPU", "absent")
        if t is None
        else results.Times(
            name, name == "tilework", "CPU", "ready", "", t, t * (1 - spread), t * (1 + spread), 9
        )
        for name, t in seconds.items()
    ]
    return results.Row(label, "gemm", "matmul", "forward", "float32", 1e6, 1e6, times)


def a_run(rows, **machine):
    return results.Run(rows, {**MACHINE, **machine}, QUIET)


def test_the_headline_is_a_geometric_mean():
    rows = [
        a_row("a", tilework=1.0, torch=2.0, numpy=3.0),
        a_row("b", tilework=1.0, torch=8.0),
        a_row("c", tilework=4.0, torch=1.0),
        a_row("d", tilework=1.0, torch=1.001),
        a_row("e", tilework=1.0),
    ]
    found = results.headline(rows)
    assert found.ratio == pytest.approx((2 * 8 * 0.25 * 1.001) ** 0.25)
    assert found[1:] == (4, 2, 1, 1, 1)
    assert "1.41x the speed of the best peer: the geometric mean of 4 cases" in str(found)
    assert str(results.headline(rows[4:])) == "no case of 1 has a peer"


def test_who_is_absent_everywhere_has_no_column():
    rows = [
        a_row("x[i]", tilework=1.0, torch=2.0, jax=None, numpy=None),
        a_row("b", tilework=1.0, torch=None, jax=None, numpy=3.0),
    ]
    rows[0].times[1].state = "wrong"
    console = Console(record=True, width=150)
    report.show_table(a_run(rows), console)
    text = console.export_text()
    assert "jax" not in text
    assert "absent" not in text.lower()
    assert "numpy" in text
    assert "wrong" in text
    assert "x[i]" in text  # which is no style


def pairs(old, new, peer=1.0, spread=0.001):
    """Two runs of twelve cases, with a peer as control; the first case takes old, then new."""
    others = [f"case {i}" for i in range(11)]
    before = [a_row("first", spread, tilework=old, torch=1.0)]
    before += [a_row(name, spread, tilework=1.0, torch=1.0) for name in others]
    after = [a_row("first", spread, tilework=new, torch=peer)]
    after += [a_row(name, spread, tilework=peer, torch=peer) for name in others]
    return a_run(before), a_run(after)


@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        ({"old": 1.0, "new": 1.3}, "slower"),
        ({"old": 1.3, "new": 1.0}, "faster"),
        ({"old": 1.0, "new": 1.0005}, "noise"),
        ({"old": 1.0, "new": 1.3, "spread": 0.2}, "noise"),  # its quartiles overlap
        ({"old": 1.0, "new": 1.3, "peer": 1.3}, "noise"),  # the machine's own change
        ({"old": 1.0, "new": 1.0, "peer": 0.8}, "slower"),  # which hides a loss
    ],
)
def test_compare_sees_what_is_more_than_noise(how, verdict):
    found = compare.compare(*pairs(**how))
    assert found.changes[0].verdict == verdict
    assert all(c.verdict == "noise" for c in found.changes[1:])
    assert found.status == (compare.SLOWER if verdict == "slower" else 0)
    first = found.changes[0]
    assert first.ratio == pytest.approx(how["old"] / how["new"])
    assert first.low < first.ratio < first.high


def test_compare_asks_as_much_as_the_peers_moved():
    old, new = pairs(1.0, 1.1)
    for i, row in enumerate(new.rows):
        row.times[1].seconds *= 1.2 if i % 2 else 1 / 1.2
    assert compare.compare(old, new).changes[0].verdict == "noise"


def test_compare_tells_other_machines_libraries_and_cases():
    old, new = pairs(1.0, 1.5)
    new.machine["cpu"] = {"model": "B"}
    found = compare.compare(old, new)
    assert found.status == 0
    assert any("CPU A <CPU>, now B" in line for line in compare.lines(found, old, new))

    old, new = pairs(1.0, 1.5)
    new.machine["libraries"] = {"tilework": "2", "torch": "3"}
    new.rows.append(a_row("fresh", tilework=1.0))
    old.noise = {"reasons": ["a storm"], "text": ""}
    found = compare.compare(old, new)
    assert found.controls == 0
    assert found.fresh == ["fresh"]
    assert [c.label for c in found.having("slower")] == ["first"]
    assert found.status == 0  # what a storm slows is no reason to fail
    said = "\n".join(compare.lines(found, old, new))
    for words in (
        "other versions of torch",
        "fresh (new)",
        "old run was too noisy: a storm",
        "0.67x",
    ):
        assert words in said


def test_a_run_comes_back_from_its_file(tmp_path, capsys):
    old, new = pairs(1.0, 1.5)
    old.write(tmp_path / "old.json")
    new.write(tmp_path / "new.json")
    assert results.read(tmp_path / "old.json") == old
    files = [str(tmp_path / name) for name in ("old.json", "new.json")]
    assert cli.main(["bench", "--compare", *files]) == compare.SLOWER
    assert "Slower beyond noise: first (0.67x)" in capsys.readouterr().out
    assert cli.main(["bench", "--compare", *files, files[0]]) == 2
    assert "[bench] expected --compare of one file or two; got 3" in capsys.readouterr().err
    (tmp_path / "bad.json").write_text('{"rows": [{}]}')
    assert cli.main(["bench", "--compare", str(tmp_path / "bad.json")]) == 2
    assert "[bench] expected a file that tilework bench --json wrote" in capsys.readouterr().err


class Reader(HTMLParser):
    """Holds a page to closing what it opens and to asking for nothing."""

    VOID = ("meta",)

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        assert not {"src", "href", "action"} & dict(attributes).keys()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_well_formed_and_has_every_row():
    old, new = pairs(1.0, 1.5)
    for run in old, new:
        run.rows[1].label = '<b> & "c"'
        run.rows.append(a_row("alone", tilework=1.0))
    text = page.page(new, (compare.compare(old, new), old))
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    found = Reader(text)
    said = " ".join(found.text)
    for words in ("A <CPU>", '<b> & "c"', "first", "alone", "0.67x", "the geometric mean of 12"):
        assert words in said
    rows = [attributes for tag, attributes in found.seen if tag == "tr"]
    assert len(rows) == 2 * (1 + len(new.rows))
    assert sum(row.get("class") == "slower" for row in rows) == 1
    bars = [attributes for tag, attributes in found.seen if attributes.get("class") == "bar"]
    assert [bar.get("data-v") for bar in bars][:2] == ["0.666667", "1"]
    assert "data-v" not in bars[-1]  # without a peer
    assert sum(tag == "button" for tag, _ in found.seen) == 6 + 7
    assert "prefers-color-scheme: dark" in text


# --- whether it may be trusted ---


def reading(at, loop=1.0, apart=0.01, load=1.0, busy=1.0, stolen=0.0, own=1.0):
    """After `at` seconds of two CPUs, as they go by."""
    spread = (loop * (1 - apart / 2), loop, loop * (1 + apart / 2))
    return noise.Reading(spread, load, noise.Cpus(busy * at, stolen * at, 2.0 * at), own * at)


@pytest.mark.parametrize(
    ("after", "spread", "reason"),
    [
        ({}, 0.01, None),
        ({"loop": 1.2}, 0.01, "a fixed loop took 1.20x as long at the end"),
        ({"loop": 0.8}, 0.01, "a fixed loop took 0.80x as long at the end"),
        ({"apart": 0.3}, 0.01, "the rounds of a fixed loop lie 30% apart"),
        ({"load": 3.0}, 0.01, "a load average of 3.0 on 2 CPU"),
        ({"stolen": 0.1}, 0.01, "other machines took 5% of the CPUs' time"),
        ({"busy": 1.5}, 0.01, "other processes took 25% of the CPUs' time"),
        ({}, 0.2, "the rounds of a case lie 40% apart"),
    ],
)
def test_noise_is_told(after, spread, reason):
    rows = [a_row("a", spread, tilework=1.0, torch=2.0)]
    found = noise.verdict(reading(0), reading(100, **after), rows, threads=1, cpus=2)
    if reason is None:
        assert found["reasons"] == []
        assert "quiet" in found["text"]
    else:
        assert [reason in r for r in found["reasons"]] == [True]
        assert found["text"].startswith("TOO NOISY TO TRUST: ")


def test_a_system_that_tells_nothing_is_judged_by_its_times(tmp_path):
    assert noise.read(tmp_path / "none").cpus is None
    dumb = dataclasses.replace(reading(0), load=None, cpus=None)
    rows = [a_row("a", 0.2, tilework=1.0)]
    assert len(noise.verdict(dumb, dumb, rows, 1, 2)["reasons"]) == 1
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 500 100 50 50 100 0 0\ncpu0 1\n")
    found = noise.read(stat).cpus
    assert found.stolen / found.total == pytest.approx(0.1)
    assert found.busy / found.total == pytest.approx(0.3)


@pytest.mark.parametrize("besides", [0.1, 1.0, 5.0])
def test_a_budget_is_kept_whatever_cases_take_besides(besides):
    now = 0.0
    budget = selection.Budget(160.0, 60, lambda: now)
    played = 0
    for _ in range(60):
        share = budget.share()
        if share is None:
            break
        played += 1
        now += share + besides
    assert now <= 160.0 + besides
    assert played == 60 or besides > 2
    assert now > 140.0
