"""Tensors of a device in pickles, copies and files come back where they were, as in PyTorch."""

import copy
import io
import pickle

import pytest

import tilework as tw
from tilework import nn
from tilework.testing import simulated

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())
MADE = {
    "matrix": lambda: tw.randn(2, 3, device="cuda"),
    "transposed": lambda: tw.randn(2, 3, device="cuda").t(),
    "channels last": lambda: tw.randn(1, 3, 4, 4, device="cuda").to(memory_format=tw.channels_last),
    "number": lambda: tw.tensor(2.5, device="cuda"),
    "empty": lambda: tw.zeros(0, 3, device="cuda"),
    "bfloat16": lambda: tw.randn(5, device="cuda").to(tw.bfloat16),
    "leaf": lambda: tw.randn(3, device="cuda", requires_grad=True),
    "parameter": lambda: nn.Parameter(tw.randn(3, device="cuda")),
}


@pytest.fixture
def cuda():
    with simulated.device() as served:
        yield served


def described(x):
    return (
        isinstance(x, nn.Parameter),
        x.device,
        x.dtype,
        x.shape,
        x.stride(),
        x.requires_grad,
        x.tolist(),
    )


@pytest.mark.parametrize("kind", MADE)
def test_pickles_and_copies_stay_where_they_were(kind, cuda):
    x = MADE[kind]()
    for twin in (
        pickle.loads(pickle.dumps(x)), pickle.loads(pickle.dumps(x, protocol=2)),
        copy.deepcopy(x),
    ):  # fmt: skip
        assert described(twin) == described(x)
        twin.detach().zero_()
        assert described(x) != described(twin) or not x.numel()
    assert described(copy.copy(x)) == described(x)


def test_a_copy_on_the_device_does_not_cross(cuda):
    x = MADE["transposed"]()
    cuda.crossings.clear()
    copy.deepcopy(nn.Linear(2, 3, device="cuda"))
    copy.deepcopy(x)
    assert not cuda.crossings


def test_modules_are_pickled_with_their_device(cuda):
    layer = nn.Linear(2, 3, device="cuda")
    again = pickle.loads(pickle.dumps(layer))
    assert all(p.is_cuda for p in again.parameters())
    assert again.weight.tolist() == layer.weight.tolist()


@pytest.mark.parametrize("kind", MADE)
def test_files_bring_tensors_back(kind, cuda):
    x = MADE[kind]()
    file = io.BytesIO()
    tw.save({"x": x, "host": tw.ones(2)}, file)
    file.seek(0)
    found = tw.load(file)
    assert found["x"].device == x.device
    assert found["x"].tolist() == x.tolist()
    assert found["host"].is_cpu
    file.seek(0)
    assert tw.io.load(file)["x"].is_cpu


WHERE = {  # what map_location says, and where a tensor of the device and one of the CPU go
    "nothing": (None, "cuda", "cpu"),
    "the CPU": ("cpu", "cpu", "cpu"),
    "a device": (tw.device("cpu"), "cpu", "cpu"),
    "the other": ("cuda", "cuda", "cuda"),
    "its number": (0, "cuda", "cuda"),
    "a dict": ({"cuda:0": "cpu"}, "cpu", "cpu"),
    "a dict of the other": ({"cpu": "cuda"}, "cuda", "cuda"),
    "a function": (lambda storage, where: storage, "cpu", "cpu"),
    "a function that moves": (lambda storage, where: storage.cuda(0), "cuda", "cuda"),
    "a function that leaves it": (lambda storage, where: None, "cuda", "cpu"),
}


@pytest.mark.parametrize("how", WHERE)
def test_files_go_where_they_are_sent(how, cuda, tmp_path):
    x, host = tw.randn(2, 3, device="cuda"), tw.randn(4)
    tw.save([x, {"host": host, "again": x}], tmp_path / "x.pt")
    map_location, *wanted = WHERE[how]
    (first, rest) = tw.load(tmp_path / "x.pt", map_location)
    assert [first.device.type, rest["host"].device.type] == wanted
    assert (first.tolist(), rest["host"].tolist()) == (x.tolist(), host.tolist())
    assert rest["again"].device == first.device


def test_a_function_is_given_each_storage_once_and_where_it_was(cuda, tmp_path):
    weight = nn.Parameter(tw.arange(6.0, device="cuda").reshape(2, 3))
    tw.save({"a": weight, "b": weight.detach(), "c": tw.ones(2)}, tmp_path / "x.pt")
    given = []
    tw.load(tmp_path / "x.pt", lambda storage, where: given.append((storage.tolist(), where)))
    assert given == [([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "cuda:0"), ([1.0, 1.0], "cpu")]


def test_no_two_strided_tensors_share_a_record(cuda, tmp_path):
    tensors = [tw.full((3, 2), float(i), device="cuda").t() for i in range(8)]
    tw.save(tensors, tmp_path / "x.pt")
    assert [x.tolist() for x in tw.load(tmp_path / "x.pt")] == [x.tolist() for x in tensors]


def test_safetensors_know_of_no_device(cuda, tmp_path):
    tw.io.save({"x": tw.ones(2, device="cuda")}, tmp_path / "x.safetensors")
    assert tw.load(tmp_path / "x.safetensors")["x"].is_cpu
    assert tw.load(tmp_path / "x.safetensors", "cuda")["x"].is_cuda
    assert tw.load(tmp_path / "x.safetensors", {"cpu": "cuda"})["x"].is_cuda


def test_where_the_device_is_not_here_the_fix_is_said(tmp_path):
    if tw.cuda.is_available():
        pytest.skip("there is a device here")
    with simulated.device():
        x = tw.randn(2, 3, device="cuda")
        wanted, pickled = x.tolist(), pickle.dumps(x)
        tw.save({"x": x}, tmp_path / "x.pt")
    what = tw.cuda.why_not().partition(": ")[0]
    for call, op, fix in (
        (lambda: pickle.loads(pickled), "unpickle", "pickle x.cpu(), or tilework.save it and load"),
        (lambda: tw.load(tmp_path / "x.pt"), "load", "load with map_location='cpu'"),
        (lambda: tw.load(tmp_path / "x.pt", {}), "load", "load with map_location='cpu'"),
    ):
        with pytest.raises(RuntimeError) as raised:
            call()
        said = f"[{op}] expected the device of a tensor of 'cuda:0'; got {what}: {fix}"
        assert str(raised.value).startswith(said)
    for place in ("cpu", {"cuda:0": "cpu"}, lambda storage, where: storage):
        assert tw.load(tmp_path / "x.pt", place)["x"].tolist() == wanted
    assert tw.io.load(tmp_path / "x.pt")["x"].tolist() == wanted


def test_pytorch_reads_where_a_tensor_was(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, whose files these are, is not installed")
    if torch.cuda.is_available():
        pytest.skip("there is a device here")
    with simulated.device():
        x = tw.randn(2, 3, device="cuda")
        wanted = x.tolist()
        tw.save({"x": x}, tmp_path / "x.pt")
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "x.pt")
    found = torch.load(tmp_path / "x.pt", map_location="cpu")
    assert found["x"].tolist() == wanted
    given = []
    torch.load(tmp_path / "x.pt", lambda storage, where: given.append(where) or storage)
    assert given == ["cuda:0"]


def test_what_another_machine_saved_elsewhere_is_told(monkeypatch):
    from tilework.io import pickling

    class Elsewhere(pickling._Stored):
        def __init__(self, dtype, key, device, length):
            super().__init__(dtype, key, "mps", length)

    file = io.BytesIO()
    monkeypatch.setattr(pickling, "_Stored", Elsewhere)
    tw.save(tw.ones(2), file)
    file.seek(0)
    with pytest.raises(RuntimeError, match="device of a tensor of 'mps'; got none such: load with"):
        tw.load(file)
    file.seek(0)
    assert tw.load(file, "cpu").tolist() == [1.0, 1.0]
