"""bfloat16 products of the compiled engine: summed in float32, rounded once, on every variant.

Whole numbers show the rounding to the bit: their products and sums are exact in float32.
"""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest

from tilework.testing.isas import runnable
from tilework.testing.tolerance import eps

native = pytest.importorskip("tilework._native", reason="tests the compiled engine")

FAMILY = "gemm"
bfloat16 = np.dtype(ml_dtypes.bfloat16)
FLUSHING = ("avx512bf16", "twin", "amx")  # whose own instructions take denormals for zeros

# Around the heights, widths and K blocks of every tile, and each way of the driver.
SHAPES = [
    (1, 1, 1), (2, 3, 2), (5, 7, 3), (6, 16, 4), (7, 17, 5), (13, 31, 8), (14, 32, 16),
    (15, 33, 17), (28, 48, 31), (29, 65, 33), (43, 15, 100), (64, 2, 128), (2, 64, 128),
    (100, 129, 383), (17, 40, 385), (3, 200, 769), (31, 700, 20), (65, 300, 65),
    (1, 300, 77), (300, 1, 77), (1, 1, 1000), (4, 1, 129), (1, 5000, 40), (200, 1300, 800),
]  # fmt: skip


def rows(x):
    return np.ascontiguousarray(x)


def columns(x):
    return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)


def gaps(x):
    wide = np.full((*x.shape[:-2], x.shape[-2] * 2, x.shape[-1] * 3), np.nan, x.dtype)
    wide[..., ::2, ::3] = x
    return wide[..., ::2, ::3]


LAYOUTS = [rows, columns, gaps]


def normals(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(bfloat16)


def whole(*shape, seed=0):
    """Whole numbers in [-8, 8]: sums of their products round as bfloat16, often from a tie."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(bfloat16)


def exact(a, b):
    return a.astype(np.float64) @ b.astype(np.float64)


def float_bound(a, b):
    """|error| of the float32 sum: as in test_gemm_native, whatever the order of its terms."""
    magnitude = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    return eps("float32") * (4 + 1.5 * math.sqrt(a.shape[-1])) * magnitude


def assert_same_bits(x, y):
    assert x.dtype == y.dtype == bfloat16
    assert x.shape == y.shape
    np.testing.assert_array_equal(x.view(np.uint16), y.view(np.uint16))


@pytest.mark.parametrize("shape", SHAPES)
def test_layouts_and_tails(isa, shape):
    m, n, k = shape
    a, b = normals(m, k), normals(k, n, seed=1)
    for la, lb in itertools.product(LAYOUTS, LAYOUTS):
        wide = native.matmul(la(a), lb(b), np.full((m, n), np.nan, np.float32))
        assert (np.abs(wide - exact(a, b)) <= float_bound(a, b)).all()
        assert_same_bits(native.matmul(la(a), lb(b)), wide.astype(bfloat16))


@pytest.mark.parametrize("shape", SHAPES)
def test_rounds_once_to_nearest_even(isa, shape):
    m, n, k = shape
    a, b, before = whole(m, k), whole(k, n, seed=1), whole(m, n, seed=2)
    for la, lb in itertools.product(LAYOUTS, LAYOUTS):
        assert_same_bits(native.matmul(la(a), lb(b)), exact(a, b).astype(bfloat16))
        added = before.copy()
        native.matmul(la(a), lb(b), added, accumulate=True)
        expected = (exact(a, b) + before.astype(np.float64)).astype(bfloat16)
        assert_same_bits(added, expected)


def test_every_small_size(isa):
    for m, n, k in itertools.product([*range(1, 9), 14, 15, 17], [*range(1, 10), 33], [1, 2, 5]):
        a, b = whole(m, k), whole(k, n, seed=1)
        assert_same_bits(native.matmul(a, b), exact(a, b).astype(bfloat16))
        assert_same_bits(native.matmul(a, columns(b)), exact(a, b).astype(bfloat16))


def test_out_in_any_place(isa):
    """Transposed, gapped, overlapping an operand, and not to be written at all."""
    a, b = whole(40, 33), whole(33, 40, seed=1)
    expected = exact(a, b).astype(bfloat16)
    for dtype, layout in itertools.product((bfloat16, np.float32), LAYOUTS):
        out = layout(np.ones((40, 40), dtype))
        assert native.matmul(a, b, out) is out
        assert_same_bits(out.astype(bfloat16), expected)
        native.matmul(a, b, out, accumulate=True)
        twice = exact(a, b) + (out * 0 + expected if dtype == bfloat16 else exact(a, b))
        assert_same_bits(out.astype(bfloat16), twice.astype(bfloat16))
    square = whole(24, 24, seed=3)
    onto_itself = square.copy()
    native.matmul(onto_itself, onto_itself, onto_itself)
    assert_same_bits(onto_itself, exact(square, square).astype(bfloat16))
    fixed = np.zeros((40, 40), bfloat16)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        native.matmul(a, b, fixed)


@pytest.mark.parametrize(("m", "n", "k"), [(5, 9, 7), (1, 6, 4), (40, 33, 20), (70, 80, 400)])
@pytest.mark.parametrize(
    ("lead_a", "lead_b"), [((3,), (3,)), ((3,), ()), ((), (3,)), ((2, 1), (1, 3)), ((0,), (1,))]
)
def test_leading_axes_broadcast(isa, lead_a, lead_b, m, n, k):
    a, b = whole(*lead_a, m, k), whole(*lead_b, k, n, seed=1)
    for la, lb in itertools.product(LAYOUTS, LAYOUTS):
        assert_same_bits(native.matmul(la(a), lb(b)), exact(a, b).astype(bfloat16))


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_empty_axes(isa, shape):
    m, n, k = shape
    assert_same_bits(native.matmul(normals(m, k), normals(k, n)), np.zeros((m, n), bfloat16))


@pytest.mark.parametrize("shape", [(1, 40, 30), (40, 1, 30), (20, 33, 70), (70, 100, 400)])
def test_special_values(isa, shape):
    m, n, k = shape
    for value in (np.inf, -np.inf, np.nan, float(ml_dtypes.finfo(bfloat16).max)):
        for la, lb in itertools.product(LAYOUTS[:2], LAYOUTS[:2]):
            a, b = normals(m, k), normals(k, n, seed=1)
            a[m // 2, k - 1] = value
            b[0, n - 1] = value
            with np.errstate(all="ignore"):
                want = exact(a, b).astype(np.float32)
            got = native.matmul(la(a), lb(b)).astype(np.float32)
            assert np.array_equal(np.isnan(got), np.isnan(want))
            beyond = np.isinf(want)
            assert np.array_equal(got[beyond], want[beyond])


@pytest.mark.parametrize("shape", [(1, 40, 30), (40, 1, 30), (20, 33, 70), (70, 100, 400)])
def test_denormals(isa, shape):
    """Of A, times large numbers of B: kept by float32 arithmetic, zeros to the CPU's own products
    (which need not serve this shape)."""
    m, n, k = shape
    a, b = whole(m, k), whole(k, n, seed=1)
    tiny = (a.astype(np.float64) * 2.0**-132).astype(bfloat16)
    large = (b.astype(np.float64) * 2.0**120).astype(bfloat16)
    got = native.matmul(tiny, large)
    if isa not in FLUSHING or got.any():
        assert_same_bits(got, (exact(a, b) * 2.0**-12).astype(bfloat16))


# --- the linear layer ---

LAYERS = [(1, 40, 30), (3, 70, 64), (40, 100, 129), (70, 50, 33), (130, 200, 400)]


@pytest.mark.parametrize(("m", "n", "k"), LAYERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_linear_with_all_that_follows(isa, m, n, k, layout):
    x, w, bias = whole(m, k), whole(n, k, seed=1), whole(n, seed=2)
    residual = whole(m, n, seed=3)
    z = exact(x, w.T) + bias.astype(np.float64) + residual.astype(np.float64)
    laid = layout(w)
    for p in (None, native.pack_weight(laid)):
        y, saved = native.linear_forward(layout(x), laid, bias, residual, "relu", True, p)
        assert saved is y
        assert_same_bits(y, np.maximum(z, 0).astype(bfloat16))
        y, saved = native.linear_forward(layout(x), laid, bias, residual, "gelu", True, p)
        assert_same_bits(saved, z.astype(bfloat16))
        gelu = z * np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in z.flat]).reshape(z.shape)
        error = eps("float32") * (4 * np.abs(gelu) + 1) + eps("bfloat16") / 2 * np.abs(gelu)
        assert (np.abs(y.astype(np.float64) - gelu) <= error * 1.01).all()


@pytest.mark.parametrize(("m", "n", "k"), LAYERS)
def test_linear_gradients(isa, m, n, k):
    x, w, grad = whole(m, k), whole(n, k, seed=1), whole(m, n, seed=2)
    y = np.maximum(whole(m, n, seed=3), 0).astype(bfloat16)
    dz = np.where(y > 0, grad, 0).astype(bfloat16)
    dx, dw, db, dr = native.linear_backward(grad, x, w, y, "relu", True, True, True, True)
    assert_same_bits(dr, dz)
    assert_same_bits(dx, exact(dz, w).astype(bfloat16))
    assert_same_bits(dw, exact(dz.T, x).astype(bfloat16))
    assert_same_bits(db, dz.astype(np.float64).sum(0).astype(bfloat16))
    *_, db, dr = native.linear_backward(grad, x, w, None, "none", False, False, True, True)
    assert dr is grad
    assert_same_bits(db, grad.astype(np.float64).sum(0).astype(bfloat16))


def test_a_long_bias_gradient_is_summed_in_float32():
    grad, x, w = np.ones((70000, 3), bfloat16), np.ones((70000, 1), bfloat16), normals(3, 1)
    *_, db, _ = native.linear_backward(grad, x, w, None, "none", False, False, True)
    assert_same_bits(db, np.full(3, 70000.0).astype(bfloat16))


def test_a_packed_weight_follows_the_isa():
    w, x = normals(90, 200), normals(100, 200, seed=1)
    packed = native.pack_weight(w)
    for name in (*runnable(FAMILY), "auto"):
        native.set_isa(name)
        plain, _ = native.linear_forward(x, w, None, None, "none", False)
        ahead, _ = native.linear_forward(x, w, None, None, "none", False, packed)
        assert_same_bits(ahead, plain)


@pytest.mark.parametrize("shape", [(300, 600, 900), (33, 3000, 700), (1, 9000, 300), (900, 1, 999)])
def test_threads_do_not_change_a_bit(isa, shape):
    m, n, k = shape
    a, b = normals(m, k), normals(k, n, seed=1)
    before = native.num_threads()
    try:
        for layout in LAYOUTS[:2]:
            native.set_num_threads(1)
            alone = native.matmul(a, layout(b))
            for threads in (2, 3, 4):
                native.set_num_threads(threads)
                assert_same_bits(native.matmul(a, layout(b)), alone)
    finally:
        native.set_num_threads(before)


# --- refusals ---


def test_dtypes_that_do_not_meet():
    a, b = normals(3, 4), normals(4, 5)
    with pytest.raises(TypeError, match=r"^\[matmul\] expected `b` of dtype bfloat16"):
        native.matmul(a, b.astype(np.float32))
    with pytest.raises(TypeError, match=r"^\[matmul\] expected `out` of dtype bfloat16"):
        native.matmul(a, b, np.zeros((3, 5)))
    with pytest.raises(TypeError, match=r"^\[matmul\] expected `out` of dtype float32"):
        native.matmul(a.astype(np.float32), b.astype(np.float32), np.zeros((3, 5), bfloat16))
    with pytest.raises(TypeError, match=r"^\[linear\] expected `bias` of dtype bfloat16"):
        native.linear_forward(a, b.T, np.zeros(5, np.float32), None, "none", False)
    packed = native.pack_weight(b.T.astype(np.float32))
    with pytest.raises(ValueError, match=r"^\[linear\] expected `packed` made from this weight"):
        native.linear_forward(a, b.T, None, None, "none", False, packed)
