"""Settings, their environment variables, and what an import costs."""

import json
import os
import subprocess
import sys

import pytest

import tilework as tw
from tilework import config, engines

native = pytest.mark.skipif(
    engines.current_engine() != "native", reason="a setting of the compiled engine"
)


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.strip(), done.stderr


def test_every_variable_has_a_twin():
    for variable, twin in config.ENVIRONMENT.items():
        assert variable.startswith("TILEWORK_")
        assert callable(getattr(tw, twin))
        assert variable in config.__doc__


def test_threads():
    before = tw.get_num_threads()
    try:
        tw.set_num_threads(1)
        assert tw.get_num_threads() == 1
    finally:
        tw.set_num_threads(before)
    for bad in (0, -1, 1.5):
        with pytest.raises(ValueError, match=r"\[set_num_threads\]"):
            tw.set_num_threads(bad)


def test_precision():
    assert tw.get_float32_matmul_precision() == "highest"
    try:
        for word in config.PRECISIONS:
            tw.set_float32_matmul_precision(word)
            assert tw.get_float32_matmul_precision() == word
    finally:
        tw.set_float32_matmul_precision("highest")
    with pytest.raises(ValueError, match="'highest', 'high', 'medium'"):
        tw.set_float32_matmul_precision("low")


@native
def test_isa_can_be_lowered_and_unknown_ones_are_refused():
    before = tw.get_isa()
    try:
        tw.set_isa("generic")
        assert tw.get_isa() == "generic"
        with pytest.raises(ValueError, match="generic"):
            tw.set_isa("sse9")
    finally:
        tw.set_isa(before)


@native
def test_convolutions_can_be_held_to_a_routine():
    dense = (tw.ones(1, 16, 5, 5), tw.ones(16, 16, 3, 3))
    depthwise = (tw.ones(1, 16, 5, 5), tw.ones(16, 1, 3, 3))
    free = tw.nn.functional.conv2d(*depthwise, groups=16)
    before = tw.get_conv_routine()
    try:
        tw.set_conv_routine("blocked")
        assert tw.get_conv_routine() == "blocked"
        rows = tw.explain_conv2d((1, 16, 5, 5), (16, 1, 3, 3), groups=16)
        assert {row["routine"] for row in rows} == {"blocked"}
        assert tw.equal(tw.nn.functional.conv2d(*depthwise, groups=16), free)
        tw.set_conv_routine("lanes")
        with pytest.raises(ValueError, match=r"suits the convolution \(.*blocked\); got lanes"):
            tw.nn.functional.conv2d(*dense)
        with pytest.raises(ValueError, match=r"expected one of lanes, gathered, .*or None"):
            tw.set_conv_routine("fft")
        assert tw.get_conv_routine() == "lanes"
    finally:
        tw.set_conv_routine(before)


@native
def test_memory_is_counted_and_given_back():
    x = tw.ones(1 << 20)
    y = x + x
    assert tw.memory_stats()["in_use_bytes"] >= y.nbytes
    del y
    tw.empty_cache()
    assert tw.memory_stats()["cached_bytes"] == 0


def test_show_config_prints_every_setting(capsys):
    tw.show_config()
    printed = capsys.readouterr().out
    for name in ("engine", "isa", "threads", "precision", *config.ENVIRONMENT):
        assert name in printed


@pytest.mark.parametrize(
    ("variable", "value", "code", "wanted"),
    [
        ("TILEWORK_NUM_THREADS", "1", "tw.get_num_threads()", "1"),
        ("TILEWORK_PRECISION", "high", "tw.get_float32_matmul_precision()", "high"),
        pytest.param(
            "TILEWORK_CONV_ROUTINE", "blocked", "tw.get_conv_routine()", "blocked", marks=native
        ),
    ],
)
def test_variables_are_read_at_import(variable, value, code, wanted):
    out, err = run(f"import tilework as tw; print({code})", **{variable: value})
    assert out == wanted, err


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TILEWORK_NUM_THREADS", "many"),
        ("TILEWORK_PRECISION", "low"),
        ("TILEWORK_NUM_THREADS", "0"),
        pytest.param("TILEWORK_CONV_ROUTINE", "fft", marks=native),
    ],
)
def test_wrong_values_fail_at_import(variable, value):
    out, err = run("import tilework; print('imported')", **{variable: value})
    assert out != "imported"
    assert value in err


def test_import_loads_nothing_heavy():
    code = """
import json, sys
import numpy, ml_dtypes
before = set(sys.modules)
import tilework
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})))
"""
    loaded = set(json.loads(run(code)[0]))
    assert not loaded & {"numba", "llvmlite", "cupy", "matplotlib", "torch", "rich", "safetensors"}


def test_import_takes_a_tenth_of_a_second_beyond_numpy():
    code = """
import numpy, ml_dtypes, time
start = time.process_time()
import tilework
print(time.process_time() - start)
"""
    times = sorted(float(run(code)[0]) for _ in range(5))
    assert times[0] < 0.1
