"""Weights and checkpoints: what was saved comes back, and what is damaged is refused."""

import collections
import contextlib
import errno
import json
import os
import stat
import struct
import subprocess
import sys
import threading
import tracemalloc

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
    assert back["groups"] == tree["groups"]
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
    "text", ['{"a": {"$tensor": "missing"}}', "{", '{"a": {"$pairs": 3}}', "[" * 100000]
)
def test_hostile_checkpoints_are_refused(tmp_path, text):
    io.save({"t": np.zeros(1)}, tmp_path / "c", {"tilework.checkpoint": text})
    with pytest.raises(ValueError, match=r"\[io.load_checkpoint\]"):
        io.load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(
    "text",
    [
        '{"tensor": "missing"}', "{", '{"pairs": 3}', '{"pairs": [[{"dict": {}}, 1]]}', "{}",
        '{"dict": [1]}', '{"dict": {}, "tuple": []}', '{"other": 1}', "[" * 100000,
    ],
)  # fmt: skip
def test_hostile_trees_are_refused(tmp_path, text):
    io.save({"t": np.zeros(1)}, tmp_path / "c", {"tilework.checkpoint.2": text})
    with pytest.raises(ValueError, match=r"\[io.load_checkpoint\]"):
        io.load_checkpoint(tmp_path / "c")


def same(a, b):
    """Whether two trees are of the same types, keys in order, and values."""
    if isinstance(a, (tw.Tensor, np.ndarray)):
        return isinstance(b, tw.Tensor) and bits(np.asarray(a)) == bits(b.numpy())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        keys = zip(a, b, strict=True)
        return len(a) == len(b) and all(same(j, k) and same(a[j], b[k]) for j, k in keys)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def one(n):
    return tw.tensor([float(n)])


TREES = {
    "a path and a key that read alike": {"a/b": one(1), "a": {"b": one(2)}, "a/b#2": one(3)},
    "a number and its text": {1: one(1), "1": one(2), 1.5: one(3), "1.5": one(4)},
    "keys that are no text": {None: 1, "None": 2, True: 3, "True": 4, 2.5: 5, -0.5: one(6)},
    "a number among the keys": {"a": 1, 2: 3, "c": {"d": one(1)}},
    "tuples as keys": {(1, "a"): one(1), "(1, 'a')": one(2), (): 3, ((1, 2), None): 4},
    "the format's words": {"$tensor": "x", "$pairs": {"$tensor": one(1)}, "$tuple": [1]},
    "its own words": {"tensor": "x", "dict": {"tensor": one(1)}, "pairs": [1], "tuple": (1,)},
    "one of them": {"a": {"tensor": "a"}},
    "metadata": {"__metadata__": one(1), "__metadata__#2": one(2), "": one(3), "/": one(4)},
    "lists and tuples": {"a": [one(1), (one(2), [one(3)], ())], "b": ([],)},
    "a list at the top": [1, one(2), {"a": one(3)}],
    "a tuple at the top": (1, [2]),
    "a tensor at the top": one(1),
    "a number at the top": 3,
    "nothing": None,
    "empty": {},
    "odd text": {"ü/\ud800": one(1), "\x00": one(2), "🐟": "\ud800\n", "b": [{}]},
    "odd numbers": {"a": [float("inf"), float("nan"), -0.0, 5e-324, 2**70, True, False, 0]},
    "arrays": ARRAYS,
}


@pytest.mark.parametrize("name", TREES)
def test_a_checkpoint_gives_back_what_was_put_in(tmp_path, name):
    io.save_checkpoint(tmp_path / "c", TREES[name])
    assert same(TREES[name], io.load_checkpoint(tmp_path / "c"))


Point = collections.namedtuple("Point", "x y")


def endless():
    tree = {"a": [1]}
    tree["a"].append(tree)
    return tree


def deep(n):
    tree = 0
    for _ in range(n):
        tree = {"a": tree}
    return tree


@pytest.mark.parametrize(
    ("tree", "kind"),
    [
        ({"a": Point(1, 2)}, TypeError),
        ({"a": {1}}, TypeError),
        ({"a": b"bytes"}, TypeError),
        ({"a": 1j}, TypeError),
        ({"a": np.complex64(1)}, TypeError),
        ({"a": np.datetime64("2026-01-01")}, TypeError),
        ({"a": np.zeros(2, np.float16)}, TypeError),
        ({"a": np.array(["text"])}, TypeError),
        ({Point(1, 2): 1}, TypeError),
        ({b"a": 1}, TypeError),
        ({"a": 10**5000}, ValueError),
        (endless(), ValueError),
        (deep(101), ValueError),
    ],
)
def test_what_would_not_come_back_is_refused_before_the_file_is_replaced(tmp_path, tree, kind):
    io.save_checkpoint(tmp_path / "c", {"old": one(1)})
    with pytest.raises(kind, match=r"^\[io.save(_checkpoint)?\] expected .*; got .*: "):
        io.save_checkpoint(tmp_path / "c", {"new": one(2), "more": tree})
    assert io.load_checkpoint(tmp_path / "c")["old"].item() == 1
    assert os.listdir(tmp_path) == ["c"]


def test_the_deepest_tree_comes_back(tmp_path):
    io.save_checkpoint(tmp_path / "c", deep(100))
    assert io.load_checkpoint(tmp_path / "c") == deep(100)


def test_checkpoints_of_the_first_form_are_read(tmp_path):
    from safetensors.numpy import save_file

    text = (
        '{"model": {"w": {"$tensor": "model/w"}}, "betas": [0.9, 0.999], '
        '"state": {"$pairs": [[0, {"step": 4, "m": {"$tensor": "state/0/m"}}]]}}'
    )
    arrays = {"model/w": np.ones((2, 3)), "state/0/m": np.arange(2)}
    save_file(arrays, tmp_path / "c", {"tilework.checkpoint": text})
    tree = io.load_checkpoint(tmp_path / "c")
    assert tree["betas"] == [0.9, 0.999]
    assert tree["state"][0]["step"] == 4
    assert tree["state"][0]["m"].tolist() == [0, 1]
    assert bits(tree["model"]["w"].numpy()) == bits(arrays["model/w"])


# --- damage, and what a killed writer leaves ---


def silent_flips(path, kind, bits_of):
    """The flipped bits that a file of this kind is read in spite of."""
    if kind == "checkpoint":
        io.save_checkpoint(path, {"a": tw.arange(3), "b": {1: 2.5, "c": tw.ones(2)}})
        load = io.load_checkpoint
    else:
        io.save({"a": np.arange(3), "bc": np.ones(2, np.float32)}, path, {"epoch": "3"})
        load = io.load
    whole = path.read_bytes()
    silent = []
    for i, bit in [(n, bit) for n in range(len(whole)) for bit in bits_of(n)]:
        damaged = bytearray(whole)
        damaged[i] ^= 1 << bit
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError):
            load(path)
            silent.append((i, bit))
    return silent


@pytest.mark.parametrize("kind", ["checkpoint", "weights"])
def test_a_flipped_bit_of_every_byte_is_an_error(tmp_path, kind):
    assert not silent_flips(tmp_path / "c", kind, lambda i: (i % 8,))


@pytest.mark.full
@pytest.mark.parametrize("kind", ["checkpoint", "weights"])
def test_every_flipped_bit_is_an_error(tmp_path, kind):
    assert not silent_flips(tmp_path / "c", kind, lambda i: range(8))


def test_a_file_without_a_checksum_is_read(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.arange(3)}, tmp_path / "w", {"epoch": "3"})
    tensors, metadata = io.load_with_metadata(tmp_path / "w")
    assert tensors["a"].tolist() == [0, 1, 2]
    assert metadata == {"epoch": "3"}


@pytest.mark.parametrize(
    ("state", "metadata", "kind"),
    [
        ({1: np.zeros(1)}, {}, TypeError),
        ({"__metadata__": np.zeros(1)}, {}, ValueError),
        ({"\ud800": np.zeros(1)}, {}, ValueError),
        ({"a": np.zeros(1)}, {"a": 1}, TypeError),
        ({"a": np.zeros(1)}, {"tilework.crc32": "0"}, ValueError),
    ],
)
def test_names_that_would_not_come_back_are_refused(tmp_path, state, metadata, kind):
    with pytest.raises(kind, match=r"\[io.save\] expected"):
        io.save(state, tmp_path / "w", metadata)
    assert not os.listdir(tmp_path)


def run(code, *arguments):
    done = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(done, capture_output=True, text=True, timeout=120)


KILLED = """
import os, sys, zlib, numpy as np
from tilework import io
from tilework.io import weights
real, calls = zlib.crc32, []
def crc32(*arguments):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), 9)
    return real(*arguments)
weights.zlib = type("zlib", (), {"crc32": staticmethod(crc32)})
io.save({"a": np.zeros(1 << 20)}, sys.argv[1])
"""


def test_what_a_killed_save_leaves_is_cleared_by_the_next(tmp_path):
    path = tmp_path / "w"
    io.save({"a": np.ones(1)}, path)
    assert run(KILLED, path).returncode == -9
    assert len(os.listdir(tmp_path)) == 2
    assert io.load(path)["a"].tolist() == [1.0]
    (tmp_path / ".w.notes.tmp").write_text("somebody else's")
    io.save({"a": np.zeros(1)}, path)
    assert sorted(os.listdir(tmp_path)) == [".w.notes.tmp", "w"]


def test_savers_at_work_leave_each_other_alone(tmp_path):
    path, failed = tmp_path / "w", []

    def work(n):
        try:
            for _ in range(20):
                io.save({"a": np.full(1000, n)}, path)
        except Exception as reason:
            failed.append(reason)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert len(set(io.load(path)["a"].tolist())) == 1
    assert os.listdir(tmp_path) == ["w"]


FULL = """
import resource, sys, numpy as np
from tilework import io
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    io.save({"a": np.zeros(1 << 20)}, sys.argv[1])
except OSError as reason:
    print(type(reason).__name__, reason.errno)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on a file's size to set")
def test_a_full_disk_is_an_oserror_and_leaves_the_old_file(tmp_path):
    io.save({"a": np.ones(1)}, tmp_path / "w")
    done = run(FULL, tmp_path / "w")
    assert done.stdout.split() == ["OSError", str(errno.EFBIG)], done.stderr
    assert io.load(tmp_path / "w")["a"].tolist() == [1.0]
    assert os.listdir(tmp_path) == ["w"]


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "store").mkdir()
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "store" / "w")
    for n in range(2):  # dangling at first
        io.save({"a": np.full(1, n)}, link)
        assert link.is_symlink()
        assert io.load(tmp_path / "store" / "w")["a"].tolist() == [n]
    assert os.listdir(tmp_path / "store") == ["w"]


def test_a_device_is_refused_and_a_private_file_stays_private(tmp_path):
    with pytest.raises(ValueError, match="a regular file"):
        io.save({"a": np.zeros(1)}, os.devnull)
    io.save({"a": np.zeros(1)}, tmp_path / "w")
    (tmp_path / "w").chmod(0o600)
    io.save({"a": np.ones(1)}, tmp_path / "w")
    assert stat.S_IMODE((tmp_path / "w").stat().st_mode) == 0o600
    long = tmp_path / ("n" * 250)
    io.save({"a": np.ones(1)}, long)
    assert io.load(long)["a"].tolist() == [1.0]


def test_loading_takes_the_size_of_the_file_once(tmp_path):
    arrays = {str(i): np.full(1 << 18, i, np.float64) for i in range(4)}
    io.save(arrays, tmp_path / "w")
    size = (tmp_path / "w").stat().st_size
    io.load(tmp_path / "w")  # imports
    tracemalloc.start()
    io.load(tmp_path / "w")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    io.save(arrays, tmp_path / "w")
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size <= peak < 1.1 * size
    assert held < 0.1 * size


@pytest.mark.parametrize(
    ("stored", "name", "read"),
    [(np.float16, "F16", tw.float32), (np.int8, "I8", tw.int32), (np.int16, "I16", tw.int32)],
)
def test_what_has_no_dtype_here_is_widened(tmp_path, stored, name, read):
    """Beside bfloat16, which safetensors' own NumPy reader does not know."""
    half, values = np.ones(2, ml_dtypes.bfloat16).tobytes(), np.array([-3, 5, 0], stored).tobytes()
    end = len(half) + len(values)
    header = {
        "b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, len(half)]},
        "a": {"dtype": name, "shape": [3], "data_offsets": [len(half), end]},
    }
    (tmp_path / "w").write_bytes(file_of(header, half + values))
    found = io.load(tmp_path / "w")
    assert (found["a"].dtype, found["a"].tolist()) == (read, [-3, 5, 0])
    assert (found["b"].dtype, found["b"].float().tolist()) == (tw.bfloat16, [1.0, 1.0])
