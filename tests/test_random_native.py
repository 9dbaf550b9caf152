"""Random tensors of the compiled engine, against Philox and Box-Muller written out in NumPy."""

import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

FAMILY = "random"  # whose variants the fixture `isa` goes over
pytestmark = pytest.mark.usefixtures("isa")
LENGTHS = [*range(70), 127, 128, 129, 16383, 16384, 16385, 50_001]
SEED, CALL = 0x9E3779B97F4A7C15, (1 << 40) + 3


def philox_words(n, seed, call):
    """Words of positions 0 to n - 1 (Salmon et al., SC 2011)."""
    low = np.uint64(0xFFFFFFFF)
    block = np.arange((n + 3) // 4, dtype=np.uint64)
    c0, c1 = block & low, block >> np.uint64(32)
    c2 = np.full_like(block, call & 0xFFFFFFFF)
    c3 = np.full_like(block, call >> 32)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c2 = (
            (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
        )
        c1, c3 = p1 & low, p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).reshape(-1)[:n]


def wide_words(n, seed, call):
    words = philox_words(2 * n, seed, call)
    return words[0::2] | words[1::2] << np.uint64(32)


def box_muller(u, t):
    """Of pairs, in the widest type there is; whole quarter turns come off first, exactly."""
    r = np.sqrt(-2 * np.log(u))
    quarter = np.round(4 * t)
    angle = 2 * np.longdouble("3.14159265358979323846264338327950288") * (t - quarter / 4)
    quarter, cos, sin = quarter.astype(int) % 4, np.cos(angle), np.sin(angle)
    z0 = r * np.choose(quarter, [cos, -sin, -cos, sin])
    z1 = r * np.choose(quarter, [sin, cos, -sin, -cos])
    return np.stack([z0, z1], axis=1).reshape(-1)


@pytest.mark.parametrize("n", LENGTHS)
def test_bits_and_uniforms_are_exact(n):
    words = philox_words(n, SEED, CALL)
    bits = native.random_bits((n,), SEED, CALL)
    assert bits.dtype == np.uint32
    np.testing.assert_array_equal(bits, words)
    np.testing.assert_array_equal(
        native.uniform((n,), "float32", SEED, CALL), (words >> np.uint64(8)).astype("f4") / 2**24
    )
    wide = wide_words(n, SEED, CALL)
    np.testing.assert_array_equal(
        native.uniform((n,), "float64", SEED, CALL), (wide >> np.uint64(11)).astype("f8") / 2**53
    )


@pytest.mark.parametrize("n", LENGTHS)
def test_normals(n):
    even = n + n % 2
    words = philox_words(even, SEED, CALL).astype(np.longdouble)
    exact = box_muller((words[0::2] + 0.5) / 2**32, words[1::2] / 2**32)[:n]
    got = native.normal((n,), "float32", SEED, CALL)
    # Computed in float64 and rounded once: half an ulp, and what float64 itself is off.
    assert np.all(np.abs(got - exact) <= 0.5001 * np.spacing(np.abs(got)).astype(np.longdouble))

    wide = wide_words(even, SEED, CALL)
    u = ((wide[0::2] >> np.uint64(12)).astype(np.longdouble) + 0.5) / 2**52
    t = (wide[1::2] >> np.uint64(11)).astype(np.longdouble) / 2**53
    got = native.normal((n,), "float64", SEED, CALL)
    # In eps: half of log's 1.5, sqrt's 0.5, the product's 0.5, and 1.25 for sin or cos, whose last
    # step rounds twice where there is no FMA.
    exact = box_muller(u, t)[:n]
    assert np.all(np.abs(got - exact) <= 3 * np.finfo("f8").eps * np.abs(exact))


def test_normals_are_normal():
    z = native.normal((200_000,), "float32", 3, 4).astype(np.float64)
    error = 5 / np.sqrt(z.size)  # five standard errors of the mean; moments below are wider
    assert abs(z.mean()) < error
    assert abs(z.var() - 1) < np.sqrt(2) * error
    assert abs((z**3).mean()) < np.sqrt(15) * error
    assert abs((z**4).mean() - 3) < np.sqrt(96) * error
    assert abs((z[::2] * z[1::2]).mean()) < np.sqrt(2) * error


def test_keyed_by_seed_call_and_position():
    base = native.random_bits((1000,), 1, 1)
    for seed, call in [(2, 1), (1, 2), (1 + (1 << 32), 1), (1, 1 + (1 << 32))]:
        assert (native.random_bits((1000,), seed, call) != base).mean() > 0.99
    # Elements are numbered in dense order, whatever the shape.
    np.testing.assert_array_equal(native.random_bits((10, 20, 5), 1, 1).ravel(), base)
    assert native.random_bits((), 1, 1) == base[0]


def test_threads_do_not_matter():
    before = native.num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            native.set_num_threads(n)
            results.append(native.normal((300_001,), "float32", 1, 2))
        assert all((r == results[0]).all() for r in results)
    finally:
        native.set_num_threads(before)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"\[uniform\] expected dtype .* got 'int32'"):
        native.uniform((3,), "int32", 1, 2)
    with pytest.raises(ValueError, match=r"\[normal\] expected a shape .* got \[-1\]"):
        native.normal((-1,), "float32", 1, 2)
    with pytest.raises(MemoryError, match=r"\[uniform\].* more bytes than can be counted"):
        native.uniform((1 << 40, 1 << 40), "float32", 1, 2)
