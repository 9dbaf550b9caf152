"""The recorder, and the profile that it makes."""

import json
import sys
import threading

import pytest

import tilework as tw
from tilework import functional as F
from tilework import hardware, nn, optim, profiler
from tilework.recorder import Recorder


def step(model, x, optimizer):
    loss = F.cross_entropy(model(x), tw.zeros(4, dtype=tw.int64))
    loss.backward()
    optimizer.step()


@pytest.fixture
def profiled():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    x, optimizer = tw.randn(4, 1, 8, 8), optim.Adam(model.parameters())
    step(model, x, optimizer)
    with profiler.profile() as p, profiler.record_function("step"):
        step(model, x, optimizer)
    return p


def test_rows_of_a_step(profiled):
    rows = {row.key: row for row in profiled.key_averages()}
    for name in (
        "conv2d",
        "linear",
        "flatten",
        "cross_entropy",
        "linear (backward)",
        "conv (backward)",
    ):
        assert rows[name].count == 1, name
    assert rows["conv2d"].bytes == 4 * (4 * 64 + 2 * 9 + 2 + 4 * 2 * 36)
    assert rows["step"].cpu_time_total >= rows["conv2d"].cpu_time_total > 0
    inside = [row for row in rows.values() if row.key not in ("step", "reshape")]
    total = rows["step"].cpu_time_total
    assert (
        rows["step"].self_cpu_time_total <= total - sum(r.self_cpu_time_total for r in inside) + 1
    )
    if tw.engines.current_engine() == "native":
        assert rows["adam_step"].count == 1
        assert rows["conv2d"].variant
        assert rows["conv2d"].routine


def test_families_are_of_kernels():
    """Each beginning is some kernel's, and each family one that has variants."""
    for starts in profiler.FAMILIES.values():
        for start in starts:
            assert any(name.startswith(start) for name in tw.engines.CONTRACT), start
    if tw.engines.current_engine() == "native":
        assert set(profiler.FAMILIES) <= set(hardware.variants())


def test_the_table_and_the_trace(profiled, tmp_path):
    lines = profiled.key_averages().table(sort_by="cpu_time_total", row_limit=2).splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("step")
    assert lines[-1].endswith("ms in all")
    with pytest.raises(ValueError, match="sort_by"):
        profiled.table(sort_by="cuda_time_total")
    profiled.export_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    conv = next(e for e in events if e["name"] == "conv2d")
    outer = next(e for e in events if e["name"] == "step")
    assert outer["ts"] <= conv["ts"] <= conv["ts"] + conv["dur"] <= outer["ts"] + outer["dur"]
    assert conv["args"]["input"] == "4 x 1 x 8 x 8"


def test_calls_are_named_and_nested():
    x = tw.ones(3, requires_grad=True)
    with Recorder() as recorder:
        y = (x * 2 - 1).abs().T.sum()
        (3 / y + x[0]).backward()
    names = [c.name for c in recorder.calls if c.kind == "op"]
    assert names[:5] == ["__mul__", "__sub__", "abs", "T", "sum"]
    assert names[5:8] == ["__rtruediv__", "__getitem__", "__add__"]
    assert {c.name for c in recorder.calls if c.kind == "backward"} >= {"sum", "abs", "mul"}
    first = recorder.calls[0]
    assert first.arguments["self"] is x
    assert first.arguments["other"] == 2
    assert first.end > first.start
    assert recorder.calls[1].arguments["self"] is first.result


def test_errors_end_their_calls():
    with Recorder() as recorder:
        with pytest.raises(ValueError, match="linear"):
            F.linear(tw.ones(2, 3), tw.ones(2, 4))
        F.relu(tw.ones(1))
    assert [c.name for c in recorder.calls] == ["ones", "ones", "linear", "ones", "relu"]
    assert recorder.calls[2].result is None


def test_one_at_a_time_and_nothing_left_behind():
    with Recorder(), pytest.raises(RuntimeError, match="Recorder"):
        Recorder().__enter__()
    assert sys.getprofile() is None
    with profiler.record_function("outside of a profile"):
        pass


def test_other_threads_are_not_noted():
    with Recorder() as recorder:
        thread = threading.Thread(target=lambda: F.relu(tw.ones(2)))
        thread.start()
        thread.join()
    assert recorder.calls == []


def test_summary_command(capsys):
    from tilework import cli

    assert cli.main(["summary", "mlp"]) == 0
    assert "50,826" in capsys.readouterr().out
    assert cli.main(["summary", "LeNet5", "--input", "1", "1", "28", "28"]) == 0
    assert "61,706" in capsys.readouterr().out
    assert cli.main(["summary", "nothing"]) == 2
    assert "nothing" in capsys.readouterr().err


def test_a_method_that_writes_in_place_has_its_own_name():
    x = tw.ones(2)
    with Recorder() as recorder:
        x.exp_().pow_(2).clamp_(0, 1)
        x **= 2
    assert [call.name for call in recorder.calls] == ["exp_", "pow_", "clamp_", "__ipow__"]


def test_pytorchs_arguments_and_its_decorator():
    @profiler.record_function("part")
    def down(n):
        return F.relu(tw.ones(n)) if n == 1 else down(n - 1)

    activities = [profiler.ProfilerActivity.CPU]
    with profiler.profile(activities=activities, record_shapes=True) as p:
        down(2)
    assert {row.key: row.count for row in p.key_averages()} == {"part": 2, "ones": 1, "relu": 1}
    assert down(1).tolist() == [1.0]  # outside of a profile


def test_a_part_that_another_thread_names_is_not_in_this_ones_profile():
    def other():
        with profiler.record_function("elsewhere"):
            F.relu(tw.ones(1))

    with profiler.profile() as p:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        F.relu(tw.ones(2))
    assert [row.key for row in p.key_averages()] == ["ones", "relu"]


def test_a_part_that_began_before_the_profile_ends_without_it():
    part = profiler.record_function("before")
    part.__enter__()
    with profiler.profile() as p:
        F.relu(tw.ones(2))
        part.__exit__(None, None, None)
    assert {row.key for row in p.key_averages()} == {"ones", "relu"}
