"""CTC, conditional random fields, ConvLSTM: by listing every path, beside others, refusals."""

import itertools

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn
from tilework.functional.crf import _composed
from tilework.testing.cases.sequence import log_sum, merged
from tilework.testing.runner import TARGETS, running_on
from tilework.testing.tolerance import eps, growth

HERE = [t for t in TARGETS if t.serves("sequence") and not t.refusal()]


def draws(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# --- CTC ---


def by_listing(x, blank):
    """The probability of each text that log probabilities x (T, C) can say, and how much of that
    has each symbol at each step."""
    chance, share = {}, {}
    for path in itertools.product(range(x.shape[1]), repeat=len(x)):
        said = merged(path, blank)
        mass = np.exp(x[np.arange(len(x)), path].sum())
        chance[said] = chance.get(said, 0.0) + mass
        there = share.setdefault(said, np.zeros(x.shape))
        there[np.arange(len(x)), path] += mass
    return chance, share


@pytest.mark.parametrize("target", HERE, ids=str)
@pytest.mark.parametrize("blank", [0, 1, 2])
def test_every_text_by_listing_all_paths(target, blank):
    logits = draws(4, 3)
    x = logits - log_sum(logits, 1)[:, None]
    chance, share = by_listing(x, blank)
    texts = sorted(chance)
    width = max(map(len, texts))
    targets = np.array([[*text, *[-7] * (width - len(text))] for text in texts])
    lengths = np.array([len(text) for text in texts])
    with running_on(target):
        given = tw.tensor(np.repeat(logits[:, None], len(texts), 1), requires_grad=True)
        losses = F.ctc_loss(
            F.log_softmax(given, 2), tw.tensor(targets), (4,) * len(texts), tw.tensor(lengths),
            blank=blank, reduction="none",
        )  # fmt: skip
        losses.sum().backward()
    limit = 64 * eps("float64")
    expected = -np.log([chance[text] for text in texts])
    np.testing.assert_allclose(losses.detach().numpy(), expected, 0, limit)
    assert abs(np.exp(-losses.detach().numpy()).sum() - 1.0) < limit  # all texts there are
    for n, text in enumerate(texts):
        slope = np.exp(x) - share[text] / chance[text]
        np.testing.assert_allclose(given.grad.numpy()[:, n], slope, 0, limit)


def test_float32_stays_near_float64_over_many_steps():
    """A loss of thousands, and gradients as near as those of a short sequence."""
    x, labels = 4 * draws(800, 2, 20), np.random.default_rng(1).integers(1, 20, (2, 250))
    grads, losses = [], []
    for dtype in (np.float32, np.float64):
        given = tw.tensor(x.astype(dtype), requires_grad=True)
        loss = F.ctc_loss(
            F.log_softmax(given, 2), tw.tensor(labels), (800, 790), (250, 200), reduction="none"
        )
        loss.sum().backward()
        grads.append(given.grad.numpy().astype(np.float64))
        losses.append(loss.detach().numpy().astype(np.float64))
    unit = eps("float32")
    assert np.abs(losses[0] - losses[1]).max() < 4 * unit * losses[1].max()
    assert np.abs(grads[0] - grads[1]).max() < 32 * growth(800) * unit


def test_threads_do_not_change_a_bit(threads):
    x, labels = draws(60, 7, 9).astype(np.float32), np.random.default_rng(1).integers(1, 9, (7, 20))
    found = []
    for n in (1, 2, 5):
        threads(n)
        given = tw.tensor(np.tile(x, (1, 8, 1)), requires_grad=True)
        labels_of_all = tw.tensor(np.tile(labels, (8, 1)))
        loss = F.ctc_loss(F.log_softmax(given, 2), labels_of_all, (60,) * 56, (20, 19) * 28)
        loss.backward()
        found.append((loss.item(), given.grad.numpy().tobytes()))
    assert found[0] == found[1] == found[2]


def test_after_the_end_nothing_counts():
    """Not NaN either."""
    x = draws(6, 2, 4)
    x[4:, 1] = np.nan
    given = tw.tensor(x, requires_grad=True)
    loss = F.ctc_loss(given, tw.tensor([[1, 2], [3, 0]]), (6, 4), (2, 1), reduction="none")
    loss.sum().backward()
    assert np.isfinite(loss.detach().numpy()).all()
    assert (given.grad.numpy()[4:, 1] == 0).all()


def test_a_loss_that_is_infinite():
    x = tw.tensor(draws(2, 1, 3), requires_grad=True)
    arguments = (F.log_softmax(x, 2), tw.tensor([[1, 1]]), (2,), (2,))
    assert F.ctc_loss(*arguments).item() == np.inf
    F.ctc_loss(*arguments).backward(retain_graph=True)
    assert np.isnan(x.grad.numpy()).all()
    x.grad = None
    loss = F.ctc_loss(*arguments, zero_infinity=True)
    loss.backward()
    assert loss.item() == 0.0
    assert (x.grad.numpy() == 0).all()


def test_there_is_no_second_derivative():
    x = tw.tensor(draws(3, 1, 3), requires_grad=True)
    loss = F.ctc_loss(F.log_softmax(x, 2), tw.tensor([[1]]), (3,), (1,))
    with pytest.raises(RuntimeError, match="no second derivative"):
        tw.autograd.grad(loss, x, create_graph=True)


GOOD = {"log_probs": tw.zeros(5, 2, 4), "targets": tw.tensor([[1, 2], [3, 3]]),
        "input_lengths": (5, 4), "target_lengths": (2, 1)}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"input_lengths": (6, 4)}, ValueError, r"input_lengths in \[0, 5\]; got 6"),
        ({"input_lengths": (5, -1)}, ValueError, r"input_lengths in \[0, 5\]; got -1"),
        ({"target_lengths": (3, 1)}, ValueError, r"target_lengths in \[0, 2\]; got 3"),
        ({"target_lengths": (-2, 1)}, ValueError, "got -2"),
        ({"input_lengths": (5,)}, ValueError, r"input_lengths \(2,\)"),
        ({"target_lengths": tw.tensor([1, 1, 1])}, ValueError, r"target_lengths \(2,\)"),
        ({"input_lengths": tw.tensor([5.0, 4.0])}, TypeError, "input_lengths of integers"),
        ({"input_lengths": 5}, TypeError, "a tensor or a tuple"),
        ({"targets": tw.tensor([[1, 4], [3, 3]])}, ValueError, r"targets in \[0, 4\); got 4"),
        ({"targets": tw.tensor([[-1, 2], [3, 3]])}, ValueError, "got -1"),
        ({"targets": tw.tensor([[1.0, 2.0], [3.0, 3.0]])}, TypeError, "targets of integers"),
        ({"targets": tw.tensor([[1, 2]])}, ValueError, r"targets \(2, S\)"),
        ({"targets": tw.tensor([1, 2])}, ValueError, "a sum of 3 and 2 targets"),
        ({"targets": tw.tensor([1, 2, 3, 3])}, ValueError, "a sum of 3 and 4 targets"),
        ({"blank": 4}, ValueError, r"blank in \[0, 4\); got 4"),
        ({"blank": -1}, ValueError, "got -1"),
        ({"reduction": "all"}, ValueError, "reduction"),
        ({"log_probs": tw.zeros(5, 2, 4, dtype=tw.int64)}, TypeError, "float dtype"),
        ({"log_probs": tw.zeros(4)}, ValueError, r"\(T, N, C\)"),
        ({"log_probs": tw.zeros(0, 2, 4)}, ValueError, "none of them 0"),
    ],
    ids=str,
)
def test_what_ctc_refuses(changes, kind, says):
    F.ctc_loss(**GOOD)
    with pytest.raises(kind, match=says):
        F.ctc_loss(**{**GOOD, **changes})


def test_padding_may_be_anything():
    padded = {**GOOD, "targets": tw.tensor([[1, 2], [3, -100]])}
    assert F.ctc_loss(**padded).item() == F.ctc_loss(**GOOD).item()


def test_bfloat16_is_computed_in_float32():
    x = tw.tensor(draws(5, 2, 4)).bfloat16()
    loss = F.ctc_loss(**{**GOOD, "log_probs": x})
    assert loss.dtype is tw.bfloat16
    assert loss.item() == F.ctc_loss(**{**GOOD, "log_probs": x.float()}).bfloat16().item()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_pytorch(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")
    rng = np.random.default_rng(0)
    for steps, batch, symbols, most in ((5, 4, 3, 2), (40, 6, 7, 12), (90, 3, 30, 40)):
        x = rng.standard_normal((steps, batch, symbols)).astype(dtype)
        targets = rng.integers(1, symbols, (batch, most))
        ins, outs = rng.integers(steps + 1, size=batch), rng.integers(most + 1, size=batch)
        for reduction in ("none", "mean", "sum"):
            pair = []
            for lib, functional in ((tw, F), (torch, torch.nn.functional)):
                given = lib.tensor(x)
                given.requires_grad_(True)
                loss = functional.ctc_loss(
                    functional.log_softmax(given, 2), *map(lib.tensor, (targets, ins, outs)),
                    reduction=reduction, zero_infinity=True,
                )  # fmt: skip
                loss.sum().backward()
                pair.append((loss.detach().numpy(), given.grad.numpy()))
            unit = 64 * growth(steps) * eps(dtype) * (1 + np.log(symbols))
            np.testing.assert_allclose(pair[0][0], pair[1][0], unit, unit)
            np.testing.assert_allclose(pair[0][1], pair[1][1], 0, 8 * unit)  # theirs drifts


# --- decoding ---


def test_a_wide_beam_finds_what_listing_finds():
    for seed in range(6):
        x = 2 * draws(5, 3, seed=seed)
        x -= log_sum(x, 1)[:, None]
        chance, _ = by_listing(x, 0)
        found = F.ctc_beam_search_decode(tw.tensor(x[:, None]), beam_width=500)[0]
        assert len(found) == len(chance)
        for labels, value in found:
            assert abs(value - np.log(chance[tuple(labels)])) < 64 * eps("float64")
        best = max(chance, key=chance.get)
        assert found[0][0] == list(best)
        narrow = F.ctc_beam_search_decode(tw.tensor(x[:, None]), beam_width=2)[0]
        assert len(narrow) <= 2
        assert narrow[0][1] <= found[0][1] + 1e-12


def test_a_beam_with_another_blank_and_lengths():
    x = draws(6, 2, 3)
    x -= log_sum(x, 2)[:, :, None]
    moved = x[:, :, [1, 2, 0]]  # symbol s is now at (s - 1) % 3
    usual = F.ctc_beam_search_decode(tw.tensor(x), tw.tensor([6, 3]), 50)
    other = F.ctc_beam_search_decode(tw.tensor(moved), (6, 3), 50, blank=2)
    for a, b in zip(usual, other, strict=True):
        assert [labels for labels, _ in a] == [[s + 1 for s in labels] for labels, _ in b]
    assert max(len(labels) for labels, _ in usual[1]) <= 3


def test_greedy_is_the_likeliest_path():
    x = draws(8, 4, 3)
    found = F.ctc_greedy_decode(tw.tensor(x), (8, 5, 1, 0), blank=2)
    for n, end in enumerate((8, 5, 1, 0)):
        assert found[n] == list(merged(tuple(x[:end, n].argmax(1)), 2))


@pytest.mark.parametrize("decode", [F.ctc_greedy_decode, F.ctc_beam_search_decode])
def test_what_decoding_refuses(decode):
    x = tw.zeros(5, 2, 3)
    for lengths in ((5, 6), (-1, 5), (5,), tw.tensor([1, 2, 3])):
        with pytest.raises(ValueError, match="lengths"):
            decode(x, lengths)
    with pytest.raises(ValueError, match="blank"):
        decode(x, blank=3)
    with pytest.raises(ValueError, match=r"\(T, N, C\)"):
        decode(x[0])
    with pytest.raises(TypeError, match="float dtype"):
        decode(x.long())
    with pytest.raises(ValueError, match="beam_width from 1"):
        F.ctc_beam_search_decode(x, beam_width=0)


# --- conditional random fields ---


def test_all_taggings_sum_to_one():
    parts = [tw.tensor(draws(*shape, seed=i)) for i, shape in enumerate(((3, 3), (3,), (3,)))]
    paths = list(itertools.product(range(3), repeat=4))
    x = tw.tensor(np.repeat(draws(1, 4, 3, seed=9), len(paths), 0))
    found = F.crf_log_likelihood(x, tw.tensor(np.array(paths)), *parts).numpy()
    assert abs(np.exp(found).sum() - 1) < 64 * eps("float64")
    assert F.crf_decode(x[:1], *parts)[0] == list(paths[int(found.argmax())])


def test_a_crf_has_second_derivatives():
    """Of a function of the gradient, beside its central differences."""
    mask = tw.tensor([[1, 1, 1], [1, 1, 0]])
    tags, w = tw.tensor([[0, 1, 1], [1, 0, 0]]), draws(4, seed=3)
    values = [draws(*s, seed=i) for i, s in enumerate(((2, 3, 2), (2, 2), (2,), (2,)))]

    def slope(arrays):
        tensors = [tw.tensor(a, requires_grad=True) for a in arrays]
        x, *parts = tensors
        y = F.crf_log_likelihood(x, tags, *parts, mask=mask)
        grads = tw.autograd.grad(y.exp().sum(), tensors, create_graph=True)
        total = sum((g * g).sum() * float(k) for g, k in zip(grads, w, strict=True))
        return total, tensors

    total, tensors = slope(values)
    found = tw.autograd.grad(total, tensors)
    h = 1e-5
    for i, value in enumerate(values):
        step = draws(*value.shape, seed=10 + i)
        moved = [
            slope([v + sign * h * step if j == i else v for j, v in enumerate(values)])[0].item()
            for sign in (1, -1)
        ]
        along = float((found[i].numpy() * step).sum())
        assert abs((moved[0] - moved[1]) / (2 * h) - along) < 1e-7


def test_a_crf_as_pytorch_crf():
    """The package that its users know."""
    torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")
    torchcrf = pytest.importorskip("torchcrf", reason="pytorch-crf, the judge, is not installed")
    for batch_first in (False, True):
        theirs = torchcrf.CRF(5, batch_first=batch_first).double()
        ours = nn.CRF(5, batch_first).double()
        ours.load_state_dict({k: tw.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
        shape = (3, 7) if batch_first else (7, 3)
        x, tags = draws(*shape, 5), np.random.default_rng(1).integers(5, size=shape)
        mask = np.arange(7) < np.array([7, 1, 4])[:, None]
        mask = mask if batch_first else mask.T
        for reduction in ("none", "sum", "mean", "token_mean"):
            for on in (None, mask):
                pair = [
                    crf(lib.tensor(x), lib.tensor(tags), None if on is None else lib.tensor(on),
                        reduction=reduction).detach().numpy()
                    for crf, lib in ((ours, tw), (theirs, torch))
                ]  # fmt: skip
                np.testing.assert_allclose(*pair, rtol=1e-12)
        assert ours.decode(tw.tensor(x), tw.tensor(mask)) == theirs.decode(
            torch.tensor(x), torch.tensor(mask)
        )


def test_forbidden_moves_are_not_taken():
    moves = np.zeros((3, 3), np.float32)
    moves[0, 1] = moves[1, 2] = -np.inf
    ends = tw.zeros(3)
    x = tw.tensor(draws(2, 6, 3).astype(np.float32) * 5, requires_grad=True)
    for tags in F.crf_decode(x, tw.tensor(moves), ends, ends):
        assert not {(0, 1), (1, 2)} & set(itertools.pairwise(tags))
    found = F.crf_log_likelihood(x, tw.tensor([[0] * 6, [2] * 6]), tw.tensor(moves), ends, ends)
    found.sum().backward()
    assert np.isfinite(found.detach().numpy()).all()
    assert np.isfinite(x.grad.numpy()).all()
    told = F.crf_log_likelihood(x, tw.tensor([[0, 1] * 3, [2] * 6]), tw.tensor(moves), ends, ends)
    assert told[0].item() == -np.inf


@pytest.mark.parametrize("size", [1.0, 300.0, 1e4])
def test_large_scores_lose_nothing(size):
    """Where exponentials underflow and overflow the sums are still those of the definition, by ops
    that each are measured against their largest."""
    rng = np.random.default_rng(3)
    x, *parts = (
        tw.tensor(size * rng.standard_normal(s), requires_grad=True)
        for s in ((4, 5, 3), (3, 3), (3,), (3,))
    )
    tags = tw.tensor(rng.integers(3, size=(4, 5)))
    mask = tw.tensor(np.arange(5) < [[5], [3], [1], [4]])
    found = F.crf_log_likelihood(x, tags, *parts, mask=mask)
    expected = _composed((x, *parts), tags.numpy(), mask.numpy())
    limit = 64 * eps("float64") * (1 + np.abs(expected.detach().numpy()).max())
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), 0, limit)
    for a, b in zip(
        tw.autograd.grad(found.sum(), (x, *parts)), tw.autograd.grad(expected.sum(), (x, *parts)),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(a.numpy(), b.numpy(), 0, 64 * eps("float64") * (20 + 5 * size))


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"tags": tw.tensor([[0, 3, 0]])}, ValueError, r"tags in \[0, 3\); got 3"),
        ({"tags": tw.tensor([[0, -1, 0]])}, ValueError, "got -1"),
        ({"tags": tw.tensor([[0, 1]])}, ValueError, r"tags \(1, 3\)"),
        ({"tags": tw.tensor([[0.0, 1.0, 0.0]])}, TypeError, "tags of integers"),
        ({"mask": tw.tensor([[0, 1, 1]])}, ValueError, "on from the first place"),
        ({"mask": tw.tensor([[1, 0, 1]])}, ValueError, "on from the first place"),
        ({"mask": tw.tensor([[0, 0, 0]])}, ValueError, "on from the first place"),
        ({"mask": tw.tensor([[1, 1]])}, ValueError, r"mask \(1, 3\)"),
        ({"transitions": tw.zeros(3, 2)}, ValueError, r"transitions \(3, 3\)"),
        ({"start": tw.zeros(2)}, ValueError, r"start \(3,\)"),
        ({"end": tw.zeros(3, dtype=tw.int64)}, TypeError, "`end` of a float dtype"),
        ({"emissions": tw.zeros(3, 3)}, ValueError, r"emissions \(N, L, C\)"),
        ({"emissions": tw.zeros(1, 0, 3)}, ValueError, "L and C from 1"),
    ],
    ids=str,
)
def test_what_a_crf_refuses(changes, kind, says):
    good = {"emissions": tw.zeros(1, 3, 3), "tags": tw.tensor([[0, 1, 2]]),
            "transitions": tw.zeros(3, 3), "start": tw.zeros(3), "end": tw.zeros(3)}  # fmt: skip
    F.crf_log_likelihood(**good)
    with pytest.raises(kind, match=says):
        F.crf_log_likelihood(**{**good, **changes})


def test_what_a_layer_of_fields_refuses():
    with pytest.raises(ValueError, match="num_tags from 1"):
        nn.CRF(0)
    with pytest.raises(ValueError, match="reduction of none, sum, mean, token_mean"):
        nn.CRF(2)(tw.zeros(1, 1, 2), tw.tensor([[0]]), reduction="max")
    tags = tw.tensor([[0, 1, -100], [1, 1, 1]])  # where the mask is off a tag may be anything
    mask = tw.tensor([[1, 1, 0], [1, 1, 1]])
    assert np.isfinite(nn.CRF(2, True)(tw.zeros(2, 3, 2), tags, mask).item())


# --- ConvLSTM ---


def test_a_state_goes_on():
    """Steps in two calls give what one call gives, and a cell's steps what the layer gives."""
    tw.manual_seed(0)
    layer = nn.ConvLSTM(3, 4, (3, 1), 2).double()
    x = tw.tensor(draws(5, 2, 3, 6, 4))
    whole, (h, c) = layer(x)
    first, state = layer(x[:2])
    rest, state = layer(x[2:], state)
    np.testing.assert_allclose(
        F.cat([first, rest]).detach().numpy(), whole.detach().numpy(), 0, 1e-14
    )
    for a, b in zip(state, (h, c), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 0, 1e-14)
    below = None
    for step, expected in zip(x, nn.ConvLSTM._layer(layer.cells[0], x, None)[0], strict=True):
        below = layer.cells[0](step, below)
        np.testing.assert_allclose(below[0].detach().numpy(), expected.detach().numpy(), 0, 1e-14)


def test_what_a_convlstm_refuses():
    with pytest.raises(ValueError, match="kernel_size odd"):
        nn.ConvLSTMCell(1, 2, 2)
    with pytest.raises(ValueError, match="num_layers from 1"):
        nn.ConvLSTM(1, 2, 3, num_layers=0)
    layer = nn.ConvLSTM(1, 2, 3)
    for shape in ((2, 1, 4, 4), (0, 2, 1, 4, 4)):
        with pytest.raises(ValueError, match=r"input \(T, N, C, H, W\), T from 1"):
            layer(tw.zeros(*shape))
    x, wrong = tw.zeros(3, 2, 1, 4, 4), tw.zeros(1, 2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"states \(h, c\) of \(2, 2, 4, 4\)"):
        layer(x, (wrong, wrong))
    with pytest.raises(ValueError, match="states of 1 layers"):
        layer(x, (tw.zeros(2, 2, 2, 4, 4),) * 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_long_recording(dtype):
    """All symbols alike: T log C less the logarithm of the number of ways to say one label."""
    steps = 1000
    x = F.log_softmax(tw.zeros(steps, 1, 4, dtype=getattr(tw, dtype)), 2)
    found = F.ctc_loss(x, tw.tensor([[1]]), (steps,), (1,)).item()
    expected = steps * np.log(4) - np.log(steps * (steps + 1) / 2)
    assert abs(found - expected) <= steps * eps(dtype) * expected  # each step rounds the sum


def test_zero_infinity_hides_no_loss_that_is_not_a_number():
    x = np.log(np.full((5, 2, 3), 1 / 3))
    x[2, 0] = np.nan
    x = tw.tensor(x).requires_grad_()
    losses = F.ctc_loss(x, tw.tensor([[1], [2]]), (5, 5), (1, 1), 0, "none", True)
    losses.sum().backward()
    assert np.isnan(losses.detach().numpy()).tolist() == [True, False]
    assert np.isnan(x.grad.numpy()[:, 0]).all()
    assert np.isfinite(x.grad.numpy()[:, 1]).all()
