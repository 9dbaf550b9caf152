"""Ops as people write them in forward(), each exported by itself: they give their own answers."""

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn

pytest.importorskip("onnx", reason="onnx is missing: pip install 'tilework[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is missing: pip install 'tilework[test]'")
from tilework.io import onnx as ours

from .test_export import Does, assert_alike, judged

IMAGES, ROWS, STEPS, IDS = (2, 3, 8, 8), (4, 6), (2, 5, 6), "ids"

LOGIC = {
    "and": lambda x: (x > 0) & (x < 1),
    "or": lambda x: (x > 1) | (x < -1) | (x == 0),
    "xor": lambda x: (x > 0) ^ (x < 1),
    "not, and itself": lambda x: not_and_itself(x > 0),
    "not equal": lambda x: x != 0,
    "logical of numbers": lambda x: tw.logical_and(x.round(), x > 0),
    "logical_not of numbers": lambda x: x.round().logical_not(),
    "isnan": lambda x: (x.log().isnan(), (x > 0).isnan()),
    "isfinite": lambda x: ((x / 0).isfinite(), (x / 0).isinf()),
    "any": lambda x: ((x > 0).any(1), (x > 9).any()),
    "all": lambda x: ((x > 0).all(1, keepdim=True), (x < 9).all()),
    "count_nonzero": lambda x: tw.count_nonzero(x > 0, 1),
    "sum of truths": lambda x: (x > 0).sum(1),
}
NUMBERS = {
    "std": lambda x: (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True),
    "var of all": lambda x: x.var(unbiased=False),
    "norms": lambda x: (x.norm(), x.norm(dim=1), x.norm(p=1, dim=0), x.norm(float("inf"), 1)),
    "prod": lambda x: (x.prod(1), x.prod()),
    "cumsum": lambda x: x.cumsum(1),
    "cosine_similarity": lambda x: F.cosine_similarity(x, x.flip(0) + 1),
    "distances": lambda x: (tw.cdist(x, x + 1), F.pairwise_distance(x, x.flip(0))),
    "remainders": lambda x: (x % 3, x // 2, -x % 2, 5 % (x.abs() + 1)),
    "whole parts": lambda x: (x.trunc(), x.frac()),
    "logarithms": lambda x: (x.abs().log1p(), x.abs().log2(), x.abs().log10(), x.expm1()),
    "powers": lambda x: (2**x, x.exp2(), x.abs() ** 1.5),
    "trigonometry": lambda x: (x.tan(), x.atan(), x.sinh(), x.tanh().asin()),
    "like": lambda x: tw.cat([tw.zeros_like(x), tw.ones_like(x), tw.full_like(x, 3)], 1) + x[:, :1],
    "activations": lambda x: nn.Sequential(
        nn.SELU(), nn.CELU(2.0), nn.LogSigmoid(), nn.Softshrink(0.3), nn.Hardshrink(0.3),
        nn.Tanhshrink(), nn.Threshold(-0.1, 0.2), nn.Softmin(1),
    )(x),
    "glu": lambda x: F.glu(x, 1),
    "dtypes": lambda x: (F.softmax(x, 1, dtype=tw.float64), x.bfloat16().float()),
    "mixed": lambda x: (tw.cat([x, tw.zeros(4, 1).long()], 1), tw.where(x > 0, x, tw.tensor(0))),
}  # fmt: skip
PICKS = {
    "topk": lambda x: tuple(x.topk(3, 1)) + tuple(x.topk(2, largest=False)),
    "sort": lambda x: (*x.sort(1), x.argsort(1, descending=True)),
    "largest": lambda x: (*x.max(1), *x.min(0, keepdim=True), x.max(), tw.max(x, -x)),
    "argmax of all": lambda x: (x.argmax(), x.argmin(keepdim=True)),
    "lists": lambda x: (x[:, [2, 0, -1]], x[np.array([1, 0])], x[[0, 1], None]),
    "pairs": lambda x: (x[tw.tensor([0, 1]), tw.tensor([2, 3])], x[[[0], [1]], [2, 3]]),
    "a mask of rows": lambda x: x[tw.tensor([True, False, True, False])],
    "take_along_dim": lambda x: tw.take_along_dim(x, x.argsort(1), 1),
    "scatter": lambda x: tw.zeros(4, 6).scatter(1, x.argmax(1, keepdim=True), 1.0),
    "scatter_add": lambda x: x.scatter_add(1, x.argsort(1), x),
    "triangles": lambda x: (x.tril(), x.triu(1), x.tril(-1)),
    "repeat_interleave": lambda x: (x.repeat_interleave(2, 1), x.repeat_interleave(2)),
}
WRITES = {
    "operators": lambda x: written(x),
    "twins": lambda x: (x * 1).abs_().exp_().neg_().sigmoid_().pow_(2).sqrt_().cumsum_(1),
    "tanh_": lambda x: (x * 1).tanh_(),
    "remainder_": lambda x: (x * 1).remainder_(2),
    "clamp_": lambda x: (x * 1).clamp_(-1, 1).sub_(1).div_(2),
    "masked_fill_": lambda x: (x * 1).masked_fill_(x > 0, 0.0),
    "zero_": lambda x: (x * 1).zero_() + x,
}
PLANES = {
    "circular": lambda x: F.pad(x, (1, 2, 0, 1), mode="circular"),
    "nearest-exact": lambda x: F.interpolate(x, size=5, mode="nearest-exact"),
    "patches": lambda x: (F.unfold(x, 3, padding=1), F.unfold(x, (2, 3), stride=2, dilation=2)),
    "folded": lambda x: F.fold(F.unfold(x, 3, stride=2), (8, 8), 3, stride=2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "instance_norm": lambda x: F.instance_norm(x),
    "squeezed": lambda x: x.unsqueeze(0).squeeze(0).mean((2, 3), keepdim=True).squeeze(),
}
WHOLE = {
    "of whole numbers": (lambda i: ((i - 25) % 7, (i - 25) // 7, i**2, i / 2, i.sum(1)), IDS),
    "one_hot": (lambda i: F.one_hot(i, 50), IDS),
}
OPS = {
    **{name: (function, ROWS) for part in (LOGIC, NUMBERS, PICKS, WRITES)
       for name, function in part.items()},
    **{name: (function, IMAGES) for name, function in PLANES.items()},
    "fancy, with slices": (lambda x: x[:, [0, 1], [1, 2]], STEPS),
    "its own attention": (lambda x: attended(x), STEPS),
    **WHOLE,
}  # fmt: skip


def not_and_itself(mask):
    other = ~mask  # no write, though its name begins like one
    return mask.float() + 2 * other.float()


def written(x):
    y = x.clone()
    y -= 1
    y /= 2
    y **= 2
    return y


def attended(x):
    hidden = tw.ones(5, 5).triu(1).bool()
    scores = (x @ x.transpose(-2, -1)) / 6**0.5
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ x


def example(shape):
    return tw.randint(0, 50, (2, 5)) if shape == IDS else tw.randn(*shape)


@pytest.mark.parametrize("name", OPS)
def test_an_op_gives_its_own_answers(name):
    tw.manual_seed(0)
    function, shape = OPS[name]
    model, x, again = Does(function), example(shape), example(shape)
    proto = ours.export(model, x)
    for inputs in ((x,), (again,)):
        assert_alike(judged(proto, inputs), model, inputs)


class Steps(nn.Module):
    """A cell, called step by step."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return state


class FromZeros(nn.Module):
    """States of zeros that forward() makes, as long as the batch."""

    def __init__(self):
        super().__init__()
        self.inner = nn.LSTM(6, 4, 2, batch_first=True)
        self.cell = nn.GRUCell(4, 4)

    def forward(self, x):
        h, c = tw.zeros(2, x.shape[0], 4), x.new_zeros(2, x.shape[0], 4)
        return self.cell(self.inner(x, (h, c))[0][:, -1], tw.zeros(x.shape[0], 4))


class Attends(nn.Module):
    """nn.MultiheadAttention with its weights, and places hidden that the input tells."""

    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, key_padding_mask=x.sum(-1) > 2)


MODULES = {
    "RNNCell": (lambda: Steps(nn.RNNCell(6, 4)), STEPS),
    "LSTMCell": (lambda: Steps(nn.LSTMCell(6, 4)), STEPS),
    "GRUCell": (lambda: Steps(nn.GRUCell(6, 4, bias=False)), STEPS),
    "states of zeros": (FromZeros, STEPS),
    "MultiheadAttention": (Attends, STEPS),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(50, 4), IDS),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(3, affine=True), IMAGES),
    "circular Conv2d": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), IMAGES),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_layer_at_any_batch(name):
    tw.manual_seed(0)
    make, shape = MODULES[name]
    model, x = make(), example(shape)
    proto = ours.export(model, x, dynamic_axes={"input": {0: "batch"}})
    more = tw.cat([x, example(shape), x])
    assert_alike(judged(proto, (more,)), model, (more,))
