"""`device` is a property of PyTorch's kind, though there is one device only."""

import copy
import pickle
import re
import subprocess
import sys

import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn

NAMES = ("cpu", "cpu:0", "cuda", "cuda:3")
WRONG = ("", "gpu", "CPU", "cpu:a", "cpu:-1", "cpu:", "cuda:1:2", "cpu ")
# What makes a tensor and takes a device, with arguments that suit.
MAKERS = {
    "tensor": lambda **d: tw.tensor([1.0], **d),
    "as_tensor": lambda **d: tw.as_tensor([1.0], **d),
    "as_tensor of a tensor": lambda **d: tw.as_tensor(tw.ones(2), **d),
    "zeros": lambda **d: tw.zeros(2, **d),
    "ones": lambda **d: tw.ones(2, **d),
    "empty": lambda **d: tw.empty(2, **d),
    "full": lambda **d: tw.full((2,), 1.0, **d),
    "zeros_like": lambda **d: tw.zeros_like(tw.ones(2), **d),
    "ones_like": lambda **d: tw.ones_like(tw.ones(2), **d),
    "empty_like": lambda **d: tw.empty_like(tw.ones(2), **d),
    "full_like": lambda **d: tw.full_like(tw.ones(2), 3.0, **d),
    "arange": lambda **d: tw.arange(3, **d),
    "linspace": lambda **d: tw.linspace(0, 1, 3, **d),
    "eye": lambda **d: tw.eye(3, **d),
    "rand": lambda **d: tw.rand(2, **d),
    "randn": lambda **d: tw.randn(2, **d),
    "rand_like": lambda **d: tw.rand_like(tw.ones(2), **d),
    "randn_like": lambda **d: tw.randn_like(tw.ones(2), **d),
    "randint": lambda **d: tw.randint(0, 3, (2,), **d),
    "randperm": lambda **d: tw.randperm(3, **d),
    "normal": lambda **d: tw.normal(0.0, 1.0, (2,), **d),
    "new_zeros": lambda **d: tw.ones(1).new_zeros(2, **d),
    "new_ones": lambda **d: tw.ones(1).new_ones(2, **d),
    "new_empty": lambda **d: tw.ones(1).new_empty(2, **d),
    "new_full": lambda **d: tw.ones(1).new_full((2,), 1.0, **d),
    "new_tensor": lambda **d: tw.ones(1).new_tensor([1.0], **d),
    "to": lambda **d: tw.ones(2).to(**d),
    "Module.to": lambda **d: nn.Linear(2, 2).to(**d).weight,
}


def test_every_function_that_takes_a_device_is_tried():
    from tilework.testing import calls

    taking = {n for n, c in calls.FUNCTIONS.items() if "device" in c.options}
    taking |= {n for n, c in calls.METHODS.items() if "device" in c.options}
    assert taking <= set(MAKERS), taking - set(MAKERS)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_creation_takes_the_cpu_and_refuses_the_rest(make):
    for wanted in ("cpu", "cpu:0", tw.device("cpu"), tw.device("cpu", 0), None):
        assert make(device=wanted).device == tw.device("cpu")
    for wrong in ("gpu", "", 1.5):
        with pytest.raises(RuntimeError, match=r"expected 'cpu' or 'cuda' for device; got "):
            make(device=wrong)
    if not tw.cuda.is_available():
        for absent in ("cuda", "cuda:1", tw.device("cuda"), 0):
            with pytest.raises(RuntimeError, match=r"expected a device for 'cuda(:\d)?'; got no "):
                make(device=absent)


@pytest.mark.parametrize("call", [
    lambda: tw.ones(1).to("cuda"), lambda: tw.ones(1).to(tw.device("cuda", 1)),
    lambda: tw.ones(1).to(0), lambda: tw.ones(1).cuda(), lambda: tw.ones(1).cuda(1),
    lambda: nn.Linear(2, 2).to("cuda:0"), lambda: nn.Linear(2, 2).to(tw.device("cuda")),
    lambda: nn.Linear(2, 2).cuda(),
])  # fmt: skip
def test_moving_to_cuda_says_what_is_missing(call):
    if tw.cuda.is_available():
        pytest.skip("there is a device here")
    with pytest.raises(RuntimeError, match=r"expected a device for 'cuda(:\d)?'; got no .*: "):
        call()


def test_moving_to_the_cpu_moves_nothing():
    x, layer = tw.ones(2), nn.Linear(2, 2)
    cpu = tw.device("cpu")
    assert x.to("cpu") is x.to(cpu) is x.to(device=cpu) is x.cpu() is x
    assert x.to(cpu, tw.float64).dtype == tw.float64
    assert x.to(cpu, copy=True) is not x
    assert layer.to(cpu) is layer.cpu() is layer.to("cpu") is layer
    assert layer.to(cpu, tw.float64).weight.dtype == tw.float64


def test_a_tensor_says_where_it_lives():
    x = F.relu(tw.ones(2, requires_grad=True))
    assert x.device == tw.device("cpu")
    assert x.device.type == "cpu"
    assert x.device.index is None
    assert not x.is_cuda
    assert x.is_cpu
    assert x.get_device() == -1
    assert x.device != "cpu"  # as in PyTorch
    assert x[0].detach().device is x.device


def test_devices_are_values():
    cpu = tw.device("cpu")
    assert str(cpu) == "cpu"
    assert repr(cpu) == "device(type='cpu')"
    assert repr(tw.device("cuda:1")) == "device(type='cuda', index=1)"
    assert tw.device("cuda:1") == tw.device("cuda", 1) == tw.device(1) == tw.device("cuda", index=1)
    assert tw.device("cpu:0") != cpu
    assert tw.device(type="cpu") == cpu == tw.device(cpu)
    assert len({tw.device(name) for name in (*NAMES, *NAMES)}) == len(NAMES)
    for name in NAMES:
        one = tw.device(name)
        assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
        assert str(one) == name
    with pytest.raises(AttributeError, match="make another"):
        cpu.type = "cuda"
    for wrong in WRONG:
        with pytest.raises(RuntimeError, match="'cpu' or 'cuda'"):
            tw.device(wrong)
    with pytest.raises(RuntimeError):
        tw.device("cpu:0", 0)
    with pytest.raises(RuntimeError):
        tw.device("cpu", -1)
    for wrong in (None, 1.5, True):
        with pytest.raises(TypeError):
            tw.device(wrong)


def test_without_a_device_cuda_says_so():
    if tw.cuda.is_available():
        pytest.skip("there is a device here")
    assert tw.cuda.why_not()
    before = tw.get_rng_state().tolist()
    tw.cuda.manual_seed_all(3)
    assert tw.get_rng_state().tolist() == before
    assert tw.device("cuda" if tw.cuda.is_available() else "cpu") == tw.ones(1).device
    assert not tw.ones(2).is_pinned()
    for call in (
        tw.cuda.synchronize, tw.cuda.Event, tw.cuda.get_device_name, tw.ones(2).pin_memory,
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"expected a device for 'cuda'"):
            call()
    assert tw.cuda.memory_allocated() == tw.cuda.memory_reserved() == 0


@pytest.mark.parametrize("name", ["cuda", "cupy"])
def test_an_engine_of_devices_says_what_is_missing(name):
    if tw.cuda.is_available():
        pytest.skip("there is a device here")
    what, _, fix = tw.cuda.why_not().partition(": ")
    said = f"[use_engine] expected a device for the {name} engine; got {what}: {fix}"
    with pytest.raises(RuntimeError, match=re.escape(said)):
        tw.use_engine(name)
    assert tw.engines.current_engine() not in ("cuda", "cupy")


def test_asking_for_a_device_imports_nothing():
    program = (
        "import sys, tilework as tw; tw.cuda.is_available(); tw.cuda.device_count(); "
        "loaded = [m for m in sys.modules if m.startswith(('cupy', 'tilework.engines.cu'))]; "
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_where_things_are_made_by_default():
    assert tw.get_default_device() == tw.device("cpu")
    with tw.device("cpu") as inner:
        assert inner == tw.get_default_device() == tw.zeros(1).device
    tw.set_default_device("cpu")
    tw.set_default_device(None)
    assert tw.get_default_device() == tw.device("cpu")
    with pytest.raises(RuntimeError, match=r"\[set_default_device\]"):
        tw.set_default_device("gpu")


def test_devices_are_pytorchs():
    torch = pytest.importorskip("torch")

    def said(library, name):
        found = library.device(name)
        return str(found), repr(found), found.type, found.index, found == name

    for name in NAMES:
        assert said(tw, name) == said(torch, name)
    for wrong in WRONG:
        with pytest.raises(RuntimeError):
            torch.device(wrong)
    for library in (tw, torch):
        assert library.ones(1).device == library.device("cpu") != library.device("cpu:0")


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: nn.Linear(3, 4, **o),
        lambda **o: nn.Conv2d(1, 2, 3, **o),
        lambda **o: nn.ConvTranspose2d(1, 2, 3, **o),
        lambda **o: nn.Embedding(5, 3, **o),
        lambda **o: nn.LayerNorm(3, **o),
        lambda **o: nn.BatchNorm2d(3, **o),
        lambda **o: nn.LSTM(3, 4, **o),
        lambda **o: nn.GRUCell(3, 4, **o),
        lambda **o: nn.MultiheadAttention(4, 2, **o),
        lambda **o: nn.TransformerEncoderLayer(4, 2, 8, **o),
    ],
)
def test_layers_are_made_on_a_device(make):
    layer = make(device="cpu", dtype=tw.float64)
    assert {p.dtype for p in layer.parameters()} == {tw.float64}
    assert make(device=tw.device("cpu")).training
    with pytest.raises(RuntimeError, match="expected 'cpu' or 'cuda'"):
        make(device="gpu")


def test_a_masks_device():
    mask = nn.Transformer.generate_square_subsequent_mask(3, device="cpu")
    assert mask.shape == (3, 3)
