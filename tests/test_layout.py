"""No program sees how the engine lays memory: strides, views, copies and aliases are PyTorch's."""

import copy
import pickle
import sys
import threading

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn, optim
from tilework.layout import c_strides

# --- what shows ---


def conv_result():
    return F.conv2d(tw.randn(2, 3, 6, 5), tw.randn(4, 3, 3, 3))


def conv_weight():
    return nn.Conv2d(3, 4, (3, 2)).weight.detach()


MADE = {
    "conv": conv_result,
    "weight": conv_weight,
    "transposed": lambda: F.conv_transpose2d(tw.randn(2, 3, 3, 2), tw.randn(3, 4, 2, 2)),
    "conv1d": lambda: F.conv1d(tw.randn(2, 3, 9), tw.randn(4, 3, 2)),
    "unbatched": lambda: F.conv2d(tw.randn(3, 6, 5), tw.randn(4, 3, 3, 3)),
    "max_pool": lambda: F.max_pool2d(conv_result(), 2, 1),
    "avg_pool": lambda: F.avg_pool2d(conv_result(), 2, 1),
    "batch_norm": lambda: nn.BatchNorm2d(4)(conv_result()).detach(),
    "group_norm": lambda: F.group_norm(conv_result(), 2),
    "interpolate": lambda: F.interpolate(conv_result(), scale_factor=2),
    "relu": lambda: F.relu(conv_result()),
    "sum": lambda: conv_result() + conv_result(),
    "product": lambda: conv_result() * 2.0,
    "cat": lambda: tw.cat([conv_result(), conv_result()], 1),
    "pad": lambda: F.pad(conv_result(), (1, 2, 1, 1)),
    "clone": lambda: conv_result().clone(),
    "zeros_like": lambda: tw.zeros_like(conv_result()),
    "double": lambda: conv_result().double(),
    "copied": lambda: copy.deepcopy(conv_result()),
    "pickled": lambda: pickle.loads(pickle.dumps(conv_result())),
}


def weight_gradient():
    layer = nn.Conv2d(3, 4, 3)
    layer(tw.randn(1, 3, 5, 5)).sum().backward()
    return layer.weight.grad


MADE["gradient"] = weight_gradient


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_what_the_engine_lays_shows_c_order(make):
    x = make()
    values = np.array(x.tolist(), x.numpy().dtype)
    assert x.is_contiguous()
    assert x.contiguous() is x
    assert x.stride() == c_strides(x.shape)
    flat = x.view(-1)
    assert np.array_equal(flat.numpy(), values.reshape(-1))
    flat[1] = 77.0
    assert x.reshape(-1)[1].item() == 77.0


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_numpy_hands_out_c_order_on_the_same_memory(make):
    x = make()
    array = x.numpy()
    assert array.flags.c_contiguous
    array[...] = 3.0
    assert bool((x == 3.0).all())
    assert np.asarray(make(), np.float64).flags.c_contiguous
    assert np.from_dlpack(make()).flags.c_contiguous


# --- what shares memory, and what does not ---


def test_views_that_no_stride_of_the_engine_shows_alias_all_the_same():
    y = conv_result()
    before, twin, rows = y.detach(), y.detach(), y.permute(0, 2, 3, 1)[:, 1:, ::2]
    flat = y.view(2, -1)
    y += 1
    assert np.array_equal(flat.numpy(), y.numpy().reshape(2, -1))
    flat[0, 0] = 9.0
    for t in (y, before, twin):
        assert t[0, 0, 0, 0].item() == 9.0
    rows.zero_()
    assert not y.numpy()[:, :, 1:, ::2].any()
    assert rows.stride() == (48, 3, 2, 12)


def test_memory_that_moves_takes_its_views_with_it():
    y = conv_result()
    views = [y[1], y[:, 2], y.permute(3, 0, 2, 1), y[0, :, ::3, 1:], y.detach(), y.data, y[:, :0]]
    wanted = [v.numpy().copy() for v in map(tw.clone, views)]
    strides = [v.stride() for v in views]
    y.view(-1)
    y.mul_(2.0)
    for v, values, steps in zip(views, wanted, strides, strict=True):
        assert np.array_equal(v.numpy(), values * 2.0)
        assert v.stride() == steps
        assert v.numel() == 0 or np.shares_memory(v.numpy(), y.numpy())


def test_an_axis_of_length_1_shows_the_step_that_it_has_in_memory():
    x = tw.zeros(3, 4)
    assert x.t()[:1].stride() == (1, 4)
    assert x[None].stride() == (12, 4, 1)  # a new axis the one that would come next


def test_memory_that_moves_takes_the_views_of_other_threads_with_it():
    """One thread moves it, while others make views and twins, which are written through later."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(60):
            y = conv_result()
            views = []

            def look(y=y, views=views):
                for _ in range(20):
                    views.extend((y.detach(), y.permute(0, 2, 3, 1)))
                    assert y.stride() == (48, 12, 3, 1)

            threads = [
                threading.Thread(target=work) for work in (look, lambda y=y: y.view(-1), look)
            ]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            y.zero_()
            assert len(views) == 80
            assert all(v.abs().sum().item() == 0 for v in views)
    finally:
        sys.setswitchinterval(before)


def test_contiguous_copies_what_shows_another_order():
    y = conv_result()  # channels last in memory: the permuted tensor lies in C order already
    rows = y.permute(0, 2, 3, 1)
    assert not rows.is_contiguous()
    for z in (rows.contiguous(), rows.reshape(-1, 4)):
        before = y.clone()
        z += 1
        assert bool((y == before).all())
    with pytest.raises(ValueError, match=r"\[view\] expected a shape that these strides can show"):
        rows.view(-1, 4)
    assert rows.view(2, -1, 4).stride() == (48, 1, 12)


def test_a_view_that_strides_allow_moves_nothing():
    y = conv_result()
    where = y._array.__array_interface__["data"]
    for z in (y.flatten(2), y.view(1, 2, 4, 4, 3, 1), y.permute(0, 2, 3, 1).flatten(1, 2), y[0]):
        assert z._array.__array_interface__["data"] == where
    assert y._array.__array_interface__["data"] == where


def test_a_leaf_that_moves_keeps_its_gradient_and_its_momentum():
    def train(view):
        tw.manual_seed(0)
        layer, x = nn.Conv2d(3, 4, 3), tw.randn(2, 3, 5, 5)
        opt = optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            opt.zero_grad()
            loss = layer(x).square().mean()
            if view:
                loss = loss + layer.weight.view(-1).square().sum() * 0.0
            loss.backward()
            opt.step()
            if view:
                layer.weight.detach().view(-1), layer.weight.grad.view(-1)
                opt.state[layer.weight]["momentum_buffer"].view(-1)
        return layer.weight.detach().numpy()

    np.testing.assert_allclose(train(True), train(False), rtol=1e-5, atol=1e-6)


def test_a_packed_weight_that_moves_is_packed_again():
    layer = nn.Conv2d(64, 64, 3).requires_grad_(False)
    x = tw.randn(1, 64, 6, 6)
    wanted = [layer(x) for _ in range(3)][-1]
    flat = layer.weight.view(-1)
    assert tw.allclose(layer(x), wanted, atol=1e-5)
    flat.zero_()
    layer.bias.zero_()
    assert not layer(x).numpy().any()


def test_frozen_weights_stay_so_where_they_move():
    layer = nn.Conv2d(3, 4, 3)
    nn.utils.freeze(layer)
    with pytest.raises(RuntimeError, match="frozen"):
        layer.weight.detach().view(-1).zero_()
    assert not layer.weight.detach().numpy().flags.writeable
    nn.utils.unfreeze(layer)
    layer.weight.detach().zero_()


# --- what comes from NumPy, and goes there ---


def test_numpy_gives_a_view_whose_shape_is_its_own():
    x = tw.zeros(2, 3)
    for array in (x.numpy(), np.asarray(x)):
        array.shape = (-1,)
        assert x.shape == (2, 3)
        array[0] = 1.0
        assert x[0, 0].item() == 1.0


def odd_arrays():
    raw = np.arange(21, dtype=np.uint8)
    yield "misaligned", raw[1:].view(np.float32)
    yield "of a record", np.ones(3, [("a", "u1"), ("b", "f4")])["b"]
    yield "subclass", np.ones((1, 2)).view(np.recarray)
    yield "masked", np.ma.masked_array([1.0, 2.0], [True, False])


@pytest.mark.parametrize(("name", "array"), list(odd_arrays()))
def test_odd_arrays_are_served(name, array):
    for enter in (tw.from_numpy, tw.tensor, tw.as_tensor, tw.Tensor):
        x = enter(array)
        assert type(x.numpy()) is np.ndarray
        assert np.array_equal((x + 1).numpy(), np.asarray(array) + 1)
    shared = tw.from_numpy(array)
    shared.zero_()
    assert np.asarray(array).any() == (name in ("misaligned", "of a record"))


def test_the_other_byte_order_is_converted_or_refused():
    array = np.array([1.0, 2.0], ">f4")
    assert tw.tensor(array).dtype == tw.float32
    assert tw.tensor(array).tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match="from_numpy"):
        tw.from_numpy(array)


# --- memory formats, for programs that name one ---


def test_programs_that_name_a_memory_format_run():
    last = tw.channels_last
    x = tw.randn(2, 3, 4, 5)
    y = x.to(memory_format=last)
    for z in (y, x.contiguous(memory_format=last), x.clone(memory_format=last)):
        assert z.stride() == (60, 1, 15, 3)
        assert z.is_contiguous(memory_format=last)
        assert not z.is_contiguous()
        assert bool((z == x).all())
        assert z.contiguous(memory_format=last) is z
        assert z.numpy().strides == (240, 4, 60, 12)
        assert z.clone().stride() == z.stride()
        assert z.clone(memory_format=tw.contiguous_format).is_contiguous()
        assert tw.zeros_like(z).stride() == z.stride()
        assert tw.ones_like(z, memory_format=tw.contiguous_format).is_contiguous()
        z.zero_()
    assert x.numpy().all()
    layer = nn.Conv2d(3, 4, 3).to(memory_format=last)
    assert layer.weight.is_contiguous(memory_format=last)
    assert layer(x.to(memory_format=last)).is_contiguous(memory_format=last)
    assert pickle.loads(pickle.dumps(last)) is last
    assert repr(last) == "tilework.channels_last"
    w = tw.randn(1, 2, 3, 3, requires_grad=True)
    (w.contiguous(memory_format=last) * 2).sum().backward()
    assert bool((w.grad == 2).all())


def test_a_memory_format_that_does_not_suit_is_refused():
    with pytest.raises(ValueError, match=r"\[contiguous\] expected four axes"):
        tw.zeros(2, 3).contiguous(memory_format=tw.channels_last)
    with pytest.raises(ValueError, match=r"\[contiguous\]"):
        tw.zeros(2, 3).contiguous(memory_format=tw.preserve_format)
    with pytest.raises(TypeError, match=r"\[clone\] expected a memory format"):
        tw.zeros(2).clone(memory_format="channels_last")
    assert not tw.zeros(2, 3).is_contiguous(memory_format=tw.channels_last)


def test_a_number_read_from_a_tensor_may_be_written_after():
    x, i = tw.zeros(3, requires_grad=True), tw.tensor(1)
    y = x[i]
    i += 1
    y.backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0]


def test_tensors_that_died_are_not_kept_count_of():
    weight = nn.Conv2d(3, 4, 3).weight
    for _ in range(20):
        twins = [weight.detach() for _ in range(200)]
        del twins
        weight.detach()
    assert len(weight._storage.layout.tensors) <= 2 * 200 + 32
    held = [weight.detach() for _ in range(100)]
    weight.detach().view(-1).zero_()
    assert not any(t.numpy().any() for t in held)


@pytest.mark.parametrize("aliased", [False, True])
def test_gradients_flow_through_memory_that_moves(aliased):
    """Writes through a view that needed C order, beside the same writes to a copy of its own."""

    def gradient(view):
        tw.manual_seed(1)
        x = tw.randn(2, 3, 5, 5, requires_grad=True)
        y = F.relu(F.conv2d(x, tw.randn(4, 3, 3, 3))) * 1.0
        if aliased:
            flat = (
                y.view(2, -1) if view else y.clone(memory_format=tw.contiguous_format).view(2, -1)
            )
            flat[:, 3:20] *= 3.0
            loss = (flat * flat).sum() + (y if view else flat.view(2, 4, 3, 3)).sum()
        else:
            loss = (y.view(2, -1) if view else y.reshape(2, 4, 9).flatten(1)).square().sum()
        loss.backward()
        return x.grad.numpy()

    np.testing.assert_allclose(gradient(True), gradient(False), rtol=1e-5, atol=1e-5)
