"""Attention beyond its cases: threads, dropout, memory, second derivatives, errors."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest

import tilework as tw
from tilework import engines, nn
from tilework import functional as F

from . import attention_checks
from .attention_checks import assert_same_bits, check_second_derivatives

rng = np.random.default_rng(0)


def tensors(*shapes, dtype="float32", requires_grad=True):
    made = [tw.from_numpy(rng.standard_normal(s).astype(dtype)) for s in shapes]
    return [t.requires_grad_(requires_grad) for t in made]


def heads(batch, count, groups, queries, keys, width=8, value=8, **how):
    return tensors(
        (batch, count, queries, width),
        (batch, groups, keys, width),
        (batch, groups, keys, value),
        **how,
    )


def answers(inputs, **options):
    return attention_checks.answers(partial(F.scaled_dot_product_attention, **options), inputs)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"dropout_p": 0.3}])
@pytest.mark.parametrize("shape", [(2, 4, 2, 300, 700), (1, 1, 1, 1100, 130), (3, 2, 2, 1, 900)])
def test_threads_do_not_change_a_bit(threads, shape, options):
    inputs = heads(*shape)
    found = []
    for count in (1, 2, 5):
        threads(count)
        tw.manual_seed(3)
        found.append(answers(inputs, enable_gqa=True, **options))
    assert_same_bits(found)


def test_dropout_is_that_of_the_weights():
    """The mask is F.dropout's of a dense (B, H, L, S), whatever the blocks."""
    q, k, v = heads(2, 3, 3, 70, 515)
    tw.manual_seed(5)
    got = answers((q, k, v), dropout_p=0.25)
    tw.manual_seed(5)
    weights = F.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1)
    y = F.dropout(weights, 0.25) @ v
    y.backward(tw.ones_like(y))
    for a, b in zip(got, (y.detach(), q.grad, k.grad, v.grad), strict=True):
        assert np.abs(a - b.numpy()).max() <= 515 * np.finfo(np.float32).eps * 16


def test_dropout_agrees_between_engines():
    if len(engines.available_engines()) < 2:
        pytest.skip("one engine alone is installed here")
    inputs, found = heads(2, 2, 1, 5, 7), []
    for name in engines.available_engines():
        before = engines.current_engine()
        tw.use_engine(name)
        try:
            tw.manual_seed(11)
            found.append(answers(inputs, dropout_p=0.5, enable_gqa=True))
        finally:
            tw.use_engine(before)
    for a, b in zip(*found, strict=True):
        assert np.abs(a - b).max() <= 64 * np.finfo(np.float32).eps * max(np.abs(a).max(), 1)


def test_dropout_of_all_and_of_nothing():
    q, k, v = heads(1, 1, 1, 3, 4)
    assert not F.scaled_dot_product_attention(q, k, v, dropout_p=1.0).any()
    a = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0)
    assert tw.equal(a, F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_is_that_of_inputs_and_outputs(dtype):
    """Twice as much at most, forward and backward: scores would be two gigabytes here."""
    if engines.current_engine() != "native":
        pytest.skip("the pool is the compiled engine's")
    code = f"""
import numpy as np
import tilework as tw
from tilework import functional as F
zeros = np.zeros((1, 2, 16384, 16), tw.{dtype})
q, k, v, grad = (tw.tensor(zeros) for _ in range(4))
y = F.scaled_dot_product_attention(*(t.requires_grad_() for t in (q, k, v)), is_causal=True)
y.backward(grad)
kept = sum(t.numel() * t.element_size() for t in (q, k, v, grad, y, q.grad, k.grad, v.grad))
print(tw.memory_stats()["peak_in_use_bytes"] / kept)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert 0.5 < float(done.stdout) < 2.0


@pytest.mark.parametrize("options", [
    {}, {"is_causal": True}, {"softcap": 2.0}, {"window": (1, 2)}, {"dropout_p": 0.5},
])  # fmt: skip
def test_second_derivatives(options):
    def call(*inputs):
        tw.manual_seed(2)
        return F.scaled_dot_product_attention(*inputs, enable_gqa=True, **options)

    check_second_derivatives(call, heads(1, 2, 1, 4, 5, 3, 2, dtype="float64"), rng)


def test_what_is_hidden_has_no_gradient_and_no_part_in_any():
    q, k, v = heads(1, 2, 2, 5, 7)
    with tw.no_grad():
        k[:, :, 6] = float("nan")
        v[:, :, 6] = float("inf")
    keep = tw.from_numpy(np.arange(7)[None] < 6)
    y, dq, dk, dv = answers((q, k, v), attn_mask=keep)
    assert all(np.isfinite(x).all() for x in (y, dq, dk, dv))
    assert not dk[:, :, 6].any()
    assert not dv[:, :, 6].any()
    part = [q.detach(), k.detach()[:, :, :6], v.detach()[:, :, :6]]
    want = answers([t.contiguous().requires_grad_() for t in part])
    for a, b in zip((y, dq, dk[:, :, :6], dv[:, :, :6]), want, strict=True):
        assert np.abs(a - b).max() <= 64 * np.finfo(np.float32).eps


def test_a_nan_that_is_seen_is_told():
    q, k, v = heads(1, 1, 1, 3, 4, requires_grad=False)
    v[0, 0, 2, 1] = float("nan")
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True).numpy()
    assert np.isfinite(y[0, 0, :2]).all()
    assert np.isnan(y[0, 0, 2, 1])
    assert np.isfinite(y[0, 0, 2, 0])


def test_large_scores_and_their_gradients_are_finite():
    q, k, v = (t * 1e4 for t in heads(1, 1, 1, 3, 4, requires_grad=False))
    made = [t.requires_grad_() for t in (q, k, v)]
    assert all(np.isfinite(x).all() for x in answers(made))


def test_a_mask_is_guarded():
    q, k, v = heads(1, 1, 1, 3, 4)
    mask = tw.zeros(3, 4)
    y = F.scaled_dot_product_attention(q, k, v, mask)
    mask[0, 0] = 1.0
    with pytest.raises(RuntimeError, match="scaled_dot_product_attention"):
        y.sum().backward()


@pytest.mark.parametrize(("inputs", "options", "kind", "words"), [
    (((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 6, 4)), {}, ValueError, "query"),
    (((1, 2, 3, 4), (1, 2, 5, 6), (1, 2, 5, 4)), {}, ValueError, "query"),
    (((1, 3, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)), {"enable_gqa": True}, ValueError, "whole number"),
    (((1, 4, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)), {}, ValueError, "enable_gqa"),
    (((2, 2, 3, 4), (3, 2, 5, 4), (3, 2, 5, 4)), {}, ValueError, "leading axes"),
    (((1, 2, 3, 4),) * 3, {"attn_mask": tw.ones(2, 3)}, ValueError, "attn_mask"),
    (((1, 2, 3, 4),) * 3, {"attn_mask": tw.ones(5, 1, 2, 3, 3)}, ValueError, "attn_mask"),
    (((1, 2, 3, 4),) * 3, {"attn_mask": tw.ones(3, 3, dtype=tw.int64)}, TypeError, "attn_mask"),
    (((1, 2, 3, 4),) * 3, {"attn_mask": tw.ones(3, 3), "is_causal": True}, ValueError, "both"),
    (((1, 2, 3, 4),) * 3, {"dropout_p": 1.5}, ValueError, "dropout_p"),
    (((1, 2, 3, 4),) * 3, {"window": (-2, 0)}, ValueError, "window"),
    (((1, 2, 3, 4),) * 3, {"window": 3}, TypeError, "window"),
    (((1, 2, 3, 4),) * 3, {"causal_alignment": "left"}, ValueError, "causal_alignment"),
    (((1, 2, 3, 4),) * 3, {"alibi_slopes": tw.ones(3)}, ValueError, "alibi_slopes"),
    (((4,),) * 3, {}, ValueError, "two axes"),
])  # fmt: skip
def test_errors_name_what_is_wrong(inputs, options, kind, words):
    made = tensors(*inputs)
    with pytest.raises(kind, match=rf"\[scaled_dot_product_attention\].*{words}"):
        F.scaled_dot_product_attention(*made, **options)


def test_a_learned_bias_of_bfloat16():
    """It goes by way of the weights; the result and the gradients keep their dtypes."""
    q, k, v = (t.detach().to(tw.bfloat16).requires_grad_() for t in heads(1, 2, 2, 3, 4))
    mask = tensors((2, 3, 4))[0]
    y = F.scaled_dot_product_attention(q, k, v, mask)
    assert y.dtype is tw.bfloat16
    want = F.scaled_dot_product_attention(q, k, v, mask.detach())
    assert np.abs((y - want).detach().float().numpy()).max() <= 2**-7
    y.sum().backward()
    assert (q.grad.dtype, mask.grad.dtype) == (tw.bfloat16, tw.float32)


def test_slopes_that_would_learn_are_refused():
    q, k, v = heads(1, 2, 2, 3, 4)
    with pytest.raises(ValueError, match="without gradient"):
        F.scaled_dot_product_attention(q, k, v, alibi_slopes=tw.ones(2, requires_grad=True))


def test_errors_of_dtypes():
    q, k, v = heads(1, 2, 2, 3, 4)
    with pytest.raises(TypeError, match="dtype"):
        F.scaled_dot_product_attention(q, k.double(), v)
    with pytest.raises(TypeError, match="float"):
        F.scaled_dot_product_attention(q.long(), k.long(), v.long())


# --- layers ---


def test_the_layer_of_unbatched_and_of_first_axes():
    tw.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2)
    x = tensors((5, 3, 8), requires_grad=False)[0]  # (L, N, E)
    whole, weights = layer(x, x, x)
    other = nn.MultiheadAttention(8, 2, batch_first=True)
    other.load_state_dict(layer.state_dict())
    turned = x.transpose(0, 1)
    y, w = other(turned, turned, turned)
    assert np.abs((y.transpose(0, 1) - whole).detach().numpy()).max() < 1e-6
    assert np.abs((w - weights).detach().numpy()).max() < 1e-6
    alone, _ = layer(x[:, 1], x[:, 1], x[:, 1])
    assert np.abs((alone - whole[:, 1]).detach().numpy()).max() < 1e-6


def test_the_layer_learns_a_key_and_takes_other_widths():
    layer = nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True, kdim=5, vdim=3)
    names = set(layer.state_dict())
    assert names == {
        "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "bias_k", "bias_v",
        "out_proj.weight", "out_proj.bias",
    }  # fmt: skip
    q, k, v = tensors((4, 2, 8), (6, 2, 5), (6, 2, 3))
    pad = tw.from_numpy(np.array([[True] * 6, [False] * 6]))
    y, w = layer(q, k, v, pad)
    assert w.shape == (2, 4, 8)
    assert not w.detach().numpy()[0, :, :6].any()
    assert np.allclose(w.detach().numpy().sum(-1), 1)
    y.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.parametrize("first", [False, True])
def test_train_eval_and_no_grad_give_the_same(first):
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True, norm_first=first)
    x = tensors((3, 5, 8), requires_grad=False)[0]
    trained = layer(x)
    layer.eval()
    with tw.no_grad():
        rested = layer(x)
    assert np.abs((trained - rested).detach().numpy()).max() <= 1e-6


def test_is_causal_is_the_mask():
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    x = tensors((3, 5, 8), requires_grad=False)[0]
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    want = layer(x, x, x, attn_mask=mask, need_weights=False)[0]
    got = layer(x, x, x, is_causal=True, need_weights=False)[0]
    assert np.abs((want - got).detach().numpy()).max() <= 1e-6
    got = layer(x, x, x, is_causal=True)[0]
    assert np.abs((want - got).detach().numpy()).max() <= 1e-6


@pytest.mark.parametrize("causal", [False, True])
def test_one_head_of_keys_is_broadcast(causal):
    """As PyTorch does, with enable_gqa and without."""
    rng = np.random.default_rng(0)
    q, k, v = (
        tw.tensor(rng.standard_normal(shape), requires_grad=True)
        for shape in ((2, 4, 5, 8), (2, 1, 6, 8), (2, 1, 6, 3))
    )
    wide = [q, k.expand(2, 4, 6, 8), v.expand(2, 4, 6, 3)]
    found, expected = (
        tw.autograd.grad(F.scaled_dot_product_attention(*given, is_causal=causal).sum(), (q, k, v))
        for given in ((q, k, v), wide)
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=64 * np.finfo(float).eps)
