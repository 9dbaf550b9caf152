"""Recurrent encoders and decoders: over PyTorch, caches, padding, beams, learning by heart."""

import itertools
import math

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import models, nn
from tilework.models.sampling import log_probabilities
from tilework.testing.tolerance import eps

V = 7
KINDS = [("bahdanau", True), ("bahdanau", False), ("dot", False), ("general", True),
         ("concat", True), ("none", True), ("none", False)]  # fmt: skip


def made(kind, both, lib=models, size=5):
    config = models.Seq2SeqConfig(V, V, 6, size, both, kind)
    return lib.Seq2Seq(config).double().eval()


def lively(model, scale=0.8):
    tw.manual_seed(1)
    for p in model.parameters():
        nn.init.normal_(p, 0.0, scale)
    return model


def texts(*shape, seed=0):
    return np.random.default_rng(seed).integers(V, size=shape)


@pytest.mark.parametrize(("kind", "both"), KINDS)
def test_the_file_runs_over_pytorch(kind, both):
    """With padding, and gradients."""
    torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")
    from tilework.testing.over_torch import over_torch

    ours, theirs = lively(made(kind, both)), made(kind, both, over_torch("seq2seq"))
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    ids, answer, mask = texts(3, 6), texts(3, 4, seed=1), np.arange(6) < [[6], [2], [4]]
    found = ours(*map(tw.from_numpy, (ids, answer, mask)))
    expected = theirs(*map(torch.from_numpy, (ids, answer, mask)))
    weight = np.random.default_rng(2).standard_normal(found.shape)
    found.backward(tw.from_numpy(weight))
    expected.backward(torch.from_numpy(weight))
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), 0, 1e-12)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        limit = 1e-11 * (1 + np.abs(q.grad.numpy()).max())
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), 0, limit, err_msg=name)


def test_silero_over_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")
    from tilework.testing.over_torch import over_torch

    ours, theirs = (lib.SileroVAD().double().eval() for lib in (models, over_torch("silero")))
    rng = np.random.default_rng(0)
    state = {k: 0.1 * rng.standard_normal(v.shape) for k, v in ours.state_dict().items()}
    ours.load_state_dict({k: tw.tensor(v) for k, v in state.items()})
    theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    x = rng.standard_normal((2, 1700))
    found, expected = ours.detect(tw.tensor(x)), theirs.detect(torch.tensor(x))
    assert found.shape == (2, 4)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), 0, 1e-12)
    assert ours.detect(tw.zeros(2, 0, dtype=tw.float64)).shape == (2, 0)
    with pytest.raises(ValueError, match=r"samples \(N, 576\)"):
        ours(tw.zeros(2, 512, dtype=tw.float64))


@pytest.mark.parametrize(("kind", "both"), KINDS)
def test_a_cache_changes_nothing(kind, both):
    model = lively(made(kind, both))
    ids, answer, mask = (
        tw.from_numpy(a) for a in (texts(3, 5), texts(3, 6, seed=1), np.arange(5) < [[5], [3], [1]])
    )
    with tw.no_grad():
        memory = model.encode(ids, mask)
        whole = model.decode(answer, memory, mask)
        cache = model.new_cache()
        parts = [model.decode(p, memory, mask, cache=cache) for p in answer.split((1, 3, 2), 1)]
        last = model.decode(answer, memory, mask, logits_to_keep=2)
        assert len(cache) == 6
        # rows that change places
        rows = tw.tensor([2, 0, 0])
        cache = model.new_cache()
        model.decode(answer[:, :5], memory, mask, cache=cache)
        cache.reorder(rows)
        moved = model.decode(answer[rows][:, 5:], memory[rows], mask[rows], cache=cache)
    np.testing.assert_allclose(F.cat(parts, 1).numpy(), whole.numpy(), 0, 1e-13)
    np.testing.assert_allclose(last.numpy(), whole[:, -2:].numpy(), 0, 1e-13)
    np.testing.assert_allclose(moved.numpy(), whole[rows][:, 5:].numpy(), 0, 1e-13)


@pytest.mark.parametrize("kind", ["bahdanau", "general"])
def test_a_cache_projects_a_memory_once(kind, monkeypatch):
    model = lively(made(kind, False))
    calls = []
    project = model.attention.project
    monkeypatch.setattr(model.attention, "project", lambda x: calls.append(x) or project(x))
    models.generate(model, tw.from_numpy(texts(2, 5)), max_new_tokens=4)
    assert len(calls) == 1


@pytest.mark.parametrize(("kind", "both"), KINDS)
def test_padding_changes_nothing(kind, both):
    model = lively(made(kind, both))
    ids, answer = texts(1, 3), tw.from_numpy(texts(1, 4, seed=1))
    padded, mask = np.concatenate([ids, [[6, 6]]], 1), tw.tensor([[1, 1, 1, 0, 0]])
    with tw.no_grad():
        alone = model(tw.from_numpy(ids), answer)
        found = model(tw.from_numpy(padded), answer, mask)
    np.testing.assert_allclose(found.numpy(), alone.numpy(), 0, 1e-13)


@pytest.mark.parametrize("look", [models.BahdanauAttention(4, 6, 5),
                                  models.LuongAttention(4, 6, "general"),
                                  models.LuongAttention(4, 6, "concat"),
                                  models.LuongAttention(6, 6, "dot")], ids=repr)  # fmt: skip
def test_weights_are_shares_of_what_is_there(look):
    size = 6 if getattr(look, "method", "") == "dot" else 4
    rng = np.random.default_rng(0)
    q, k = (tw.tensor(rng.standard_normal(s).astype("f4")) for s in ((2, 3, size), (2, 5, 6)))
    mask = tw.tensor([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]])
    context, weights = look(q, k, mask)
    shares = weights.detach().numpy()
    np.testing.assert_allclose(shares.sum(-1), 1.0, 0, 8 * eps("float32"))
    assert (shares[0][:, [2, 4]] == 0).all()
    assert (shares[1] > 0).all()
    np.testing.assert_allclose(context.detach().numpy(), shares @ k.numpy(), 0, 1e-6)


@pytest.mark.parametrize(("kind", "both"), KINDS)
def test_a_beam_of_all_finds_the_best_answer(kind, both):
    """Beside listing all answers; with and without the decoder's state."""
    model, length = lively(made(kind, both), 0.5), 3
    ids = tw.from_numpy(texts(1, 4))
    answers = list(itertools.product(range(V), repeat=length))
    given = np.concatenate([np.full((len(answers), 1), 1), answers], 1)
    with tw.no_grad():
        memory = model.encode(ids).expand(len(answers), -1, -1)
        scores = model.decode(tw.from_numpy(given), memory).numpy()
    told = log_probabilities(scores.reshape(-1, V)).reshape(scores.shape)
    chances = sum(told[np.arange(len(answers)), i, given[:, i + 1]] for i in range(length))
    best = list(given[int(chances.argmax())])
    for use_cache in (True, False):
        found = models.generate(
            model, ids, max_new_tokens=length, num_beams=V**2, use_cache=use_cache
        )
        assert found[0].tolist() == best


def test_what_is_refused():
    with pytest.raises(ValueError, match="attention of 'bahdanau', 'dot', 'general'"):
        models.Seq2SeqConfig(attention="local")
    for sizes, method in (((4, 6), "dot"), ((4, 4), "local")):
        with pytest.raises(ValueError, match="method dot"):
            models.LuongAttention(*sizes, method)
    model = made("general", True)
    with pytest.raises(IndexError, match="token ids from 0 to 6; got 0 to 7"):
        model(tw.tensor([[0, 7]]), tw.tensor([[1]]))
    with pytest.raises(IndexError, match="got -1 to 1"):
        model(tw.tensor([[0, 1]]), tw.tensor([[1, -1]]))


@pytest.mark.parametrize("kind", ["bahdanau", "general"])
def test_it_learns_to_turn_words_around(kind):
    """Thirty-two random texts of four to six tokens, backwards, by heart."""
    rng = np.random.default_rng(0)
    stop, begin, tokens = 0, 1, range(2, 12)
    rows = [list(rng.choice(tokens, rng.integers(4, 7))) for _ in range(32)]
    config = models.Seq2SeqConfig(12, 12, 16, 32, True, kind)
    tw.manual_seed(0)
    model = models.Seq2Seq(config)
    ids, answer, following = (np.zeros((32, 7), np.int64) for _ in range(3))
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        answer[i, : len(row) + 1] = [begin, *row[::-1]]
        following[i] = -100
        following[i, : len(row) + 1] = [*row[::-1], stop]
    mask = tw.from_numpy(ids != 0)
    optimiser = tw.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(300):
        scores = model(tw.from_numpy(ids), tw.from_numpy(answer), mask)
        loss = F.cross_entropy(scores.reshape(-1, 12), tw.from_numpy(following.reshape(-1)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss.item() < 0.02:
            break
    model.eval()
    for row in rows[:8]:
        for beams in (1, 3):
            told = models.generate(
                model, tw.tensor([row]), max_new_tokens=8, eos_token_id=stop, num_beams=beams
            )
            assert told[0].tolist() == [begin, *row[::-1], stop]


# --- a page by heart ---

PAGE = (
    "A recurrent net reads a text one letter after another, and keeps what it has read in a state "
    "of fixed size. At each step gates say what of that to forget, what of the new letter to take "
    "up, and what to show; by these a sentence's beginning may still be told at its end. Trained "
    "on one page for long enough, it knows the page by heart. That is the least one may ask."
)


class Reader(nn.Module):
    """Letters to the scores of the next ones."""

    def __init__(self, letters, width, hidden):
        super().__init__()
        self.embedding = nn.Embedding(letters, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, letters)

    def forward(self, ids, state=None):
        y, state = self.lstm(self.embedding(ids), state)
        return self.head(y), state


def test_a_small_lstm_learns_a_page_by_heart():
    letters = sorted(set(PAGE))
    page = np.array([letters.index(c) for c in PAGE])
    tw.manual_seed(0)
    model = Reader(len(letters), 32, 128)
    ids, following = tw.from_numpy(page[None, :-1]), tw.from_numpy(page[1:])
    optimiser = tw.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(400):
        loss = F.cross_entropy(model(ids)[0][0], following)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if loss.item() / math.log(2) < 0.05:
            break
    with tw.no_grad():
        bits = F.cross_entropy(model(ids)[0][0], following).item() / math.log(2)
        assert bits < 0.1
        told, state = [int(page[0])], None
        while len(told) < len(page):  # letter by letter, the state kept
            scores, state = model(tw.tensor([told[-1:]]), state)
            told.append(int(scores[0, -1].argmax()))
    assert "".join(letters[i] for i in told) == PAGE


def test_an_lstm_goes_on_from_its_state():
    """Token by token by its cache as all at once, and in beams that change places."""
    tw.manual_seed(0)
    model = models.LSTMLanguageModel(11, 6, 5, 2, dropout=0.5).eval()
    ids = tw.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    cache = model.new_cache()
    parts = [model(ids[:, :2], cache=cache), model(ids[:, 2:], cache=cache)]
    np.testing.assert_allclose(
        F.cat(parts, 1).detach().numpy(), model(ids).detach().numpy(), rtol=0, atol=1e-6
    )
    assert len(cache) == 4
    assert model(ids, logits_to_keep=1).shape == (2, 1, 11)
    for options in ({}, {"num_beams": 3}):
        found = [
            models.generate(model, ids, max_new_tokens=6, use_cache=kept, **options).tolist()
            for kept in (True, False)
        ]
        assert found[0] == found[1]
    with pytest.raises(IndexError, match=r"\[LSTMLanguageModel\] expected token ids from 0 to 10"):
        model(tw.tensor([[11]]))
