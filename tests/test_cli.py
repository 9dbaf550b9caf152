"""The command line as a person meets it: in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

import tilework as tw
from tilework import cli, engines, hardware, info, io


def tilework(*arguments, cwd=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "tilework", *arguments],
        capture_output=True, text=True, cwd=cwd, env={**os.environ, **(env or {})}, timeout=300,
    )  # fmt: skip


def test_version_and_help():
    assert tilework("--version").stdout == f"tilework {tw.__version__}\n"
    text = tilework("--help").stdout
    assert all(command in text for command in ("info", "bench", "generate", "train"))


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("train", "--epochs", "x")])
def test_bad_usage_ends_with_2(arguments):
    done = tilework(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_info_tells_everything():
    found = json.loads(tilework("info", "--json").stdout)
    assert found["settings"]["version"] == tw.__version__
    assert found["cpu"]["model"]
    assert bool(found["gpu"]["name"]) != found["gpu"]["reason"].startswith(
        ("no NVIDIA", "the driver")
    )
    assert found["threads"]["threads"] >= 1
    assert found["variants"]
    assert all(found["convolutions"].values())
    for row in found["variants"].values():
        assert row["variant"]
        assert row["why"]


def test_info_is_a_table_for_people():
    text = tilework("info").stdout
    assert "GPU" in text
    assert "variant" in text
    assert "TILEWORK_ISA" in text


@pytest.mark.skipif(engines.current_engine() != "native", reason="numba has no variants")
def test_info_says_no_reason_twice():
    tw.set_isa("generic")  # so that every family has higher variants that do not serve
    served = hardware.variants()
    tw.set_isa("auto")
    groups = info.by_reason((family, tuple(row.values())) for family, row in served.items())
    assert sorted(f for families in groups.values() for f in families) == sorted(served)
    assert len(groups) < len(served) / 2
    for _, why in groups:
        reasons = [part.split(": ")[-1] for part in why.split("; ")]
        assert len(reasons) == len(set(reasons)), why


def test_info_explains_one_convolution():
    shapes = ("--input", "16,64,56,56", "--weight", "64,64,3,3", "--padding", "1")
    text = tilework("info", "conv2d", *shapes).stdout
    assert "weight gradient" in text
    rows = json.loads(tilework("info", "conv2d", *shapes, "--json").stdout)
    assert rows == tw.explain_conv2d((16, 64, 56, 56), (64, 64, 3, 3), padding=1)
    done = tilework("info", "conv2d", "--input", "16,64,56,56", "--weight", "64,60,3,3")
    assert done.returncode == 2
    assert "[conv2d] expected input (N, C_in=60, H, W)" in done.stderr


def test_info_explains_one_attention():
    shapes = ("--query", "2,4,600,64", "--key", "2,2,700,64")
    text = tilework("info", "attention", *shapes, "--causal", "--dtype", "bfloat16").stdout
    assert "backward" in text
    rows = json.loads(tilework("info", "attention", *shapes, "--window", "9,-1", "--json").stdout)
    assert rows == tw.explain_attention((2, 4, 600, 64), (2, 2, 700, 64), window=(9, -1))
    done = tilework("info", "attention", "--query", "2,4,600,64", "--key", "2,3,700,64")
    assert done.returncode == 2
    assert "[explain_attention] expected query (B, H, L, E)" in done.stderr


@pytest.mark.parametrize(("word", "cell"), [("lstm", "lstm"), ("gru", "gru"), ("rnn", "rnn_tanh")])
def test_info_explains_one_recurrent_layer(word, cell):
    given = ("--input", "64,32,256", "--hidden", "200")
    assert "backward" in tilework("info", word, *given).stdout
    rows = json.loads(tilework("info", word, *given, "--json").stdout)
    assert rows == tw.explain_recurrent(cell, (64, 32, 256), 200)
    done = tilework("info", word, "--input", "64,32", "--hidden", "200")
    assert done.returncode == 2
    assert "[explain_recurrent] expected input (T, N, I) and hidden" in done.stderr


@pytest.mark.skipif(engines.current_engine() != "native", reason="numba has one routine")
def test_a_recurrent_layer_is_served_by_its_shape():
    def routines(steps, batch):
        return [r["routine"] for r in tw.explain_recurrent("gru", (steps, batch, 8), 8)]

    assert routines(5, 5) == ["grouped", "packed"]
    assert routines(4, 5) == routines(5, 4) == ["plain", "plain"]


@pytest.mark.skipif(engines.current_engine() != "native", reason="numba has one routine")
def test_an_attention_is_served_by_its_shape():
    def forward(queries, keys, **options):
        shapes = (1, 4, queries, 64), (1, 2, keys, 64)
        return tw.explain_attention(*shapes, **options)[0]

    assert forward(7, 2048)["routine"] == "decode"
    assert forward(7, 2048)["blocks"] == "14 rows by pieces of 512 keys"
    assert forward(8, 128)["routine"] == "one pass"
    assert forward(8, 2048)["routine"] == "online softmax"
    assert "later keys are skipped" in forward(8, 2048, is_causal=True)["why"]
    assert "far back" in forward(8, 2048, window=(5, 5), dtype=tw.float64)["why"]


@pytest.mark.parametrize("dtype", [tw.float32, tw.float64, tw.bfloat16])
def test_every_convolution_has_a_routine_and_a_reason(dtype):
    for x, weight, settings in (
        ((2, 16, 9, 9), (8, 16, 3, 3), {"stride": 2, "padding": (1, 0)}),
        ((2, 16, 9, 9), (8, 16, 1, 1), {}),
        ((2, 16, 9, 9), (16, 1, 3, 3), {"groups": 16, "dilation": [2, 1]}),
    ):
        rows = tw.explain_conv2d(x, weight, **settings, dtype=dtype)
        assert {row["pass"] for row in rows} == {"forward", "input gradient", "weight gradient"}
        assert all(all(row.values()) for row in rows)


def test_gpu_asks_the_driver_without_a_word(capfd):
    answer = hardware.gpu()
    assert answer["name"] or answer["reason"]
    assert answer["reason"] == tw.cuda.why_not()
    out, err = capfd.readouterr()
    assert out == err == ""


WRONG = {
    "TILEWORK_ENGINE": "fortran",
    "TILEWORK_NUM_THREADS": "many",
    "TILEWORK_PRECISION": "low",
    "TILEWORK_ISA": "sparkle",
    "TILEWORK_CONV_ROUTINE": "fft",
}


@pytest.mark.parametrize("variable", WRONG)
@pytest.mark.parametrize("script", [False, True])
def test_a_wrong_variable_is_a_sentence(variable, script, tmp_path):
    if (
        variable in ("TILEWORK_ISA", "TILEWORK_CONV_ROUTINE")
        and tw.engines.current_engine() != "native"
    ):
        pytest.skip("ISAs are the compiled engine's")
    env = {variable: WRONG[variable]}
    if script:  # what an installer writes
        installed = tmp_path / "tilework"
        installed.write_text("import sys\nfrom tilework.cli import main\nsys.exit(main())\n")
        done = subprocess.run(
            [sys.executable, str(installed), "info"],
            capture_output=True, text=True, env={**os.environ, **env}, timeout=300,
        )  # fmt: skip
    else:
        done = tilework("info", env=env)
    assert done.returncode in (1, 2)
    said = done.stderr.splitlines()
    assert len(said) == 1
    assert re.match(r"tilework: \[\w+\] expected .*; got .*: .", said[0])
    assert WRONG[variable] in said[0]


def test_only_the_command_speaks_so():
    done = subprocess.run(
        [sys.executable, "-c", "import tilework"], capture_output=True, text=True,
        env={**os.environ, "TILEWORK_PRECISION": "low"}, timeout=300,
    )  # fmt: skip
    assert "Traceback" in done.stderr


def test_a_variant_that_cannot_serve_says_why_once():
    for served in hardware.variants().values():
        assert not re.search(r"\b(\w+):? needs \1\b", served["why"])


def test_train_prints_accuracy_and_writes_weights(tmp_path):
    output = tmp_path / "w.safetensors"
    done = tilework("train", "mlp", "--epochs", "2", "--output", str(output))
    assert done.returncode == 0, done.stderr
    said = re.search(
        r"held-out accuracy ([\d.]+) ± [\d.]+ over 360 samples \(([\d.]+) by the majority",
        done.stdout,
    )
    assert said, done.stdout
    assert float(said[1]) > 0.8 > float(said[2])
    assert io.load(output)["layers.0.weight"].shape[1] == 64
    assert sorted(os.listdir(tmp_path)) == ["w.json", "w.safetensors"]
    assert "\x1b" not in done.stdout  # no terminal, no bar


def test_training_stopped_by_ctrl_c_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "tilework", "train", "mlp", "--output", "w.st", "--seed", "3"]
    command += ["--epochs", "10000"]  # more than it gets to before the signal comes
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    lines = [process.stdout.readline() for _ in range(2)]  # two epochs
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, lines
    again = re.search(r"go on with: tilework (train mlp .*)", rest)
    assert again, rest
    last = str(int(re.search(r"interrupted in epoch (\d+)", rest)[1]) + 1)
    done = tilework(*again[1].split(), "--epochs", last, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    straight = ("--output", "v.st", "--seed", "3", "--epochs", last)
    whole = tilework("train", "mlp", *straight, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    resumed = io.load(tmp_path / "w.st")
    for name, value in io.load(tmp_path / "v.st").items():
        assert resumed[name].tolist() == value.tolist()


@pytest.mark.parametrize("arguments", [("train",), ("train", "cnn")])
def test_a_recipe_that_is_not_there_is_a_sentence(arguments, tmp_path):
    done = tilework(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("tilework: [train] expected a recipe of ")
    assert "lenet, " in done.stderr


def test_resuming_from_nothing_is_a_sentence(tmp_path):
    done = tilework("train", "mlp", "--resume", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("tilework: [Trainer] expected a checkpoint")


def test_train_refuses_what_it_could_not_finish(tmp_path, capsys):
    assert cli.main(["train", "mlp", "--epochs", "0", "--output", str(tmp_path / "w")]) == 2
    assert "[train] expected epochs from 1; got 0" in capsys.readouterr().err
    assert cli.main(["train", "mlp", "--output", str(tmp_path / "none" / "w")]) == 2
    assert "[train] expected a folder for --output" in capsys.readouterr().err
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "wrong", [("--threads", "0"), ("--seconds", "-1"), ("--peers", "foo"), ("--engines", "bar")]
)
def test_bench_refuses_before_it_measures(wrong, capsys):
    assert cli.main(["bench", *wrong, "--filter", "gemm 64x64x64"]) == 2
    said = capsys.readouterr()
    assert re.match(rf"tilework: \[bench\] expected {wrong[0]} .*; got {wrong[1]}", said.err)
    assert not said.out


def test_main_returns_its_status(capsys):
    assert cli.main(["bench", "--list", "--filter", "no such case"]) == 0
    assert cli.main(["bench", "--filter", "no such case"]) == 1
    assert "no such case" in capsys.readouterr().out


def test_bench_chooses_cases_by_their_names(capsys):
    wanted = ["gemm 64x64x64", "1x4096x4096"]
    assert cli.main(["bench", "--list", "--filter", *wanted, "--without", "BFLOAT16"]) == 0
    assert capsys.readouterr().out.split("\n") == ["gemm 64x64x64", "gemm 1x4096x4096", ""]
