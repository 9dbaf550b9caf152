"""Weights and checkpoints: what was saved comes back, and what is damaged is refused."""

import json
import os
import stat
import struct

import ml_dtypes
import numpy as np
import pytest

import tilework as tw
from tilework import io, nn, optim

RNG = np.random.default_rng(0)
ARRAYS = {
    "plain": RNG.standard_normal((3, 5)).astype(np.float32),
    "transposed": RNG.standard_normal((5, 3)).astype(np.float32).T,
    "channels_last": RNG.standard_normal((2, 4, 5, 3)).astype(np.float32).transpose(0, 3, 1, 2),
    "sliced": RNG.standard_normal((6, 8))[::2, ::-3],
    "expanded": np.broadcast_to(np.float32(2.5), (2, 3)),
    "bfloat16": RNG.standard_normal((4, 3)).astype(ml_dtypes.bfloat16),
    "bfloat16 transposed": RNG.standard_normal((4, 3)).astype(ml_dtypes.bfloat16).T,
    "0-d": np.array(3.25),
    "empty": np.zeros((0, 4), np.float32),
    "integers": np.arange(-3, 3),
    "bytes": np.arange(5, dtype=np.uint8),
    "bools": np.array([True, False]),
    "special": np.array([np.nan, np.inf, -0.0, 5e-324]),
}


def bits(array):
    return array.dtype, array.shape, np.ascontiguousarray(array).tobytes()


def test_round_trip(tmp_path):
    path = tmp_path / "w.safetensors"
    io.save({n: tw.from_numpy(a) if a.flags.writeable else a for n, a in ARRAYS.items()}, path)
    loaded = io.load(path)
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert bits(loaded[name].numpy()) == bits(array), name
        assert loaded[name].numpy().flags.writeable


def test_other_readers_agree(tmp_path):
    from safetensors.numpy import load_file

    path = tmp_path / "w.safetensors"
    wanted = {n: a for n, a in ARRAYS.items() if a.dtype != ml_dtypes.bfloat16}
    io.save(wanted, path)
    for name, array in load_file(path).items():
        assert bits(array) == bits(wanted[name]), name


def test_metadata(tmp_path):
    io.save({"a": np.zeros(1)}, tmp_path / "w", {"epoch": "3", "note": "ünï"})
    assert io.load_with_metadata(tmp_path / "w")[1] == {"epoch": "3", "note": "ünï"}
    io.save({"a": np.zeros(1)}, tmp_path / "w")
    assert io.load_with_metadata(tmp_path / "w")[1] == {}


def test_a_failed_save_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "w"
    io.save({"a": np.ones(3)}, path)
    with pytest.raises(TypeError, match=r"\[io.save\].*'b'"):
        io.save({"a": np.zeros(3), "b": "text"}, path)

    def broken(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", broken)
        with pytest.raises(OSError, match="no space"):
            io.save({"a": np.zeros(3)}, path)
    assert io.load(path)["a"].tolist() == [1.0] * 3
    assert os.listdir(tmp_path) == ["w"]


def test_permissions_are_the_users_own(tmp_path):
    before = os.umask(0o027)
    try:
        io.save({"a": np.ones(3)}, tmp_path / "w")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "w").stat().st_mode) == 0o640


@pytest.mark.parametrize("dtype", [np.float16, np.complex64, np.dtype(">f4"), np.dtype("O")])
def test_dtypes_that_would_not_come_back_are_refused(tmp_path, dtype):
    with pytest.raises(TypeError, match=r"\[io.save\]"):
        io.save({"a": np.zeros(2, dtype)}, tmp_path / "w")


# --- damaged and hostile files ---


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HOSTILE = {
    "nothing": b"",
    "short": b"\x01\x02",
    "header longer than the file": struct.pack("<Q", 1 << 40) + b"{}",
    "header of 2**64 - 1": b"\xff" * 8 + b"{}",
    "no JSON": file_of(b"not json at all!"),
    "a list": file_of([]),
    "past the end": file_of({"a": entry([4], 0, 16)}, b"\0" * 8),
    "shape of another size": file_of({"a": entry([5], 0, 16)}, b"\0" * 16),
    "backwards": file_of({"a": entry([4], 16, 0)}, b"\0" * 16),
    "overlap": file_of({"a": entry([4], 0, 16), "b": entry([4], 0, 16)}, b"\0" * 16),
    "overflowing shape": file_of({"a": entry([1 << 62, 4], 0, 0)}),
    "negative shape": file_of({"a": entry([-1], 0, 4)}, b"\0" * 4),
    "unknown dtype": file_of({"a": entry([1], 0, 4, "F99")}, b"\0" * 4),
    "float8": file_of({"a": entry([4], 0, 4, "F8_E4M3")}, b"\0" * 4),
    "trailing": file_of({"a": entry([1], 0, 4)}, b"\0" * 9),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path, name):
    (tmp_path / "w").write_bytes(HOSTILE[name])
    with pytest.raises(ValueError, match=r"\[io.load\] expected .*; got .*: "):
        io.load(tmp_path / "w")


def test_every_truncation_is_refused(tmp_path):
    io.save({"a": np.arange(3.0), "b": np.ones((2, 2), np.float32)}, tmp_path / "w")
    whole = (tmp_path / "w").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "w").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"\[io.load\]"):
            io.load(tmp_path / "w")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("bias"),
        lambda state: state.update(bias=np.zeros(7, np.float32)),
        lambda state: state.update(extra=np.zeros(1, np.float32)),
    ],
)
def test_weights_that_do_not_fit_leave_the_model_as_it_was(tmp_path, change):
    model = nn.Linear(3, 2)
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    state = {k: np.full_like(v, 9.0) for k, v in before.items()}
    change(state)
    io.save(state, tmp_path / "w")
    with pytest.raises((ValueError, RuntimeError, KeyError)):
        model.load_state_dict(io.load(tmp_path / "w"))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


# --- checkpoints ---


def test_a_checkpoint_keeps_structure(tmp_path):
    tree = {
        "model": {"w": tw.ones(2, 3), "b": tw.zeros(3)},
        "state": {0: {"step": 4, "m": tw.ones(2)}, 1: {}},
        "groups": [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0, 1], "nesterov": False}],
        "none": None,
        "text": "ünï",
        "big": 2**70,
    }
    io.save_checkpoint(tmp_path / "c", tree)
    back = io.load_checkpoint(tmp_path / "c")
    assert back["model"]["w"].tolist() == [[1.0] * 3] * 2
    assert back["state"][0]["m"].tolist() == [1.0, 1.0]
    assert back["state"][0]["step"] == 4
    assert back["state"][1] == {}
    assert back["groups"] == [
        {"lr": 0.1, "betas": [0.9, 0.99], "params": [0, 1], "nesterov": False}
    ]
    assert (back["none"], back["text"], back["big"]) == (None, "ünï", 2**70)


def test_optimiser_state_round_trips(tmp_path):
    def trained(steps, optimizer, model):
        for _ in range(steps):
            optimizer.zero_grad()
            model(tw.ones(4, 3)).sum().backward()
            optimizer.step()
        return [p.detach().numpy().copy() for p in model.parameters()]

    tw.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    trained(2, optimizer, model)
    io.save_checkpoint(
        tmp_path / "c", {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    )
    expected = trained(2, optimizer, model)
    twin = nn.Linear(3, 2)
    other = optim.Adam(twin.parameters(), lr=0.1)
    saved = io.load_checkpoint(tmp_path / "c")
    twin.load_state_dict(saved["model"])
    other.load_state_dict(saved["optimizer"])
    for got, wanted in zip(trained(2, other, twin), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_what_cannot_be_kept_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"function at 'a/1'"):
        io.save_checkpoint(tmp_path / "c", {"a": [1, lambda: 0]})


def test_plain_weights_are_no_checkpoint(tmp_path):
    io.save({"a": np.zeros(1)}, tmp_path / "w")
    with pytest.raises(ValueError, match="a checkpoint of tilework"):
        io.load_checkpoint(tmp_path / "w")


@pytest.mark.parametrize(
    "text", ['{"a": {"$tensor": "missing"}}', "[1]", "{", '{"a": {"$pairs": 3}}', "[" * 100000]
)
def test_hostile_checkpoints_are_refused(tmp_path, text):
    io.save({"t": np.zeros(1)}, tmp_path / "c", {"tilework.checkpoint": text})
    with pytest.raises(ValueError, match=r"\[io.load_checkpoint\]"):
        io.load_checkpoint(tmp_path / "c")
