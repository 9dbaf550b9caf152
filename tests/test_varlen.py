"""Attention of sequences of their own lengths beyond its cases: threads, neighbours, second
derivatives, errors."""

from functools import partial

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F

from .attention_checks import answers, assert_same_bits, check_second_derivatives

rng = np.random.default_rng(0)


def packed(queries, keys, heads=2, groups=2, dtype="float32", requires_grad=True):
    shapes = ((sum(queries), heads, 8), (sum(keys), groups, 8), (sum(keys), groups, 5))
    made = [tw.from_numpy(rng.standard_normal(s).astype(dtype)) for s in shapes]
    return [t.requires_grad_(requires_grad) for t in made]


def ends(*lengths):
    return tw.tensor([0, *np.cumsum(lengths).tolist()], dtype=tw.int64)


def test_threads_do_not_change_a_bit(threads):
    queries, keys = (300, 1, 5, 70), (400, 1300, 700, 70)
    inputs, found = packed(queries, keys), []
    causal = partial(
        F.varlen_attn, cu_seq_q=ends(*queries), cu_seq_k=ends(*keys), window_size=(-1, 0)
    )
    for count in (1, 2, 5):
        threads(count)
        found.append(answers(causal, inputs))
    assert_same_bits(found)


def test_a_sequence_does_not_know_of_the_others():
    """To the bit, and as scaled_dot_product_attention has it."""
    queries, keys = (3, 80, 1), (600, 80, 1300)
    q, k, v = packed(queries, keys, 4, 2, requires_grad=False)
    whole = F.varlen_attn(q, k, v, ends(*queries), ends(*keys), enable_gqa=True).numpy()
    i = j = 0
    for n, m in zip(queries, keys, strict=True):
        parts = [q[i : i + n], k[j : j + m], v[j : j + m]]
        alone = F.varlen_attn(*parts, ends(n), ends(m), enable_gqa=True).numpy()
        assert np.array_equal(whole[i : i + n], alone)
        dense = F.scaled_dot_product_attention(
            *(t.transpose(0, 1) for t in parts), enable_gqa=True
        ).transpose(0, 1)
        assert np.array_equal(alone, dense.numpy())
        i, j = i + n, j + m


def test_pages_give_the_bits_of_rows():
    lengths = (600, 17, 3)
    q, k, v = packed((1, 2, 3), lengths, 4, 2, requires_grad=False)
    want = F.varlen_attn(q, k, v, ends(1, 2, 3), ends(*lengths), enable_gqa=True)
    pool_k, pool_v = tw.zeros(45, 16, 2, 8), tw.zeros(45, 16, 2, 5)
    free, table, at = iter(rng.permutation(45).tolist()), np.full((3, 40), -1), 0
    for i, n in enumerate(lengths):
        for p in range(-(-n // 16)):
            page, here = next(free), min(16, n - 16 * p)
            table[i, p] = page
            pool_k[page, :here] = k[at : at + here]
            pool_v[page, :here] = v[at : at + here]
            at += here
    got = F.varlen_attn(
        q, pool_k, pool_v, ends(1, 2, 3), None, enable_gqa=True,
        seqused_k=tw.tensor(lengths), block_table=tw.from_numpy(table),
    )  # fmt: skip
    assert np.array_equal(got.numpy(), want.numpy())


def test_few_keys_in_use():
    q, k, v = packed((2, 1), (5, 9), requires_grad=False)
    used = tw.tensor([3, 0])
    y = F.varlen_attn(q, k, v, ends(2, 1), ends(5, 9), seqused_k=used)
    want = F.varlen_attn(q[:2], k[:3], v[:3], ends(2), ends(3))
    assert np.array_equal(y.numpy()[:2], want.numpy())
    assert not y.numpy()[2].any()


@pytest.mark.parametrize("options", [{}, {"window_size": (-1, 0)}, {"softcap": 2.0}])
def test_second_derivatives(options):
    queries, keys = (3, 0, 2), (2, 4, 5)
    call = partial(F.varlen_attn, cu_seq_q=ends(*queries), cu_seq_k=ends(*keys), **options)
    check_second_derivatives(call, packed(queries, keys, dtype="float64"), rng)


def test_what_is_read_again_is_guarded():
    q, k, v = packed((2, 3), (2, 3))
    y = F.varlen_attn(q, k, v, ends(2, 3), ends(2, 3))
    with tw.no_grad():
        k[0] = 1.0
    with pytest.raises(RuntimeError, match="varlen_attn"):
        y.sum().backward()


E32 = tw.tensor([0, 2, 5])
PAGES = {"seqused_k": tw.tensor([3, 4]), "block_table": tw.tensor([[0, 1], [2, 1]])}


@pytest.mark.parametrize(("cu_q", "cu_k", "options", "kind", "words"), [
    (tw.tensor([1, 2, 5]), E32, {}, ValueError, "cu_seq_q that begins with 0"),
    (tw.tensor([0, 3, 2]), E32, {}, ValueError, "never falls"),
    (E32, tw.tensor([0, 2, 6]), {}, ValueError, "ends within 5 rows"),
    (E32, tw.tensor([0, 5]), {}, ValueError, "as many sequences"),
    (tw.tensor([], dtype=tw.int64), E32, {}, ValueError, "cu_seq_q"),
    (tw.tensor([0.0, 5.0]), E32, {}, ValueError, "integers"),
    (E32, None, {}, TypeError, "cu_seq_k"),
    (E32, E32, {"max_q": 2}, ValueError, "max_q of at least the longest sequence, 3"),
    (E32, E32, {"window_size": (-2, 0)}, ValueError, "window_size"),
    (E32, E32, {"window_size": 3}, TypeError, "window_size"),
    (E32, E32, {"seqused_k": tw.tensor([3, 1])}, ValueError, "seqused_k"),
    (E32, E32, {"seqused_k": tw.tensor([1])}, ValueError, "seqused_k"),
    (E32, E32, {"alibi_slopes": tw.ones(3)}, ValueError, "alibi_slopes"),
])  # fmt: skip
def test_errors_name_what_is_wrong(cu_q, cu_k, options, kind, words):
    q, k, v = packed((5,), (5,), requires_grad=False)
    with pytest.raises(kind, match=rf"\[varlen_attn\].*{words}"):
        F.varlen_attn(q, k, v, cu_q, cu_k, **options)


@pytest.mark.parametrize(("shapes", "options", "words"), [
    (((5, 2, 4), (5, 3, 4), (5, 3, 4)), {"enable_gqa": True}, "serve several"),
    (((5, 4, 4), (5, 2, 4), (5, 2, 4)), {}, "enable_gqa"),
    (((5, 2, 4), (5, 2, 4), (4, 2, 4)), {}, "query"),
    (((5, 2, 4), (5, 2, 6), (5, 2, 4)), {}, "query"),
    (((1, 5, 2, 4),) * 3, {}, "query"),
])  # fmt: skip
def test_errors_of_shapes(shapes, options, words):
    with pytest.raises(ValueError, match=rf"\[varlen_attn\].*{words}"):
        F.varlen_attn(*(tw.ones(*s) for s in shapes), E32, E32, **options)


@pytest.mark.parametrize(("more", "kind", "words"), [
    ({"seqused_k": None}, ValueError, "seqused_k beside it"),
    ({"seqused_k": tw.tensor([3, 5])}, ValueError, "seqused_k"),
    ({"block_table": tw.tensor([[0, 1]])}, ValueError, "block_table of 2 rows"),
    ({"block_table": tw.tensor([[0, 1], [2, 3]])}, IndexError, "pages in"),
    ({"block_table": tw.tensor([[0, -1], [2, 1]])}, IndexError, "pages in"),
    ({"cu_seq_k": E32}, ValueError, "cu_seq_k of None"),
])  # fmt: skip
def test_errors_of_pages(more, kind, words):
    q, pool = tw.ones(5, 2, 4), tw.ones(3, 2, 2, 4)
    options = {"cu_seq_k": None, **PAGES, **more}
    with pytest.raises(kind, match=rf"\[varlen_attn\].*{words}"):
        F.varlen_attn(q, pool, pool, E32, **options)


def test_pages_have_no_gradients():
    pool = tw.ones(3, 2, 2, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="no_grad"):
        F.varlen_attn(tw.ones(5, 2, 4), pool, pool, E32, None, **PAGES)
    with tw.no_grad():
        F.varlen_attn(tw.ones(5, 2, 4), pool, pool, E32, None, **PAGES)
