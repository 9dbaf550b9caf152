"""Caches of keys and values: rings and pages against no cache at all, sharing, bounds, errors."""

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import models, nn
from tilework.models.cache import RingKeyValues, attend

V = 11
CONFIGS = {
    "gpt2": models.GPT2Config(V, 90, 8, 2, 4),
    "llama": models.LlamaConfig(V, 16, 12, 2, 4, num_key_value_heads=2),
    "mistral": models.LlamaConfig(V, 16, 12, 2, 4, num_key_value_heads=2, sliding_window=5),
}


def made(name, config=None):
    kind = models.GPT2LMHeadModel if name == "gpt2" else models.LlamaForCausalLM
    model = kind(config or CONFIGS[name]).double()
    tw.manual_seed(3)
    for p in model.parameters():
        if p.ndim > 1:
            nn.init.normal_(p, 0.0, 0.6)
    return model.eval()


def tokens(*shape, seed=0):
    return tw.from_numpy(np.random.default_rng(seed).integers(V, size=shape))


def close(found, expected):
    np.testing.assert_allclose(found.numpy(), expected.numpy(), 0, 1e-12)


# --- rings ---


@pytest.mark.parametrize("window", [1, 2, 5, 70])
@pytest.mark.parametrize("parts", [(1,) * 9, (3, 1, 1, 1, 4, 1), (80, 1, 7, 1)])
def test_a_ring_gives_what_a_window_does(window, parts):
    config = models.LlamaConfig(V, 16, 12, 2, 4, num_key_value_heads=2, sliding_window=window)
    model, ids = made("llama", config), tokens(2, sum(parts))
    with tw.no_grad():
        whole = model(ids)
        for cache in (model.new_cache(), models.KeyValueCache(2)):
            close(F.cat([model(p, cache=cache) for p in ids.split(parts, 1)], 1), whole)
            assert len(cache) == sum(parts)


def test_a_window_hides_what_is_far():
    model, ids = made("mistral"), tokens(1, 12)
    other = ids.clone()
    other[0, 0] = (ids[0, 0] + 1) % V
    with tw.no_grad():  # two layers of windows of 5 reach 8 back
        a, b = model(ids), model(other)
    assert not np.allclose(a.numpy()[0, 8], b.numpy()[0, 8])
    close(a[:, 9:], b[:, 9:])


def test_a_ring_is_bounded_by_its_window():
    layer, x = RingKeyValues(100), tw.ones(1, 2, 30, 4)
    for _ in range(20):
        attend(x, x, x, None, layer, 100)
    assert len(layer) == 600
    assert layer._keys.shape == (1, 2, 100, 4)


def test_a_ring_follows_its_rows():
    model, ids, rows = made("mistral"), tokens(3, 9), tw.tensor([2, 0, 0])
    with tw.no_grad():
        cache = model.new_cache()
        model(ids[:, :8], cache=cache)
        cache.reorder(rows)
        close(model(ids[rows][:, 8:], cache=cache), model(ids[rows])[:, 8:])


def test_a_ring_for_another_model_is_refused():
    model = made("llama")
    with tw.no_grad(), pytest.raises(ValueError, match=r"\[cache\].*window is the ring's, 5"):
        model(tokens(1, 3), cache=models.KeyValueCache(2, 5))
    with pytest.raises(ValueError, match="window of at least 1"):
        models.KeyValueCache(2, 0)


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}])
def test_generate_takes_a_ring(how):
    model, ids = made("mistral"), tokens(2, 7)
    found = [
        models.generate(model, ids, max_new_tokens=12, use_cache=use, **how).tolist()
        for use in (True, False)
    ]
    assert found[0] == found[1]


# --- pages ---


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("size", [1, 4, 16])
def test_texts_of_different_lengths_are_each_as_alone(name, size):
    model, cache = made(name), models.PagedKeyValueCache(2, 120, size)
    ids = [tokens(1, n, seed=n) for n in (19, 3, 33)]
    texts = [cache.add() for _ in ids]
    with tw.no_grad():
        for text, given in zip(texts, ids, strict=True):
            close(model(given, cache=cache.rows(text)), model(given))
        for new in (1, 2, 9):  # few queries, and many
            more = tokens(3, new, seed=40 + new)
            found = model(more, cache=cache.rows(*texts))
            ids = [F.cat([a, b.unsqueeze(0)], 1) for a, b in zip(ids, more, strict=True)]
            for row, given in zip(found, ids, strict=True):
                close(row, model(given)[0, -new:])
        some = model(tokens(2, 1), cache=cache.rows(texts[2], texts[0]))
        assert some.shape == (2, 1, V)
    assert [cache.length(t) for t in texts] == [32, 15, 46]
    used = sum(-(-cache.length(t) // size) for t in texts)
    assert cache.free_pages == 120 - used
    for text in texts:
        cache.free(text)
    assert cache.free_pages == 120


@pytest.mark.parametrize("length", [6, 8])  # within a page, and at its end
@pytest.mark.parametrize("together", [False, True])
def test_a_fork_shares_pages_until_it_writes(length, together):
    model, cache, ids = made("llama"), models.PagedKeyValueCache(2, 10, 4), tokens(1, length)
    a = cache.add()
    with tw.no_grad():
        model(ids, cache=cache.rows(a))
        b = cache.fork(a)
        assert cache.free_pages == 8
        more = tokens(2, 3, seed=5)
        if together:
            found = model(more, cache=cache.rows(a, b))
        else:
            parts = [model(more[i : i + 1], cache=cache.rows(t)) for i, t in enumerate((a, b))]
            found = F.cat(parts)
        for i in range(2):
            close(found[i], model(F.cat([ids, more[i : i + 1]], 1))[0, length:])
    shared = length // 4
    assert cache.free_pages == 10 - shared - 2 * (-(-(length + 3) // 4) - shared)
    cache.free(a)
    with tw.no_grad():
        last = tokens(1, 1)
        found = model(last, cache=cache.rows(b))
        close(found, model(F.cat([ids, more[1:], last], 1))[:, -1:])
    cache.free(b)
    assert cache.free_pages == 10


def test_a_pool_that_is_full_is_told_and_stays_as_it_was():
    model, cache = made("llama"), models.PagedKeyValueCache(2, 3, 2)
    a, b = cache.add(), cache.add()
    with tw.no_grad():
        model(tokens(1, 2), cache=cache.rows(a))
        model(tokens(1, 3), cache=cache.rows(b))
        with pytest.raises(ValueError, match=r"\[cache\] expected 1 free pages of 2 tokens; got 0"):
            model(tokens(2, 1), cache=cache.rows(a, b))
        assert (cache.length(a), cache.length(b), cache.free_pages) == (2, 3, 0)
        more = tokens(1, 1, seed=7)
        found = model(more, cache=cache.rows(b))
        close(found, model(F.cat([tokens(1, 3), more], 1))[:, 3:])
        cache.free(a)
        model(tokens(1, 2), cache=cache.rows(b))
    assert cache.free_pages == 0


def test_errors_of_pages():
    model, cache = made("llama"), models.PagedKeyValueCache(2, 4, 2)
    a = cache.add()
    with pytest.raises(ValueError, match="pages of at least 1"):
        models.PagedKeyValueCache(2, 0)
    with pytest.raises(ValueError, match="different texts"):
        cache.rows(a, a)
    with pytest.raises(ValueError, match=r"that add\(\) or fork\(\) began; got 9"):
        cache.rows(9)
    with pytest.raises(RuntimeError, match="no_grad"):
        model(tokens(1, 1), cache=cache.rows(a))
    with tw.no_grad():
        with pytest.raises(ValueError, match="one a text"):
            model(tokens(2, 1), cache=cache.rows(a))
        with pytest.raises(ValueError, match="no attention_mask"):
            model(tokens(1, 1), tw.tensor([[1]]), cache=cache.rows(a))
        model(tokens(1, 1), cache=cache.rows(a))
        t5 = models.T5ForConditionalGeneration(models.T5Config(V, 8, 4, 12, 1, None, 2)).eval()
        with pytest.raises(ValueError, match="decoder alone"):
            t5.decode(tokens(1, 1), t5.encode(tokens(1, 2)), cache=cache.rows(a))
        with pytest.raises(ValueError, match="one model's"):
            made("gpt2")(tokens(1, 1), cache=cache.rows(a))
    cache.free(a)
    with pytest.raises(ValueError, match="freed"):
        cache.length(a)


def test_in_bfloat16():
    model, ids = made("llama").bfloat16(), tokens(1, 9)
    cache = models.PagedKeyValueCache(2, 4, 4)
    with tw.no_grad():
        rows = cache.rows(cache.add())
        found = F.cat([model(p, cache=rows) for p in ids.split((7, 1, 1), 1)], 1)
        expected = model(ids)
    assert found.dtype is tw.bfloat16
    away = (found - expected).float().numpy()
    assert np.abs(away).max() <= 0.1 * np.abs(expected.float().numpy()).max()
