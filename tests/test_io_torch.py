"""Files of torch.save: what PyTorch wrote is read without running anything in it."""

import io as streams
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import tilework as tw
from tilework import io, nn

torch = pytest.importorskip("torch", reason="PyTorch, which writes such files, is not installed")

FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])

DTYPES = (
    torch.float64,
    torch.float32,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


def written(tmp_path, tree, zipped):
    path = tmp_path / "w.pt"
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    return path


@FORMS
def test_a_state_dict_comes_back(tmp_path, zipped):
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    loaded = io.load(written(tmp_path, theirs.state_dict(), zipped))
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    ours.load_state_dict(loaded)
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(loaded[name].numpy(), value.numpy())
        assert ours.state_dict()[name].shape == tuple(value.shape)


@FORMS
def test_a_tree_comes_back(tmp_path, zipped):
    base = torch.arange(24.0).reshape(4, 6)
    tree = {
        "views": [base[1:, ::2], base.t(), base[2, 3], base[:0]],
        "dtypes": {str(t): torch.tensor([0, 1, 3]).to(t) for t in DTYPES},
        "half": torch.tensor([0.5, 2.0]).half(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "plain": (1, 2.5, "text", None, True, [], {3: b"x"}),
        "size": torch.Size([2, 3]),
    }
    found = io.load(written(tmp_path, tree, zipped))
    for mine, other in zip(found["views"], tree["views"], strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
    for name, other in tree["dtypes"].items():
        assert f"torch.{found['dtypes'][name].dtype}" == name
        assert found["dtypes"][name].tolist() == other.tolist()
    assert found["half"].dtype is tw.float32
    assert found["half"].tolist() == [0.5, 2.0]
    assert found["parameter"].tolist() == [1.0, 1.0]
    assert found["plain"] == tree["plain"]
    assert found["size"] == (2, 3)


@FORMS
def test_plain_containers_and_names_of_dtypes_come_back(tmp_path, zipped):
    tree = {
        "kinds": {1, 2}, "frozen": frozenset(["a"]), "bytes": bytearray(b"x\xff"), "c": 1 + 2j,
        "none": bytearray(), "dtypes": [torch.float32, torch.int64, torch.bool, torch.bfloat16],
        "small": [torch.tensor([-3, 5], dtype=t) for t in (torch.int8, torch.int16)],
    }  # fmt: skip
    found = io.load(written(tmp_path, tree, zipped))
    for name in ("kinds", "frozen", "bytes", "c", "none"):
        assert found[name] == tree[name]
        assert type(found[name]) is type(tree[name])
    assert found["dtypes"] == [tw.float32, tw.int64, tw.bool, tw.bfloat16]
    assert [(x.dtype, x.tolist()) for x in found["small"]] == [(tw.int32, [-3, 5])] * 2


def test_what_has_no_dtype_here_says_so(tmp_path):
    path = written(tmp_path, {"a": torch.zeros(2, dtype=torch.complex64)}, True)
    with pytest.raises(ValueError, match=r"\[io.load\].*ComplexFloatStorage.*convert the tensor"):
        io.load(path)


def test_a_tree_that_shares_its_parts_is_read_at_once(tmp_path):
    """Each level twice the one below: 2 to the 60 leaves, if each were made anew."""
    tree = [torch.ones(1)]
    for _ in range(60):
        tree = [tree, tree]
    found = io.load(written(tmp_path, tree, True))
    assert found[0] is found[1]


@FORMS
def test_an_optimisers_state_comes_back(tmp_path, zipped):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    found = io.load(written(tmp_path, {"optimizer": optimizer.state_dict(), "epoch": 3}, zipped))
    assert found["epoch"] == 3
    state = optimizer.state_dict()["state"][0]
    assert found["optimizer"]["state"][0]["exp_avg"].tolist() == state["exp_avg"].tolist()


class Evil:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@FORMS
@pytest.mark.parametrize(
    "call",
    [
        (exec, "raise SystemExit"),
        (getattr, "x", "upper"),
        (torch.zeros, 3),
        (OrderedDict.fromkeys,),
    ],
    ids=["exec", "getattr", "torch.zeros", "fromkeys"],
)
def test_other_names_are_refused(tmp_path, zipped, call):
    path = written(tmp_path, {"weight": torch.ones(2), "x": Evil(*call)}, zipped)
    with pytest.raises(ValueError, match=r"\[io.load\] expected tensors, .*state_dict"):
        io.load(path)


@FORMS
def test_a_module_saved_whole_is_refused(tmp_path, zipped):
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
        io.load(written(tmp_path, torch.nn.Linear(2, 2), zipped))


def _storage(tree):
    """A pickle of torch's zip form by hand: a tensor of the storage "0", of two floats."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", 2) if value is ... else None

    out = streams.BytesIO()
    Pickler(out, 2).dump(tree)
    return out.getvalue()


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (3,), (1,)), (1, (2,), (1,)), (-1, (1,), (1,)), (0, (2, 2), (1, 1)), (0, (2,), (-1,)),
     (0, (1 << 62, 4), (1, 1)), (0, (2,), ())],
)  # fmt: skip
def test_tensors_beyond_their_storage_are_refused(tmp_path, offset, shape, strides):
    def tree(*args):
        return Evil(torch._utils._rebuild_tensor_v2, ..., *args, False, OrderedDict())

    for made, fits in ((tree(0, (2,), (1,)), True), (tree(offset, shape, strides), False)):
        with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
            archive.writestr("w/data.pkl", _storage(made))
            archive.writestr("w/data/0", np.float32([1, 2]).tobytes())
        if fits:
            assert io.load(tmp_path / "w.pt").tolist() == [1.0, 2.0]
            continue
        with pytest.raises(ValueError, match=r"\[io.load\]"):
            io.load(tmp_path / "w.pt")


@FORMS
def test_damaged_files_are_refused(tmp_path, zipped):
    path = written(tmp_path, {"weight": torch.ones(50, 50)}, zipped)
    whole = path.read_bytes()
    for end in (3, 10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"\[io.load\]"):
            io.load(path)


def test_compressed_archives_are_refused(tmp_path):
    written(tmp_path, {"weight": torch.zeros(500)}, True)
    with zipfile.ZipFile(tmp_path / "w.pt") as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name, part in parts.items():
            new.writestr(name, part)
    with pytest.raises(ValueError, match="compressed"):
        io.load(tmp_path / "w.pt")
