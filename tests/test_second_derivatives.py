"""Second derivatives (create_graph=True) beside differences of the first, which kernels make."""

import math

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework.testing.cases.rearrange import ELEMENTARY
from tilework.testing.tolerance import eps

LABELS = tw.tensor([0, 2, -100, 1])
ODD = [tw.tensor([0.5, 2.0, 1.5]).double(), tw.tensor([[0.0, 1.0, 0.25]] * 4).double()]

SIDES = tw.tensor([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]] * 2).double()

# Of x (4, 3) and y (4, 3), both about 1 and distinct.
CALLS = {
    "mul": lambda x, y: x * y * x,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x.abs() ** y,
    "pow by a number": lambda x, y: x**3 + y.abs() ** 2.5,
    "maximum": lambda x, y: tw.maximum(x, y) ** 2,
    "minimum": lambda x, y: tw.minimum(x, y * 2) ** 3,
    "clamp": lambda x, y: x.clamp(0.3, 1.5) ** 2,
    "clamp between tensors": lambda x, y: (x * 2).clamp(y - 0.5, y + 0.5) ** 2,
    "remainder": lambda x, y: (x * 7 % y) ** 2,
    "where": lambda x, y: tw.where(x > y, x * y, x**2),
    **{
        name: lambda x, y, name=name: getattr(tw, name)(x.abs() + 0.1) * y
        for name in (
            "exp",
            "log",
            "sqrt",
            "rsqrt",
            "sigmoid",
            "tanh",
            "square",
            "abs",
            "neg",
            "reciprocal",
            "erf",
        )
    },
    "relu": lambda x, y: F.relu(x - y) ** 2,
    "silu": lambda x, y: F.silu(3 * x) * y,
    "gelu": lambda x, y: F.gelu(2 * x) * y,
    "gelu_tanh": lambda x, y: F.gelu(2 * x, approximate="tanh") * y,
    "glu": lambda x, y: F.glu(tw.cat([x, 3 * y], 1)) ** 2,
    "swiglu": lambda x, y: F.swiglu(3 * x, y * y),
    "swiglu of halves": lambda x, y: F.swiglu(tw.cat([2 * x, y], 0), dim=0) ** 2,
    "geglu": lambda x, y: F.geglu(2 * x, y * y),
    "geglu_tanh": lambda x, y: F.geglu(2 * x, y * y, approximate="tanh"),
    **{
        f"{norm.__name__} of a sum": lambda x, y, norm=norm: (
            tw.cat(norm(x, (3,), y[0], residual=y * y), 1) ** 2
        )
        for norm in (F.layer_norm, F.rms_norm)
    },
    "sum": lambda x, y: x.sum(1) ** 2,
    "mean": lambda x, y: x.mean(0) ** 3,
    "var": lambda x, y: x.var(1) * y.var(),
    "std": lambda x, y: x.std(1) + y.std(0).sum(),
    "logsumexp": lambda x, y: (x * y).logsumexp((0, 1)),
    "amax": lambda x, y: x.amax(1) ** 2 * y.amin(1),
    "max": lambda x, y: x.max(1).values ** 3,
    "sort": lambda x, y: x.sort(1).values ** 2 * y,
    "cumsum": lambda x, y: x.cumsum(1) ** 2 * y,
    "softmax": lambda x, y: x.softmax(1) * y,
    "log_softmax": lambda x, y: x.log_softmax(1) * y,
    "index": lambda x, y: x[tw.tensor([0, 0, 3])] ** 2 * y[:3],
    "cat": lambda x, y: tw.cat([x * y, x[:, :2], y], 1) ** 2,
    "stack": lambda x, y: tw.stack([x * y, x, y], 1) ** 2,
    "split": lambda x, y: (x * y).split([1, 2], 1)[1] ** 2,
    "mse_loss": lambda x, y: F.mse_loss(x, y) ** 2,
    "l1_loss": lambda x, y: F.l1_loss(x, y) ** 2,
    "huber_loss": lambda x, y: F.huber_loss(3 * x, y, delta=1.3),
    "smooth_l1_loss": lambda x, y: F.smooth_l1_loss(3 * x, y, beta=1.3),
    "bce": lambda x, y: F.binary_cross_entropy_with_logits(3 * x, y, reduction="sum"),
    "bce, weighted": lambda x, y: F.binary_cross_entropy_with_logits(
        x, ODD[1], ODD[0], pos_weight=ODD[0]
    ),
    "nll_loss": lambda x, y: F.nll_loss(x * y, LABELS) ** 2,
    **{name: lambda x, y, name=name: getattr(tw, name)(x * y / 8) * y for name in ELEMENTARY},
    **{
        name: lambda x, y, name=name: getattr(F, name)((x - y) * 3) * y
        for name in (
            "leaky_relu",
            "elu",
            "selu",
            "celu",
            "softplus",
            "softsign",
            "hardtanh",
            "relu6",
            "hardsigmoid",
            "hardswish",
            "mish",
            "logsigmoid",
            "tanhshrink",
            "softshrink",
            "hardshrink",
        )
    },
    "prelu": lambda x, y: F.prelu(x - y, y[0]) ** 2,
    "threshold": lambda x, y: F.threshold(x - y, 0.1, 0.5) * y,
    "softmin": lambda x, y: F.softmin(x * y, 1) * y,
    "alpha_dropout": lambda x, y: F.alpha_dropout(x * y, 0.5),
    "prod": lambda x, y: (x * y).prod(1),
    "cumprod": lambda x, y: (x * y).cumprod(1),
    "median": lambda x, y: x.median(0).values ** 2 * y.median(),
    "quantile": lambda x, y: (x * y).quantile(0.3, 0) ** 2,
    "atan2": lambda x, y: tw.atan2(x, y * y),
    "hypot": lambda x, y: tw.hypot(x, y * x),
    "logaddexp": lambda x, y: tw.logaddexp(x * y, y),
    "lerp": lambda x, y: tw.lerp(x, y, x * y) ** 2,
    "addcdiv": lambda x, y: tw.addcdiv(x, x * y, y),
    "einsum": lambda x, y: tw.einsum("ij,kj,il->kl", x, y, x),
    "diagonal": lambda x, y: (x @ y.t()).diagonal(1) ** 2,
    "unfold along": lambda x, y: (x * y).unfold(1, 2, 1) ** 2,
    **{
        f"scatter_reduce {how}": lambda x, y, how=how: (
            x.scatter_reduce(0, LABELS.abs()[:, None].expand(4, 3) % 3, x * y, how) ** 2
        )
        for how in ("amax", "amin", "prod")
    },
    "diag_embed": lambda x, y: tw.diag_embed(x, 1) ** 2 * y[0, 0],
    "roll": lambda x, y: x.roll((1, 1), (0, 1)) ** 2 * y,
    "meshgrid": lambda x, y: tw.meshgrid(x[0] ** 2, y[0])[0] ** 2,
    "xlogy": lambda x, y: tw.xlogy(x, y),
    "binary_cross_entropy": lambda x, y: F.binary_cross_entropy(x / 4, y / 4),
    "kl_div": lambda x, y: F.kl_div(x, y * y, "batchmean"),
    "kl_div of logs": lambda x, y: F.kl_div(x, y * y, "sum", log_target=True),
    "poisson_nll_loss": lambda x, y: F.poisson_nll_loss(x, y * 2, full=True),
    "gaussian_nll_loss": lambda x, y: F.gaussian_nll_loss(x * x, y, x * y),
    "margin_ranking_loss": lambda x, y: F.margin_ranking_loss(x * x, y * x, SIDES) ** 2,
    "hinge_embedding_loss": lambda x, y: F.hinge_embedding_loss(x * y, SIDES, 2.0) ** 2,
    "soft_margin_loss": lambda x, y: F.soft_margin_loss(x * y, SIDES),
    "multilabel_soft_margin_loss": lambda x, y: F.multilabel_soft_margin_loss(x * y, SIDES),
    "multi_margin_loss": lambda x, y: F.multi_margin_loss(x * y, LABELS.abs() % 3, p=2),
    "multilabel_margin_loss": lambda x, y: (
        F.multilabel_margin_loss(x * y, tw.tensor([[0, -1, 1]] * 4)) ** 2
    ),
    "cosine_embedding_loss": lambda x, y: F.cosine_embedding_loss(x, y * y, SIDES[:, 0], 0.1),
    **{
        f"triplet_margin_loss {p}": lambda x, y, p=p: F.triplet_margin_loss(
            x, y * y, x * y, p=p, swap=True
        )
        for p in (1.0, 2.0, 3.0)
    },
    **{
        f"norm {p}": lambda x, y, p=p: tw.norm(x * y - 1, p, 1) * y.norm(p)
        for p in (0.5, 1.0, 1.5, 2.0, 3.0, math.inf)
    },
    "cdist": lambda x, y: tw.cdist(x * x, y, compute_mode="use_mm_for_euclid_dist"),
    "cdist of order 3": lambda x, y: tw.cdist(x * x, y, 3.0),
    "cosine_similarity": lambda x, y: F.cosine_similarity(x, y * y),
    "normalize": lambda x, y: F.normalize(x * y, 3.0),
    **{
        f"cross_entropy, {how}": lambda x, y, how=how: F.cross_entropy(
            x * y, LABELS, ODD[0], reduction=how, label_smoothing=0.2
        )
        for how in ("mean", "sum", "none")
    },
    "cross_entropy": lambda x, y: F.cross_entropy(x * y, LABELS),
    "cross_entropy of probabilities": lambda x, y: F.cross_entropy(x * y, ODD[1]),
    # One tensor as several inputs, and inputs that are made of others.
    "attention to itself": lambda x, y: _to_itself(x * y),
    "varlen_attn to itself": lambda x, y: _within_two(x[:, None] * y[:, None]),
    "rnn_tanh, tied": lambda x, y: _tied(x[:3], y),
    "lstm_cell, two steps": lambda x, y: _two_steps(tw.cat([x] * 3), tw.cat([y] * 3), x),
    "crf": lambda x, y: _ends_alike(x * y, x[:3], y[0]),
}


def _to_itself(x):
    q = x[None, None]
    return F.scaled_dot_product_attention(q, q, q)


def _within_two(q):
    ends = tw.tensor([0, 1, 4])
    return F.varlen_attn(q, q, q, ends, ends)


def _tied(w, x):
    return F.rnn_tanh(x[:, None], None, [w, w], False, 1, 0.0, False, False, False)[0]


def _two_steps(w, u, x):
    return F.lstm_cell(x, F.lstm_cell(x, (None, None), w, u), w, u)[0]


def _ends_alike(emissions, transitions, ends):
    tags = tw.tensor([[0, 2, 1, 1]])
    return F.crf_log_likelihood(emissions[None], tags, transitions, ends, ends)


@pytest.mark.parametrize("name", CALLS)
def test_second_derivatives(name):
    rng = np.random.default_rng(7)
    inputs = [tw.tensor(rng.permutation(12).reshape(4, 3) / 8 + low) for low in (0.37, 0.423)]
    inputs = [x.requires_grad_() for x in inputs]
    along = [tw.tensor(rng.standard_normal((4, 3))) for _ in inputs]
    weights = tw.tensor(rng.standard_normal(CALLS[name](*inputs).shape))

    def slope(values, create_graph=False):
        """The first derivative along `along`."""
        loss = (CALLS[name](*values) * weights).sum()
        grads = tw.autograd.grad(loss, values, create_graph=create_graph, allow_unused=True)
        pairs = zip(grads, along, strict=True)
        return sum((g * a).sum() for g, a in pairs if g is not None)

    first = slope(inputs, create_graph=True)
    assert first.item() == pytest.approx(slope(inputs).item(), rel=1e-9, abs=1e-9)
    if not first.requires_grad:
        return  # linear
    got = tw.autograd.grad(first, inputs, allow_unused=True)
    h = eps("float64") ** (1 / 3)
    for i, second in enumerate(got):
        step = rng.standard_normal((4, 3))
        moved = []
        for sign in (h, -h):
            values = [x.detach().clone() for x in inputs]
            values[i] += sign * tw.tensor(step)
            moved.append(slope([x.requires_grad_() for x in values]).item())
        expected = (moved[0] - moved[1]) / (2 * h)
        found = 0.0 if second is None else float((second.numpy() * step).sum())
        size = 1 + abs(found) + abs(moved[0])
        assert abs(found - expected) <= 1000 * h * h * size
