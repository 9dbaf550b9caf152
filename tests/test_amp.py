"""autocast and GradScaler: which calls give which dtype, PyTorch's, and what a step does."""

import threading

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn
from tilework.testing.tolerance import eps

f = tw.randn
LABELS = tw.tensor([0, 1])


def narrow(*shape):
    return f(*shape).bfloat16()


# By what the first operand is: calls whose result is bfloat16 whatever that is, ...
LOWERED = {
    "matmul": lambda x: x(2, 3) @ f(3, 2),
    "matmul of a vector": lambda x: x(2, 3) @ f(3),
    "linear": lambda x: F.linear(x(2, 3), f(4, 3), f(4)),
    "bmm": lambda x: tw.bmm(x(2, 3, 4), f(2, 4, 3)),
    "addmm": lambda x: tw.addmm(f(2, 2), x(2, 3), f(3, 2)),
    "baddbmm": lambda x: tw.baddbmm(f(2, 3, 3), x(2, 3, 4), f(2, 4, 3)),
    "einsum": lambda x: tw.einsum("ij,jk->ik", x(2, 3), f(3, 2)),
    "conv1d": lambda x: F.conv1d(x(1, 3, 5), f(2, 3, 3)),
    "conv2d": lambda x: F.conv2d(x(1, 3, 5, 5), f(2, 3, 3, 3)),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x(1, 3, 5, 5), f(3, 2, 3, 3)),
    "attention": lambda x: F.scaled_dot_product_attention(x(1, 3, 4), x(1, 3, 4), f(1, 3, 4)),
    "lstm": lambda x: nn.LSTM(3, 4)(x(2, 1, 3))[0],
    "lstm cell": lambda x: nn.LSTMCell(3, 4)(x(2, 3))[0],
    "MultiheadAttention": lambda x: nn.MultiheadAttention(4, 2)(*(x(2, 1, 4),) * 3)[0],
}
# ... float32 whatever that is, ...
RAISED = {
    "prod": lambda x: x(2).prod(),
    "cdist": lambda x: tw.cdist(x(2, 3), x(2, 3)),
    "quantile": lambda x: tw.quantile(x(4), 0.5),
    "cross_entropy": lambda x: F.cross_entropy(x(2, 3), LABELS),
    "nll_loss": lambda x: F.nll_loss(x(2, 3), LABELS),
    "mse_loss": lambda x: F.mse_loss(x(2, 3), x(2, 3)),
    "l1_loss": lambda x: F.l1_loss(x(2, 3), x(2, 3)),
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x(2, 3), x(2, 3)),
    "huber_loss": lambda x: F.huber_loss(x(2, 3), x(2, 3)),
    "bce": lambda x: F.binary_cross_entropy(x(2, 3).sigmoid(), tw.ones(2, 3)),
    "bce with logits": lambda x: F.binary_cross_entropy_with_logits(x(2, 3), tw.ones(2, 3)),
    "kl_div": lambda x: F.kl_div(x(2, 3), x(2, 3), reduction="sum"),
    "triplet": lambda x: F.triplet_margin_loss(x(2, 3), x(2, 3), x(2, 3)),
    "cosine_embedding": lambda x: F.cosine_embedding_loss(x(2, 3), x(2, 3), tw.ones(2)),
    "hinge_embedding": lambda x: F.hinge_embedding_loss(x(2, 3), tw.ones(2, 3)),
    "ctc": lambda x: F.ctc_loss(
        x(4, 1, 3).log_softmax(2), tw.tensor([[1]]), tw.tensor([4]), tw.tensor([1])
    ),
    "sum with float32": lambda x: x(2) + f(2),
    "cat with float32": lambda x: tw.cat([x(2), f(2)]),
}
# ... and the first operand's.
KEPT = {
    "softmax": lambda x: x(2, 3).softmax(1),
    "layer_norm": lambda x: F.layer_norm(x(2, 3), (3,), f(3), f(3)),
    "batch_norm": lambda x: F.batch_norm(x(2, 3, 4), tw.zeros(3), tw.ones(3), f(3), f(3)),
    "gelu": lambda x: F.gelu(x(2)),
    "exp": lambda x: x(2).exp(),
    "sum": lambda x: x(2).sum(),
    "dot": lambda x: tw.dot(x(3), x(3)),
    "mv": lambda x: tw.mv(x(2, 3), x(3)),
    "addmv": lambda x: tw.addmv(x(2), x(2, 3), x(3)),
    "max_pool2d": lambda x: F.max_pool2d(x(1, 2, 4, 4), 2),
    "gru": lambda x: nn.GRU(3, 4)(x(2, 1, 3))[0],
    "embedding": lambda x: F.embedding(LABELS, x(3, 2)),
    "cosine_similarity": lambda x: F.cosine_similarity(x(2, 3), x(2, 3)),
}


@pytest.mark.parametrize("make", [f, narrow], ids=["float32", "bfloat16"])
def test_dtypes(make):
    own = make(1).dtype
    with tw.autocast("cpu"):
        found = {
            name: call(make).dtype for t in (LOWERED, RAISED, KEPT) for name, call in t.items()
        }
    wanted = dict.fromkeys(LOWERED, tw.bfloat16) | dict.fromkeys(RAISED, tw.float32)
    assert found == wanted | dict.fromkeys(KEPT, own)


def test_double_stays_and_meets_no_other():
    with tw.autocast("cpu"):
        assert (f(2, 3).double() @ f(3, 2).double()).dtype == tw.float64
        with pytest.raises(TypeError, match="one dtype"):
            f(2, 3) @ f(3, 2).double()


def network():
    tw.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))


def test_a_step_is_that_of_converted_layers():
    model, x = network(), f(3, 8)
    with tw.autocast("cpu", dtype=tw.bfloat16):
        y = model(x)
        loss = F.mse_loss(y, tw.zeros(3, 4))
        loss.backward()  # within it too: gradients have their weights' dtype
    assert y.dtype == tw.bfloat16
    assert loss.dtype == tw.float32
    exact = network().double()
    F.mse_loss(exact(x.double()), tw.zeros(3, 4).double()).backward()
    for p, q in zip(model.parameters(), exact.parameters(), strict=True):
        assert p.grad.dtype == tw.float32
        # Roundings of three layers there and back, each at most of the largest term.
        assert (p.grad - q.grad).abs().max() <= 8 * eps("bfloat16") * q.grad.abs().max()


def test_second_derivatives_within_it():
    w, x = f(3, 3).requires_grad_(), f(2, 3)
    with tw.autocast("cpu"):
        y = (x @ w).float().pow(2).sum()
        (slope,) = tw.autograd.grad(y, w, create_graph=True)
        (bend,) = tw.autograd.grad(slope.sum(), w)
    wide = 2 * (x.double().T @ x.double()).sum(0)[:, None].expand(3, 3)
    assert (bend - wide).abs().max() <= 8 * eps("bfloat16") * wide.abs().max()


def test_a_residual_stays_in_float32():
    x, layer = f(2, 4), nn.Linear(4, 4)
    conv = nn.Conv1d(2, 2, 1)
    with tw.autocast("cpu"):
        plain = layer(x)
        assert tw.equal(layer(x, residual=x * 100, activation="relu"), (plain + x * 100).relu())
        assert conv(x[None, :, :].reshape(1, 2, 4), residual=f(1, 2, 4)).dtype == tw.float32
        norm, total = F.layer_norm(plain, (4,), residual=x)
    assert norm.dtype == total.dtype == tw.float32
    assert tw.equal(total, plain + x)


def test_it_ends_nests_and_decorates():
    product = lambda: (f(1, 2) @ f(2, 1)).dtype  # noqa: E731
    with tw.autocast("cpu"):
        assert tw.is_autocast_enabled("cpu")
        with tw.autocast("cpu", enabled=False):
            assert not tw.is_autocast_enabled("cpu")
            assert product() == tw.float32
        assert product() == tw.bfloat16
        with tw.autocast("cuda"):  # about other tensors
            assert product() == tw.bfloat16
    assert product() == tw.float32
    with pytest.raises(ZeroDivisionError), tw.autocast("cpu"):
        1 / 0  # noqa: B018
    assert product() == tw.float32
    with tw.autocast("cuda"):
        assert product() == tw.float32

    @tw.autocast("cpu")
    def decorated(depth):
        return product() if not depth else decorated(depth - 1)

    assert decorated(2) == tw.bfloat16
    assert product() == tw.float32


def test_other_threads_go_on_as_they_were():
    found = []
    with tw.autocast("cpu"):
        thread = threading.Thread(target=lambda: found.append((f(1, 2) @ f(2, 1)).dtype))
        thread.start()
        thread.join()
    assert found == [tw.float32]


def test_weights_kept_without_gradients_follow_writes():
    layer, x = nn.Linear(2, 2, bias=False), tw.ones(1, 2)
    with tw.no_grad(), tw.autocast("cpu"):
        before = layer(x)
        assert tw.equal(layer(x), before)
        layer.weight.mul_(2)
        assert tw.equal(layer(x), before * 2)


def test_another_dtype_is_a_warning():
    with pytest.warns(UserWarning, match=r"^\[autocast\] expected bfloat16"):
        context = tw.autocast("cpu", dtype=tw.float64)
    with context:
        assert (f(1, 2) @ f(2, 1)).dtype == tw.float32
    with pytest.raises(RuntimeError, match=r"^\[autocast\] expected 'cpu' or 'cuda'"):
        tw.autocast("tpu")


# --- scaled losses ---


def scaled_step(scaler, optimizer, weight, factor):
    optimizer.zero_grad()
    scaler.scale((weight * factor).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def test_the_scale_grows_and_falls():
    weight = tw.ones(2, requires_grad=True)
    optimizer = tw.optim.SGD([weight], lr=0.5)
    scaler = tw.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    scales = []
    for factor in (1.0, 1.0, float("inf"), 1.0):
        scaled_step(scaler, optimizer, weight, factor)
        scales.append(scaler.get_scale())
    assert scales == [4.0, 8.0, 4.0, 4.0]
    assert weight.tolist() == [1 - 3 * 0.5] * 2  # the infinite one took no step
    other = tw.amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()


def test_gradients_are_unscaled_once():
    weight = tw.ones(2, requires_grad=True)
    optimizer = tw.optim.SGD([weight], lr=0.5)
    scaler = tw.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale([weight.sum()])[0].backward()
    scaler.unscale_(optimizer)
    assert weight.grad.tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match=r"^\[unscale_\]"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"^\[step\]"):
        scaler.step(optimizer)
    scaler.update(2.0)
    assert scaler.get_scale() == 2.0
    with pytest.raises(RuntimeError, match=r"^\[update\]"):
        scaler.update()
    assert np.allclose(weight.numpy(force=True), 0.5)


def test_one_that_is_not_enabled_passes_through():
    weight = tw.ones(2, requires_grad=True)
    optimizer, scaler = tw.optim.SGD([weight], lr=0.5), tw.amp.GradScaler(enabled=False)
    scaler.unscale_(optimizer)
    scaled_step(scaler, optimizer, weight, 1.0)
    assert weight.tolist() == [0.5, 0.5]
    assert scaler.get_scale() == 1.0
    assert scaler.state_dict() == {}
    scaler.load_state_dict({})
    with pytest.raises(ValueError, match=r"^\[GradScaler\]"):
        tw.amp.GradScaler("cpu", growth_factor=0.5)
    with pytest.raises(RuntimeError, match=r"^\[load_state_dict\]"):
        tw.amp.GradScaler("cpu").load_state_dict({})
