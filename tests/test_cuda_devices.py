"""Tensors on a CUDA device, by the simulated one: PyTorch's names, no copies unasked."""

import numpy as np
import pytest

import tilework as tw
from tilework import data, nn, optim
from tilework import functional as F
from tilework.testing import simulated

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())


@pytest.fixture(autouse=True)
def cuda():
    with simulated.device() as served:
        yield served


def test_there_and_back_the_layout_is_kept():
    for x in (
        tw.randn(3, 4), tw.randn(4, 3).t(), tw.randn(2, 3, 4, 5).to(memory_format=tw.channels_last),
        tw.tensor(1.5), tw.zeros(0, 3), tw.arange(5), tw.ones(3, dtype=tw.bfloat16),
    ):  # fmt: skip
        y = x.to("cuda")
        assert (y.device, y.shape, y.dtype, y.stride()) == (
            tw.device("cuda", 0), x.shape, x.dtype, x.stride()
        )  # fmt: skip
        assert y.cuda() is y.to("cuda:0") is y
        assert tw.equal(y.cpu(), x)
        assert y.cpu().stride() == x.stride()
        assert (y.is_cuda, y.is_cpu, y.get_device()) == (True, False, 0)
        assert x.to(y).device == y.device


def test_gradients_go_back_where_leaves_live():
    a = tw.randn(3, requires_grad=True)
    b = a.to("cuda")
    assert b.requires_grad
    assert not b.is_leaf
    b.backward(tw.tensor([1.0, 2.0, 3.0], device="cuda"))
    assert a.grad.device.type == "cpu"
    assert a.grad.tolist() == [1.0, 2.0, 3.0]


def test_a_device_is_made_on_by_name_and_by_default():
    assert tw.zeros(2, device="cuda").is_cuda
    assert tw.tensor([1.0], device=0).tolist() == [1.0]
    assert tw.as_tensor(np.ones(2), device="cuda").is_cuda
    x = tw.ones(2, device="cuda")
    for like in (tw.zeros_like, tw.ones_like, tw.empty_like):
        assert like(x).is_cuda
        assert like(x, device="cpu").is_cpu
    for made in (x.new_zeros(2), x.new_full((2,), 1.0), x.new_tensor([1.0]), tw.tensor(x)):
        assert made.is_cuda
    with tw.device("cuda"):
        assert tw.zeros(2).is_cuda
        assert nn.Linear(2, 2, device="cpu").weight.is_cpu
        with tw.device("cpu"):
            assert tw.arange(2).is_cpu
        assert tw.arange(2).is_cuda
        assert tw.from_numpy(np.ones(2)).is_cpu
    assert tw.zeros(2).is_cpu
    with pytest.raises(RuntimeError, match="a device below cuda:1; got 'cuda:1'"):
        tw.zeros(2, device="cuda:1")


def test_nothing_goes_to_the_host_unasked():
    x = tw.ones(2, device="cuda")
    for go in (x.numpy, lambda: np.asarray(x), lambda: np.add(x._array, 1.0)):
        with pytest.raises(TypeError):
            go()
    assert x.tolist() == [1.0, 1.0]
    assert "device='cuda:0'" in repr(x)


def test_an_index_outside_is_told_when_the_host_waits():
    table, index = tw.ones(3, 2, device="cuda"), tw.tensor([0, 3], device="cuda")
    for wait in (tw.Tensor.cpu, tw.Tensor.tolist, lambda y: y.sum().item(), repr):
        found = F.embedding(index, table)
        with pytest.raises(IndexError, match=r"indices in \[0, 3\); got 3"):
            wait(found)
    F.embedding(index, table)
    with pytest.raises(IndexError):
        tw.cuda.synchronize()
    assert F.embedding(index[:1], table).tolist() == [[1.0, 1.0]]


def test_devices_do_not_mix():
    x, y = tw.ones(3, device="cuda"), tw.ones(3)
    for mix in (lambda: x + y, lambda: y * x, lambda: F.softmax(x, 0) - y):
        with pytest.raises(RuntimeError, match="all tensors on one device; got some on the CPU"):
            mix()
    x.copy_(y * 2)  # which is what copies
    assert x.is_cuda
    assert x.tolist() == [2.0, 2.0, 2.0]


def test_modules_move_in_place():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before, weight = model.state_dict(), model[0].weight
    model[0].weight.grad = tw.ones(4, 3)
    assert model.to("cuda") is model
    assert model[0].weight is weight
    assert weight.is_leaf
    assert all(t.is_cuda for t in (*model.parameters(), *model.buffers(), weight.grad))
    for name, value in model.state_dict().items():
        assert tw.equal(value.cpu(), before[name].cpu())
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    other.load_state_dict(model.state_dict())
    assert tw.equal(other[0].weight, weight.cpu())
    assert other[0].weight.is_cpu
    assert model.cpu()[0].weight.is_cpu


def test_an_optimisers_state_lives_beside_its_parameters():
    w = tw.ones(3, device="cuda", requires_grad=True)
    adam = optim.Adam([w], lr=0.5)
    (w * w).sum().backward()
    adam.step()
    assert adam.state[w]["exp_avg"].is_cuda
    other = optim.Adam([tw.ones(3, requires_grad=True)], lr=0.5)
    other.load_state_dict(adam.state_dict())
    assert all(state["exp_avg"].is_cpu for state in other.state.values())


def test_marks_and_memory():
    start, end = (tw.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    before = tw.cuda.memory_allocated()
    x = tw.zeros(1000, device="cuda")
    assert tw.cuda.memory_allocated() >= before + x.nbytes
    end.record()
    end.synchronize()
    assert end.query()
    assert start.elapsed_time(end) >= 0.0
    with pytest.raises(ValueError, match="enable_timing"):
        start.elapsed_time(tw.cuda.Event())
    assert tw.cuda.get_device_name() == "simulated"
    assert tw.cuda.is_available()
    assert tw.cuda.device_count() == 1
    assert tw.cuda.why_not() == ""
    assert tw.cuda.is_bf16_supported()
    tw.cuda.set_device(0)
    with pytest.raises(RuntimeError, match="a device below cuda:1"):
        tw.cuda.set_device("cuda:1")
    tw.cuda.Event(enable_timing=True, blocking=True)
    tw.cuda.synchronize()


def test_a_loader_pins_what_it_gives():
    loader = data.DataLoader(data.TensorDataset(np.arange(4.0)), batch_size=2, pin_memory=True)
    batches = [batch for (batch,) in loader]
    assert all(batch.is_pinned() for batch in batches)
    moved = [batch.to("cuda", non_blocking=True).tolist() for batch in batches]
    assert moved == [[0.0, 1.0], [2.0, 3.0]]


def test_pinned_memory_is_known():
    for x in (tw.randn(3, 4), tw.randn(4, 3).t(), tw.tensor(2.0), tw.zeros(0, 2)):
        pinned = x.pin_memory()
        assert (x.is_pinned(), pinned.is_pinned(), pinned[...].is_pinned()) == (False, True, True)
        assert pinned.pin_memory() is pinned
        assert pinned.stride() == x.stride()
        assert tw.equal(pinned, x)
        assert not pinned.clone().is_pinned()
    there = tw.ones(2, device="cuda")
    assert not there.is_pinned()
    with pytest.raises(RuntimeError, match=r"\[pin_memory\] expected a tensor on the CPU"):
        there.pin_memory()


def test_a_seed_gives_the_same_numbers_on_both():
    found = []
    for device in ("cpu", "cuda"):
        tw.manual_seed(5)
        found.append([tw.rand(7, device=device), F.dropout(tw.ones(9, device=device), 0.5)])
    for a, b in zip(*found, strict=True):
        assert tw.equal(a, b.cpu())


def test_a_number_on_the_cpu_goes_beside_a_device():
    host, x = tw.tensor([-1.0, 0.0, 3.0]), tw.tensor([-1.0, 0.0, 3.0], device="cuda")
    n = tw.tensor(2.0)
    for f in (
        lambda x: n * x, lambda x: x - n, lambda x: n / x, lambda x: x > tw.tensor(0),
        lambda x: n == x, lambda x: x % n, lambda x: tw.where(x > 0, x, n), lambda x: n**x,
        lambda x: x.lerp(x * 2, n), lambda x: x.masked_fill(x > 0, n), lambda x: x.clone().fill_(n),
        lambda x: x.clone().add_(n), lambda x: tw.maximum(n, x), lambda x: x.clamp(max=n),
    ):  # fmt: skip
        assert f(x).is_cuda
        assert f(x).tolist() == f(host).tolist()


def test_the_gradient_of_a_number_on_the_cpu_is_there():
    x = tw.tensor([1.0, 2.0, 3.0], device="cuda", requires_grad=True)
    for f in (
        lambda w: w * x, lambda w: x + w, lambda w: x / w, lambda w: x**w, lambda w: x % w,
        lambda w: tw.where(x > 1, x, w), lambda w: x.masked_fill(x > 1, w),
        lambda w: x.clamp(min=w), lambda w: tw.minimum(x, w), lambda w: x.detach().clone().add_(w),
    ):  # fmt: skip
        w = tw.tensor(2.0, requires_grad=True)
        f(w).sum().backward()
        there = tw.tensor(2.0, device="cuda", requires_grad=True)
        f(there).sum().backward()
        assert w.grad.is_cpu
        assert w.grad.item() == there.grad.item()
    assert x.grad.is_cuda


def test_an_index_on_the_cpu_chooses_on_a_device():
    host = tw.arange(12.0).reshape(4, 3)
    index, mask = tw.tensor([2, -3]), host > 4
    keys = (
        index, mask, index.numpy(), mask[:, 0], (slice(None), index), (index, index),
        (1, index[:1]), tw.tensor(1), index[:, None], tw.tensor([1, 0, 1, 0], dtype=tw.uint8),
    )  # fmt: skip
    for key in keys:
        found = []
        for device in ("cpu", "cuda"):
            x = host.to(device, copy=True).requires_grad_()
            y = x[key]
            (y * y).sum().backward()
            z = x.detach().clone()
            z[key] = tw.tensor(-1.0)  # which stays on the CPU
            found.append((y.tolist(), x.grad.tolist(), z.tolist()))
            assert y.device == x.grad.device == x.device
        assert found[0] == found[1]
    x = tw.zeros(4, device="cuda")
    x.index_put_((index.clamp(min=0),), tw.tensor(2.0), accumulate=True)
    assert x.tolist() == [2.0, 0.0, 2.0, 0.0]


def test_numbers_and_slices_take_values_from_the_cpu():
    x = tw.zeros(2, 3, device="cuda")
    x[0] = tw.tensor([1.0, 2.0, 3.0])
    x[:, 2] = tw.tensor([5.0])
    assert x.tolist() == [[1.0, 2.0, 5.0], [0.0, 0.0, 5.0]]
    w = tw.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 1.0
    y[1] = w
    y.sum().backward()
    assert w.grad.is_cpu
    assert w.grad.tolist() == [1.0, 1.0, 1.0]
    host = tw.zeros(2)
    host[0] = x[0, 1]
    assert host.tolist() == [2.0, 0.0]


def test_devices_that_do_not_mix_are_told_by_every_function():
    x, y = tw.ones(2, 2, device="cuda", requires_grad=True), tw.ones(2, 2)
    for mix in (
        lambda: tw.cat([x, y]), lambda: tw.stack([y, x]), lambda: x == y, lambda: tw.equal(y, x),
        lambda: tw.allclose(x, y), lambda: nn.LSTM(2, 3)(x), lambda: y[x > 0],
        lambda: x.backward(y), lambda: tw.autograd.grad(x * 2, x, y),
        lambda: setattr(x, "grad", y), lambda: F.linear(x, y),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="all tensors on one device"):
            mix()
    assert x.grad is None


def test_what_no_device_is_called_is_told():
    for call in (lambda: tw.ones(2).to("gpu"), lambda: nn.Linear(2, 2).to("gpu")):
        with pytest.raises((RuntimeError, TypeError), match=r"got 'gpu'.*'cpu'( and|, ).*'cuda'"):
            call()


def test_ctc_takes_lengths_of_either_device():
    scores = F.log_softmax(tw.randn(6, 2, 4), 2)
    labels, ends, counts = tw.tensor([[1, 2], [3, 1]]), tw.tensor([6, 5]), tw.tensor([2, 1])
    loss = F.ctc_loss(scores, labels, ends, counts).item()
    there, labels = scores.to("cuda"), labels.to("cuda")
    for lengths in ((ends, counts), (ends.to("cuda"), counts.to("cuda")), ((6, 5), (2, 1))):
        found = F.ctc_loss(there, labels, *lengths)
        assert found.is_cuda
        assert found.item() == pytest.approx(loss)


def test_combinations_are_made_where_their_vector_lives():
    assert tw.combinations(tw.arange(3, device="cuda")).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_data_may_live_on_a_device():
    x, y = tw.arange(8.0).reshape(4, 2), tw.arange(4)
    pairs = data.TensorDataset(x.to("cuda"), y.to("cuda"))
    assert [t.tolist() for t in pairs[-1]] == [[6.0, 7.0], 3]
    for source in (pairs, [(a, b.item()) for a, b in zip(x.to("cuda"), y, strict=True)]):
        batches = list(data.DataLoader(source, batch_size=3, shuffle=True, generator=0))
        assert all(a.is_cuda for a, _ in batches)
        assert sorted(n for _, b in batches for n in b.tolist()) == [0, 1, 2, 3]
        assert all(a[:, 0].tolist() == [2.0 * n for n in b.tolist()] for a, b in batches)
    weighted = data.WeightedRandomSampler(tw.tensor([0.0, 1.0], device="cuda"), 3)
    with tw.device("cuda"):
        assert list(weighted) == [1, 1, 1]
        assert sorted(data.RandomSampler(range(3))) == [0, 1, 2]


def test_gradients_of_both_devices_are_clipped_together():
    a, b = tw.zeros(2, requires_grad=True), tw.zeros(2, device="cuda", requires_grad=True)
    for given in ([a, b], [b, a]):
        a.grad, b.grad = tw.tensor([3.0, 0.0]), tw.tensor([0.0, 4.0], device="cuda")
        assert nn.utils.clip_grad_norm_(given, 1.0).item() == 5.0
        assert a.grad.tolist() == pytest.approx([0.6, 0.0])
        assert b.grad.tolist() == pytest.approx([0.0, 0.8])
        for optimizer in (optim.SGD(given), optim.Adam(given)):
            with pytest.raises(RuntimeError, match="all tensors on one device"):
                optimizer.step()


def test_sequences_are_padded_where_they_live():
    found = nn.utils.rnn.pad_sequence([tw.ones(2, device="cuda"), tw.ones(1, device="cuda")])
    assert found.tolist() == [[1.0, 1.0], [1.0, 0.0]]


def test_a_batch_norm_is_folded_on_a_device():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).to("cuda").eval()
    x = tw.randn(1, 1, 4, 4, device="cuda")
    fused = nn.utils.fuse(model, x)
    assert all(p.is_cuda for p in (*fused.parameters(), *model.parameters()))
    assert tw.allclose(fused(x), model(x), atol=1e-5)


def test_ends_of_sequences_may_lie_on_the_cpu():
    x, ends = tw.randn(5, 2, 4), tw.tensor([0, 2, 5])
    found = F.varlen_attn(*[x.to("cuda")] * 3, ends, ends)
    assert found.is_cuda
    assert tw.allclose(found.cpu(), F.varlen_attn(x, x, x, ends, ends), atol=1e-6)
