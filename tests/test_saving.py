"""tilework.save and load: torch.save's files, both ways, and nothing but what is plain."""

import io
import os
from collections import Counter, OrderedDict

import numpy as np
import pytest

import tilework as tw
from tilework import nn


def trained():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    optimiser = tw.optim.NAdam(model.parameters())
    schedule = tw.optim.lr_scheduler.MultiStepLR(optimiser, [1, 3])
    for _ in range(3):
        model(tw.randn(8, 3)).square().mean().backward()
        optimiser.step()
        schedule.step()
    return model, optimiser, schedule


def checkpoint(parts):
    model, optimiser, schedule = parts
    return {
        "model": model.state_dict(), "optimizer": optimiser.state_dict(),
        "schedule": schedule.state_dict(), "epoch": 3, "loss": 0.25, "names": ["a", ("b", None)],
        "classes": OrderedDict(cat=0, dog=1), "counts": Counter("aab"), "done": True, "raw": b"xy",
    }  # fmt: skip


def same(a, b):
    if isinstance(a, tw.Tensor):
        return isinstance(b, tw.Tensor) and a.dtype == b.dtype and tw.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_there_and_back(tmp_path):
    parts = trained()
    saved = checkpoint(parts)
    tw.save(saved, tmp_path / "last.pt")
    loaded = tw.load(tmp_path / "last.pt", map_location="cpu", weights_only=True)
    assert same(saved, loaded)
    model, optimiser, schedule = trained()
    model.load_state_dict(loaded["model"])
    optimiser.load_state_dict(loaded["optimizer"])
    schedule.load_state_dict(loaded["schedule"])
    assert same(checkpoint((model, optimiser, schedule)), saved)
    stream = io.BytesIO()
    tw.save(saved, stream)
    stream.seek(0)
    assert same(tw.load(stream, map_location=lambda storage, where: storage), saved)
    tw.io.save(parts[0].state_dict(), tmp_path / "w.safetensors")
    assert same(tw.load(tmp_path / "w.safetensors"), parts[0].state_dict())


LAYOUTS = {
    "float64": lambda: tw.arange(6.0, dtype=tw.float64).reshape(2, 3),
    "bfloat16": lambda: tw.arange(6.0).to(tw.bfloat16),
    "int64": lambda: tw.arange(6),
    "int32": lambda: tw.arange(6, dtype=tw.int32),
    "uint8": lambda: tw.arange(6, dtype=tw.uint8),
    "bool": lambda: tw.arange(6) > 2,
    "transposed": lambda: tw.arange(6.0).reshape(2, 3).t(),
    "sliced": lambda: tw.arange(20.0).reshape(4, 5)[1:, ::2],
    "0-d": lambda: tw.tensor(3.5),
    "empty": lambda: tw.zeros(0, 3),
    "parameter": lambda: nn.Parameter(tw.ones(2), requires_grad=False),
    "channels last": lambda: tw.rand(1, 3, 4, 4).contiguous(memory_format=tw.channels_last),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_tensors_both_ways(kind, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, whose files these are, is not installed")
    x = LAYOUTS[kind]()
    tw.save({"x": x, "again": x}, tmp_path / "x.pt")
    theirs = torch.load(tmp_path / "x.pt", weights_only=True)
    assert str(theirs["x"].dtype).removeprefix("torch.") == str(x.dtype)
    assert isinstance(theirs["x"], torch.nn.Parameter) == isinstance(x, nn.Parameter)
    assert theirs["x"].data_ptr() == theirs["again"].data_ptr() or not x.numel()
    assert theirs["x"].tolist() == x.tolist()
    torch.save(theirs, tmp_path / "y.pt")
    assert same(tw.load(tmp_path / "y.pt"), {"x": x, "again": x})


def test_pytorch_reads_a_checkpoint(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, whose files these are, is not installed")
    saved = checkpoint(trained())
    tw.save(saved, tmp_path / "last.pt")
    theirs = torch.load(tmp_path / "last.pt", weights_only=True)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    )
    model.load_state_dict(theirs["model"])
    assert model[0].weight.tolist() == saved["model"]["0.weight"].tolist()
    assert theirs["counts"] == Counter("aab")
    assert theirs["raw"] == b"xy"
    assert list(theirs["classes"]) == ["cat", "dog"]
    assert theirs["names"] == ["a", ("b", None)]


class Strange:
    pass


@pytest.mark.parametrize(
    "value",
    [nn.Linear(2, 2), Strange(), Strange, len, np.zeros(3), {1, 2}, np.float32(1), tw.float32, 1j],
    ids=lambda v: type(v).__name__,
)
def test_what_is_not_plain_is_refused(value, tmp_path):
    tw.save({"x": 1}, tmp_path / "x.pt")
    with pytest.raises(TypeError, match=r"^\[save\] expected tensors, numbers and text"):
        tw.save({"x": [value]}, tmp_path / "x.pt")
    assert tw.load(tmp_path / "x.pt") == {"x": 1}
    assert os.listdir(tmp_path) == ["x.pt"]


def test_devices():
    stream = io.BytesIO()
    tw.save(1, stream)
    stream.seek(0)
    with pytest.raises(RuntimeError, match=r"^\[load\] expected 'cpu' or 'cuda'"):
        tw.load(stream, "gpu")


@pytest.mark.parametrize("tree", [[1], "weights", None])
def test_io_save_says_that_it_takes_names_to_tensors(tmp_path, tree):
    with pytest.raises(TypeError, match=r"\[io.save\] .*state_dict\(\)"):
        tw.io.save(tree, tmp_path / "w")
