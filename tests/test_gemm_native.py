"""Matrix products of the compiled engine: layouts, tails, strides, epilogues, variants, threads."""

import itertools
import math
import sys
import threading
import time

import numpy as np
import pytest

from tilework.testing.isas import runnable

native = pytest.importorskip("tilework._native", reason="tests the compiled engine")

FAMILY = "gemm"  # whose variants the fixture `isa` goes over
DTYPES = [np.float32, np.float64]
ACTIVATIONS = ["none", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"]


def lay_out(x, layout):
    """x with the same values, lying otherwise in memory."""
    if layout == "rows":
        return np.array(x, order="C")
    if layout == "columns":
        return np.array(x.swapaxes(-1, -2), order="C").swapaxes(-1, -2)
    if layout == "gaps":
        wide = np.full((*x.shape[:-2], x.shape[-2] * 2, x.shape[-1] * 3), np.nan, x.dtype)
        wide[..., ::2, ::3] = x
        return wide[..., ::2, ::3]
    if layout == "backwards":
        return np.array(x[..., ::-1, ::-1], order="C")[..., ::-1, ::-1]
    assert layout == "offset"  # aligned to an element, and to nothing more
    flat = np.empty(x.size + 1, x.dtype)[1:].reshape(x.shape)
    flat[...] = x
    return flat


LAYOUTS = ["rows", "columns", "gaps", "backwards", "offset"]


def bound(a, b, k, dtype, extra=0.0):
    """|error| of a product whose roundings are independent: they add up as a random walk over k.

    Three standard deviations of (eps / 2) sqrt(k), never below what a handful of roundings cost;
    `extra` holds the magnitudes that an epilogue adds.
    """
    magnitude = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) + extra
    return np.finfo(dtype).eps * (4 + 1.5 * math.sqrt(k)) * magnitude


def assert_product(c, a, b):
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    error = np.abs(c - a64 @ b64)
    assert c.dtype == a.dtype
    assert (error <= bound(a, b, a.shape[-1], a.dtype)).all(), error.max()


def operands(m, n, k, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)


# Around the heights, widths and K blocks of every tile: 6 and 14 rows; 8, 16 and 32 columns; 384.
EDGES = [
    (1, 1, 1), (2, 3, 2), (5, 7, 3), (6, 16, 4), (7, 17, 5), (13, 31, 8), (14, 32, 16),
    (15, 33, 17), (28, 48, 31), (29, 65, 33), (43, 15, 100), (64, 2, 128), (2, 64, 128),
    (100, 129, 383), (17, 40, 385), (3, 200, 769), (31, 700, 20),
]  # fmt: skip
VECTORS = [(1, 300, 77), (300, 1, 77), (1, 1, 1000), (1, 37, 1), (4, 1, 129), (1, 513, 400)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", EDGES + VECTORS)
def test_layouts_and_tails(isa, shape, dtype):
    a, b = operands(*shape, dtype)
    for la, lb in itertools.product(LAYOUTS, LAYOUTS):
        assert_product(native.matmul(lay_out(a, la), lay_out(b, lb)), a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_small_size(isa, dtype):
    for m, n, k in itertools.product(
        [*range(1, 9), 14, 15, 16, 17], [*range(1, 10), 33], [1, 2, 5]
    ):
        a, b = operands(m, n, k, dtype)
        assert_product(native.matmul(a, b), a, b)
        assert_product(native.matmul(a, lay_out(b, "columns")), a, b)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_empty_axes_are_numpys(isa, shape):
    a, b = operands(*shape, np.float32)
    np.testing.assert_array_equal(native.matmul(a, b), a @ b)


def test_broadcast_strides(isa):
    a = np.broadcast_to(np.float32(2), (20, 30))
    b = np.broadcast_to(np.arange(30, dtype=np.float32)[:, None], (30, 40))
    np.testing.assert_array_equal(native.matmul(a, b), a @ b)


BATCHES = [
    ((3,), (3,)), ((3,), ()), ((), (3,)), ((1,), (4,)), ((2, 1), (1, 3)), ((2, 3), (3,)),
    ((0,), (1,)), ((2, 1, 3), (5, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("lead_a", "lead_b"), BATCHES)
@pytest.mark.parametrize("shape", [(5, 9, 7), (1, 6, 4), (40, 33, 20)])
def test_leading_axes_broadcast(isa, lead_a, lead_b, shape):
    m, n, k = shape
    rng = np.random.default_rng(1)
    a = rng.standard_normal((*lead_a, m, k)).astype(np.float32)
    b = rng.standard_normal((*lead_b, k, n)).astype(np.float32)
    for la, lb in itertools.product(LAYOUTS[:3], LAYOUTS[:3]):
        c = native.matmul(lay_out(a, la), lay_out(b, lb))
        assert c.shape == (*np.broadcast_shapes(lead_a, lead_b), m, n)
        assert_product(c, a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "shape",
    [(15, 33, 17), (1, 40, 64), (40, 1, 64), (20, 50, 0), (30, 40, 800), (40, 300, 800)],
)
def test_out_and_accumulate(isa, shape, layout, dtype):
    a, b = operands(*shape, dtype)
    start = np.random.default_rng(2).standard_normal(shape[:2]).astype(dtype)
    out = lay_out(start, layout)
    assert native.matmul(a, b, out) is out
    assert_product(out, a, b)
    out[...] = start
    assert native.matmul(a, b, out, True) is out
    error = np.abs(out - (start + a.astype(np.float64) @ b.astype(np.float64)))
    assert (error <= bound(a, b, shape[2], dtype, np.abs(start))).all()


def test_out_may_overlap_an_operand(isa):
    a, b = operands(20, 20, 20, np.float64)
    expected = native.matmul(a, b)
    np.testing.assert_array_equal(native.matmul(a, b, a), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(20, 40, 30), (1, 40, 30), (20, 1, 30)])
def test_special_values_reach_their_row_and_no_other(isa, shape, value):
    a, b = operands(*shape, np.float32)
    clean = native.matmul(a, b)
    a[0, 3] = value
    c = native.matmul(a, b)
    assert not np.isfinite(c[0]).any()
    np.testing.assert_array_equal(c[1:], clean[1:])


def test_zeros_times_infinity_is_nan(isa):
    a, b = np.zeros((3, 4), np.float32), np.full((4, 5), np.inf, np.float32)
    assert np.isnan(native.matmul(a, b)).all()


# Cut in both directions, tails included; batched; a vector; a tall pair of columns.
THREADED = [
    ((317, 401), (401, 523)), ((32, 768), (768, 999)), ((7, 50, 60), (7, 60, 70)),
    ((1, 1500), (1500, 1001)), ((3001, 300), (300, 2)), ((1001, 1500), (1500, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("shape_a", "shape_b"), THREADED)
@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_do_not_change_a_bit(isa, threads, shape_a, shape_b, dtype):
    rng = np.random.default_rng(3)
    a = rng.standard_normal(shape_a).astype(dtype)
    b = rng.standard_normal(shape_b).astype(dtype)
    for la, lb in itertools.product(["rows", "columns"], repeat=2):
        results = []
        for count in (1, 2, 3, 8):
            threads(count)
            results.append(native.matmul(lay_out(a, la), lay_out(b, lb)))
        assert_product(results[0], a, b)
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])


def reference_activation(name, z):
    erf = np.vectorize(math.erf, otypes=[np.float64])
    sigmoid = lambda t: (1 + np.tanh(t / 2)) / 2  # noqa: E731
    return {
        "none": lambda: z,
        "relu": lambda: np.maximum(z, 0),
        "gelu": lambda: z / 2 * (1 + erf(z / math.sqrt(2))),
        "gelu_tanh": lambda: z * sigmoid(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)),
        "silu": lambda: z * sigmoid(z),
        "tanh": lambda: np.tanh(z),
        "sigmoid": lambda: sigmoid(z),
    }[name]()


def layer(m, n, k, dtype, lead=()):
    rng = np.random.default_rng(4)
    draw = lambda *shape: rng.standard_normal(shape).astype(dtype)  # noqa: E731
    return draw(*lead, m, k), draw(n, k), draw(n), draw(*lead, m, n)


LAYERS = [
    (1, 5, 3),
    (15, 33, 17),
    (32, 100, 64),
    (64, 2, 128),
    (64, 128, 4),
    (70, 90, 500),
    (3, 4, 0),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", LAYERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear_forward(isa, shape, activation, dtype):
    x, weight, bias, residual = layer(*shape, dtype)
    k = shape[2]
    for use_bias, use_residual, packed in itertools.product([False, True], repeat=3):
        y, saved = native.linear_forward(
            x, weight, bias if use_bias else None, residual if use_residual else None, activation,
            True, native.pack_weight(weight) if packed else None,
        )  # fmt: skip
        z = x.astype(np.float64) @ weight.astype(np.float64).T
        extra = 0.0
        if use_bias:
            z, extra = z + bias, extra + np.abs(bias)
        if use_residual:
            z, extra = z + residual, extra + np.abs(residual)
        z_bound = bound(x, weight.T, k, dtype, extra)
        expected = reference_activation(activation, z)
        # No activation here is steeper than 1.13; the rest is its own few ulp (of z, for gelu).
        eps = np.finfo(dtype).eps
        assert (
            np.abs(y - expected) <= 1.13 * z_bound + 4 * eps * (np.abs(expected) + np.abs(z))
        ).all()
        if activation == "none":
            assert saved is None
        elif activation in ("gelu", "gelu_tanh", "silu"):
            assert (np.abs(saved - z) <= z_bound).all()
        else:
            assert saved is y


@pytest.mark.parametrize("lead", [(), (3,), (2, 5), (0,)])
def test_linear_takes_leading_axes_and_strides(isa, lead):
    x, weight, bias, residual = layer(6, 9, 7, np.float64, lead)
    expected = x @ weight.T + bias + residual
    for lx, lw, lr in itertools.product(LAYOUTS, LAYOUTS, ["rows", "columns", "gaps"]):
        y, _ = native.linear_forward(
            lay_out(x, lx), lay_out(weight, lw), bias, lay_out(residual, lr), "none", False
        )
        np.testing.assert_allclose(y, expected, rtol=1e-13, atol=1e-13)


def test_a_one_axis_input_is_one_row(isa):
    x, weight, bias, _ = layer(1, 9, 7, np.float64)
    y, _ = native.linear_forward(x[0], weight, bias, None, "none", False)
    np.testing.assert_allclose(y, x[0] @ weight.T + bias, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "shape", [(32, 100, 64), (5, 33, 700), (1, 10, 20), (40, 2, 12), (40, 300, 400)]
)
def test_packed_weights_follow_isa_and_precision(shape):
    x, weight, bias, _ = layer(*shape, np.float32)
    packed = native.pack_weight(weight)
    assert packed.nbytes >= weight.nbytes
    try:
        for isa_name, precision in itertools.product(runnable(FAMILY), ["highest", "high"]):
            native.set_isa(isa_name)
            native.set_matmul_precision(precision)
            y, _ = native.linear_forward(x, weight, bias, None, "relu", False, packed)
            z = x.astype(np.float64) @ weight.T + bias
            error = np.abs(y - np.maximum(z, 0))
            allowed = bound(x, weight.T, shape[2], np.float32, np.abs(bias))
            if precision == "high":  # the products it drops: three of 2^-16 each
                allowed += 3 * 2.0**-16 * (np.abs(x) @ np.abs(weight.T))
            assert (error <= allowed).all()
    finally:
        native.set_isa("auto")
        native.set_matmul_precision("highest")


def numerical_gradient(activation, z):
    """The derivative, by differences of fourth order in float64: right to some 1e-11."""
    h = 1e-3
    f = lambda t: reference_activation(activation, t)  # noqa: E731
    return (8 * (f(z + h) - f(z - h)) - (f(z + 2 * h) - f(z - 2 * h))) / (12 * h)


@pytest.mark.parametrize("shape", [*LAYERS, (700, 130, 9)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear_backward(isa, shape, activation):
    x, weight, bias, grad = layer(*shape, np.float64)
    z = x @ weight.T + bias
    _, saved = native.linear_forward(x, weight, bias, None, activation, True)
    dz = grad * numerical_gradient(activation, z) if activation != "relu" else grad * (z > 0)
    expected = (dz @ weight, dz.T @ x, dz.sum(0), dz)
    got = native.linear_backward(grad, x, weight, saved, activation, True, True, True, True)
    for value, reference in zip(got, expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-8, atol=1e-8)
    for needs in itertools.product([False, True], repeat=4):
        some = native.linear_backward(grad, x, weight, saved, activation, *needs)
        for value, whole, needed in zip(some, got, needs, strict=True):
            if needed:
                np.testing.assert_array_equal(value, whole)
            else:
                assert value is None


@pytest.mark.parametrize("shape", [*LAYERS, (700, 130, 9)])
def test_the_gradient_of_a_transposed_weight_lies_as_it_does(isa, shape):
    x, weight, _, grad = layer(*shape, np.float64)
    columns = lay_out(weight, "columns")
    _, dweight, dbias, _ = native.linear_backward(
        grad, x, columns, None, "none", True, True, True, True
    )
    np.testing.assert_allclose(dweight, grad.T @ x, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(dbias, grad.sum(0), rtol=1e-8, atol=1e-8)
    assert dweight.T.flags.c_contiguous


def test_linear_backward_does_not_depend_on_threads(isa, threads):
    x, weight, bias, grad = layer(700, 300, 200, np.float32)
    _, saved = native.linear_forward(x, weight, bias, None, "gelu", True)
    results = []
    for count in (1, 2, 5):
        threads(count)
        results.append(
            native.linear_backward(grad, x, weight, saved, "gelu", True, True, True, True)
        )
    for other in results[1:]:
        for value, reference in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(value, reference)


def test_bias_gradient_adds_in_short_chains(isa):
    grad = np.ones((40000, 3), np.float32) * np.float32(0.1)
    x, weight = np.zeros((40000, 2), np.float32), np.zeros((3, 2), np.float32)
    dbias = native.linear_backward(grad, x, weight, None, "none", False, False, True)[2]
    exact = 40000 * float(np.float32(0.1))
    # The longest chain is a block's: 1024 rows, four at a time.
    assert np.abs(dbias - exact).max() <= np.finfo(np.float32).eps / 2 * (1024 / 4 + 20) * exact


DRAWS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.uniform(0, 1, shape),
    "wide": lambda rng, shape: rng.standard_normal(shape) * np.exp2(rng.integers(-20, 20, shape)),
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("k", [512, 4096, 16384])
def test_long_products_keep_their_accuracy(isa, draw, k):
    rng = np.random.default_rng(5)
    a = DRAWS[draw](rng, (32, k)).astype(np.float32)
    b = DRAWS[draw](rng, (k, 48)).astype(np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    error = np.abs(native.matmul(a, b) - exact) / (np.abs(a).astype(np.float64) @ np.abs(b))
    # A chain is of at most 128 roundings, a block of K of 384; block sums are few. Plain sequential
    # float32 would grow with k itself on positive data: 16384 eps / 8 and more.
    assert math.sqrt((error**2).mean()) <= np.finfo(np.float32).eps * math.sqrt(384) / 4


LONGEST_CHAIN, LONGEST_BLOCK = 128, 384


def rms(terms, k):
    """The relative error of a sum of k products of normal variates, root mean square.

    A float32's rounding errs by 0.212 eps of it (uniform over its last place, logarithms of numbers
    spread evenly), and what is rounded is about the root of the count of terms so far, whose sum
    over all roundings is `terms`. All that over k (2 / pi), the sum of magnitudes.
    """
    return 0.212 * np.finfo(np.float32).eps * math.sqrt(terms) / (k * 2 / math.pi)


def terms_of_blocks(k):
    """i at a chain's step i; then those of the chains in a block so far, and of the blocks."""
    blocks = math.ceil(k / LONGEST_BLOCK)
    chains = math.ceil(k / blocks / LONGEST_CHAIN)
    chain = k / blocks / chains
    in_chains = blocks * chains * chain**2 / 2
    between_chains = blocks * chain * sum(range(2, chains + 1))
    return in_chains + between_chains + chains * chain * sum(range(2, blocks + 1))


def linear_gradients(a, b, which):
    """a @ b as the gradient of a layer's input (0) or of its weight (1)."""
    needs = [which == 0, which == 1, False]
    if which == 0:
        return native.linear_backward(
            a, np.zeros((len(a), b.shape[1]), a.dtype), b, None, "none", *needs
        )[0]
    return native.linear_backward(
        np.ascontiguousarray(a.T), b, np.zeros((len(a), b.shape[1]), a.dtype), None, "none", *needs
    )[1]


def layer_of(a, b, packed):
    weight = np.ascontiguousarray(b.T)
    bias = np.zeros(len(weight), a.dtype)
    if packed:
        packed = native.pack_weight(weight)
    return native.linear_forward(a, weight, bias, None, "relu", True, packed or None)[0]


# Each way that a product may take, by a shape (rows, columns) that takes it.
WAYS = {
    "blocked": (96, 80, native.matmul),
    "both as columns": (
        96,
        80,
        lambda a, b: native.matmul(*(lay_out(x, "columns") for x in (a, b))),
    ),
    "few rows": (40, 200, native.matmul),
    "narrow": (12, 240, lambda a, b: native.matmul(a, lay_out(b, "columns"))),
    "a vector": (1, 2000, native.matmul),
    "dots": (3, 700, lambda a, b: native.matmul(a, lay_out(b, "columns"))),
    "batched": (50, 48, lambda a, b: native.matmul(np.stack([a, a]), b)[1]),
    "packed": (40, 200, lambda a, b: layer_of(a, b, True)),
    "layer": (96, 80, lambda a, b: layer_of(a, b, False)),
    "gradient of x": (96, 80, lambda a, b: linear_gradients(a, b, 0)),
    "gradient of a weight": (96, 80, lambda a, b: linear_gradients(a, b, 1)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("k", [256, 320, 512, 1000, 4096])
def test_chains_are_short(isa, way, k):
    m, n, product = WAYS[way]
    a, b = operands(m, n, k, np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    magnitude = np.abs(a).astype(np.float64) @ np.abs(b)
    wanted = exact > 0 if way in ("layer", "packed") else np.ones_like(exact, bool)  # relu's
    error = ((product(a, b) - exact) / magnitude)[wanted]
    # With a vector, chains are of eight products, and their sums one chain; dots have four lanes or
    # more.
    terms = {"a vector": k**2 / 16 + 4.5 * k, "dots": k**2 / 8}.get(way) or terms_of_blocks(k)
    # Of some thousand elements: the root mean square strays by 2 %.
    assert error.size > 900
    assert math.sqrt((error**2).mean()) <= 1.1 * rms(terms, k)


BAD = [
    (lambda f: native.matmul(f(2, 3), f(4, 5)), ValueError, r"\[matmul\].*\(2, 3\) @ \(4, 5\)"),
    (lambda f: native.matmul(f(3), f(3, 5)), ValueError, r"\[matmul\] expected"),
    (lambda f: native.matmul(f(2, 2, 3), f(3, 3, 4)), ValueError, "broadcast"),
    (lambda f: native.matmul(f(2, 3), f(3, 4).astype(np.float64)), TypeError, "float64"),
    (lambda f: native.matmul(f(2, 3).astype(np.int64), f(3, 4)), TypeError, "int64"),
    (lambda f: native.matmul([[1.0]], f(1, 1)), TypeError, "list"),
    (lambda f: native.matmul(f(2, 3), f(3, 4), f(2, 5)), ValueError, "out"),
    (lambda f: native.matmul(f(2, 3), f(3, 4), None, True), ValueError, "out"),
    (lambda f: native.matmul(f(2, 3), f(3, 4), np.broadcast_to(f(4), (2, 4))), ValueError, "writ"),
    (lambda f: linear(f(2, 3), f(4, 5)), ValueError, "weight"),
    (lambda f: linear(f(2, 3), f(4, 3), bias=f(5)), ValueError, "bias"),
    (lambda f: linear(f(2, 3), f(4, 3), residual=f(2, 3)), ValueError, "residual"),
    (lambda f: linear(f(2, 3), f(4, 3), activation="rleu"), ValueError, "relu"),
    (lambda f: linear(f(2, 3), f(4, 3), packed=native.pack_weight(f(3, 4))), ValueError, "packed"),
    (lambda f: linear_backward(f(2, 5), f(2, 3), f(4, 3)), ValueError, "grad"),
    (lambda f: native.pack_weight(f(3)), ValueError, "pack_weight"),
    (lambda f: native.set_matmul_precision("best"), ValueError, "highest"),
]


def linear(x, weight, bias=None, residual=None, activation="none", packed=None):
    return native.linear_forward(x, weight, bias, residual, activation, False, packed)


def linear_backward(grad, x, weight):
    return native.linear_backward(grad, x, weight, None, "none", True, True, True)


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(lambda *shape: np.zeros(shape, np.float32))


def test_packing_lets_other_threads_run():
    """No switch is forced: another thread runs only where the GIL is given away."""
    weight = np.ones((2048, 2048), np.float32)
    ticks, stop = [0], threading.Event()

    def tick():
        while not stop.is_set():
            ticks[0] += 1
            time.sleep(0)

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=tick)
    sys.setswitchinterval(10)
    try:
        thread.start()
        before = ticks[0]
        for _ in range(500):  # where all cores are busy it may have to wait for its turn
            native.pack_weight(weight)
            if ticks[0] > before:
                break
        assert ticks[0] > before
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
