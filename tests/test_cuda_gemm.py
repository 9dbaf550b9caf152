"""Matrix products and the linear layer on the simulated device: every order of threads, layouts,
tile edges, batches, splits along K, precisions, and what is fused."""

import itertools
import math

import numpy as np
import pytest

import tilework as tw
from tilework.dtypes import bfloat16
from tilework.testing import simulated, stand_in

if simulated.refusal():
    pytest.skip(simulated.refusal(), allow_module_level=True)

from tilework.engines import ops
from tilework.engines.cuda import gemm, gemm_variants

from .device_arrays import order, served

__all__ = ["order", "served"]  # fixtures

DTYPES = ["float32", "float64", "bfloat16"]
ACTIVATIONS = ["none", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"]
# What a product may lose by its factors' rounding, to nearest: both of them, of 11 and of 8 bits.
LOST = {"highest": 0.0, "high": 2 * 2.0**-11 + 2.0**-22, "medium": 2 * 2.0**-8 + 2.0**-16}


def eps(dtype):
    """Of what products are summed in."""
    return np.finfo("float64" if dtype == "float64" else "float32").eps


def stored(dtype, expected):
    """What the one rounding of a bfloat16 result may cost."""
    return 2.0**-8 * np.abs(expected) if dtype == "bfloat16" else 0.0


def bound(a, b, dtype, extra=0.0, precision="highest"):
    """|error|: eps / 2 a step, a random walk of 3 standard deviations over K; `extra` holds the
    magnitudes that an epilogue adds."""
    a, b = np.abs(a.astype(np.float64)), np.abs(b.astype(np.float64))
    unit = eps(dtype) * (4 + 1.5 * math.sqrt(a.shape[-1])) + LOST[precision]
    return unit * (a @ b + extra)


def dressed(x):
    return None if x is None else stand_in.StandIn(x)


def matmul(a, b):
    return ops.matmul(dressed(a), dressed(b))._held


def assert_product(c, a, b, precision="highest"):
    expected = a.astype(np.float64) @ b.astype(np.float64)
    dtype = a.dtype.name
    limit = bound(a, b, dtype, precision=precision) + stored(dtype, expected)
    assert c.dtype == a.dtype
    assert c.shape == expected.shape
    error = np.abs(c.astype(np.float64) - expected)
    assert (error <= limit).all(), (error - limit).max()


def lay_out(x, layout):
    """x with the same values, lying otherwise in memory."""
    if layout == "rows":
        return np.array(x, order="C")
    if layout == "columns":
        return np.array(x.swapaxes(-1, -2), order="C").swapaxes(-1, -2)
    if layout == "backwards":
        return np.array(x[..., ::-1, ::-1], order="C")[..., ::-1, ::-1]
    if layout == "gaps":
        wide = np.ones((*x.shape[:-2], x.shape[-2] * 2, x.shape[-1] * 3), x.dtype)
        wide[..., ::2, ::3] = x
        return wide[..., ::2, ::3]
    assert layout == "offset"  # aligned to an element, and to nothing more
    flat = np.empty(x.size + 1, x.dtype)[1:].reshape(x.shape)
    flat[...] = x
    return flat


def held(x):
    """On the device as it lies: a stand-in copies what is no device's memory, and keeps the order
    of its axes alone."""
    base = x
    while isinstance(base.base, np.ndarray):
        base = base.base
    flat = stand_in.StandIn(base.reshape(-1))._held
    offset = x.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return stand_in.StandIn(np.ndarray(x.shape, x.dtype, flat, offset, x.strides))


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.fixture
def large(monkeypatch):
    """Blocks of 128 x 128 for small products too."""
    monkeypatch.setattr(gemm, "FILLING", 1)


@pytest.fixture(params=["highest", "high", "medium"])
def precision(request):
    before = tw.get_float32_matmul_precision()
    tw.set_float32_matmul_precision(request.param)
    yield request.param
    tw.set_float32_matmul_precision(before)


# Around the edges of 64, of a thread's 4 and of a tile's depth, 8, 16 or 32.
EDGES = [(1, 1, 1), (3, 65, 8), (64, 64, 16), (65, 63, 33), (66, 5, 100)]
PAIRS = list(itertools.product(["rows", "columns"], repeat=2))


@pytest.mark.parametrize("shape", EDGES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tails_and_transposed_sides(order, dtype, shape):
    m, n, k = shape
    a, b = normal((m, k), dtype), normal((k, n), dtype, 1)
    for la, lb in PAIRS:
        assert_product(matmul(lay_out(a, la), lay_out(b, lb)), a, b)


@pytest.mark.parametrize("layouts", PAIRS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_blocks(served, large, dtype, layouts):
    a, b = normal((130, 36), dtype), normal((36, 129), dtype, 1)
    assert_product(matmul(lay_out(a, layouts[0]), lay_out(b, layouts[1])), a, b)
    assert any("large" in name for name in served.launched)


@pytest.mark.parametrize("layouts", PAIRS)
@pytest.mark.parametrize("size", ["large", "small"])
def test_precisions(served, precision, layouts, size, monkeypatch):
    monkeypatch.setattr(gemm, "FILLING", 1 if size == "large" else 128)
    a, b = normal((68, 40), "float32"), normal((40, 72), "float32", 1)
    c = matmul(lay_out(a, layouts[0]), lay_out(b, layouts[1]))
    assert_product(c, a, b, precision)
    kind = {"highest": "float", "high": "tf32_float", "medium": "bf16_float"}[precision]
    (name,) = served.launched
    assert name.startswith(f"gemm_{size}")
    assert name.endswith(f"_{kind}")
    if precision != "highest":  # and not more exact than its words say
        assert not (np.abs(c - a.astype(np.float64) @ b) <= bound(a, b, "float32")).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_strides_without_a_copy(served, dtype):
    a, b = normal((33, 20), dtype), normal((20, 35), dtype, 1)
    for la, lb in itertools.product(["rows", "gaps", "backwards", "offset"], repeat=2):
        x, y = held(lay_out(a, la)), held(lay_out(b, lb))
        assert x._held.strides == lay_out(a, la).strides
        assert_product(ops.matmul(x, y)._held, a, b)
    x = held(np.broadcast_to(a[:1], (33, 20)))
    assert_product(ops.matmul(x, held(b))._held, np.repeat(a[:1], 33, 0), b)


BATCHES = [
    ((3,), (3,)), ((3,), ()), ((), (3,)), ((2, 1), (1, 3)), ((2, 3), (3,)), ((0,), (1,)),
    ((2, 1, 2, 1), (3, 1, 2)), ((2, 3), (2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("lead_a", "lead_b"), BATCHES)
def test_leading_axes_broadcast(served, lead_a, lead_b):
    for dtype in DTYPES:
        a, b = normal((*lead_a, 5, 7), dtype), normal((*lead_b, 7, 9), dtype, 1)
        for la, lb in PAIRS:
            assert_product(matmul(lay_out(a, la), lay_out(b, lb)), a, b)
    heads = normal((2, 6, 3, 8), "float32").swapaxes(1, 2)  # (B, H, L, E) of (B, L, H, E)
    assert_product(
        ops.matmul(held(heads), held(heads).swapaxes(-1, -2))._held, heads, heads.swapaxes(-1, -2)
    )


def test_rows_of_a_batch_are_one_product(served):
    a, b = normal((4, 5, 7), "float32"), normal((7, 9), "float32", 1)
    x, y = held(a), held(b)
    c = stand_in.namespace.empty((4, 5, 9), x.dtype)
    product = gemm.product_of(x, y, c)
    assert (product.m, product.batch) == (20, ())


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_empty_axes_are_numpys(served, shape):
    m, n, k = shape
    a, b = normal((m, k), "float32"), normal((k, n), "float32")
    np.testing.assert_array_equal(matmul(a, b), a @ b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_and_accumulate(served, dtype):
    a, b = normal((17, 20), dtype), normal((20, 36), dtype, 1)
    start = normal((17, 36), dtype, 2)
    expected = start.astype(np.float64) + a.astype(np.float64) @ b.astype(np.float64)
    limit = bound(a, b, dtype, np.abs(start.astype(np.float64))) + stored(dtype, expected)
    for layout in ("rows", "columns", "gaps", "offset", "backwards"):
        out = held(lay_out(start, layout))
        assert ops.matmul(held(a), held(b), out, True) is out
        assert (np.abs(out._held.astype(np.float64) - expected) <= limit).all()
        assert ops.matmul(held(a), held(b), out) is out
        assert_product(out._held, a, b)
    square = normal((20, 20), dtype)
    x = held(square.copy())
    assert ops.matmul(x, held(square), x) is x
    assert_product(x._held, square, square)


def test_bfloat16_into_float32(served):
    a, b = normal((9, 33), bfloat16), normal((33, 20), bfloat16, 1)
    out = held(np.ones((9, 20), np.float32))
    ops.matmul(held(a), held(b), out, True)
    expected = 1 + a.astype(np.float64) @ b.astype(np.float64)
    assert (np.abs(out._held - expected) <= bound(a, b, "bfloat16", 1.0)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_splits_along_k(order, dtype):
    a, b = normal((5, 1100), dtype), normal((1100, 7), dtype, 1)
    c = matmul(a, b)
    assert any(name.startswith("gemm_join") for name in order.launched)
    assert gemm.plan(5, 7, 1100, 1, a.dtype).splits == 4
    assert_product(c, a, b)


def test_splits_are_added_in_one_order():
    results = []
    for threads in simulated.ORDERS:
        with simulated.device(order=threads, seed=7):
            a, b = normal((2, 3, 600), "float32"), normal((2, 600, 66), "float32", 1)
            results.append(matmul(a, b))
    assert_product(results[0], a, b)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_reach_their_row_and_no_other(served, precision, dtype, value):
    a, b = normal((20, 30), dtype), normal((30, 40), dtype, 1)
    clean = matmul(a, b)
    a[0, 3] = value
    c = matmul(a, b)
    assert not np.isfinite(c[0].astype(np.float64)).any()
    np.testing.assert_array_equal(c[1:], clean[1:])


# --- few rows or columns ---

# Around the four rows and columns of a warp, a chunk of 2, 4 or 8, and 32 lanes of those.
NARROW = [
    (1, 130, 72),
    (4, 40, 33),
    (3, 5, 264),
    (70, 1, 136),
    (41, 4, 8),
    (1, 1, 101),
    (2, 261, 1),
]


@pytest.mark.parametrize("shape", NARROW)
@pytest.mark.parametrize("dtype", DTYPES)
def test_few_rows_or_columns(order, dtype, shape):
    m, n, k = shape
    a, b = normal((m, k), dtype), normal((k, n), dtype, 1)
    for la, lb in PAIRS:
        assert_product(matmul(lay_out(a, la), lay_out(b, lb)), a, b)
    if not k % 8 and m > 1 and n > 1:
        assert any(name.startswith("gemm_dots") for name in order.launched)


def test_vectors_by_the_way_their_matrix_lies(served):
    a, x = normal((64, 40), "float32"), normal((40, 1), "float32", 1)
    for layout, kernel in (("rows", "gemm_dots_float"), ("columns", "gemm_sweep_float")):
        served.launched.clear()
        assert_product(matmul(lay_out(a, layout), x), a, x)
        assert_product(matmul(x.T, lay_out(a, layout).T), x.T, a.T)
        assert served.launched == {kernel: 2}


@pytest.mark.parametrize("dtype", DTYPES)
def test_few_rows_split_along_k_and_in_batches(served, dtype):
    a, b = normal((3, 2, 600), dtype), normal((3, 600, 24), dtype, 1)
    for layout in ("rows", "columns"):
        c = matmul(a, lay_out(b, layout))
        assert_product(c, a, b)
        np.testing.assert_array_equal(matmul(a, lay_out(b, layout)), c)
    kinds = {"dots", "sweep", "join"}
    assert {name.split("_")[1] for name in served.launched} == kinds
    out = held(np.ones((3, 2, 24), a.dtype))
    ops.matmul(held(a), held(b), out, True)
    expected = 1 + a.astype(np.float64) @ b.astype(np.float64)
    limit = bound(a, b, dtype, 1.0) + stored(dtype, expected)
    assert (np.abs(out._held.astype(np.float64) - expected) <= limit).all()


# --- linear ---


def sigmoid(z):
    return (1 + np.tanh(z / 2)) / 2


def reference_activation(name, z):
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return {
        "none": lambda: z,
        "relu": lambda: np.maximum(z, 0),
        "gelu": lambda: z / 2 * (1 + erf(z / math.sqrt(2))),
        "gelu_tanh": lambda: z * sigmoid(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)),
        "silu": lambda: z * sigmoid(z),
        "tanh": lambda: np.tanh(z),
        "sigmoid": lambda: sigmoid(z),
    }[name]()


def slope(name, z):
    """By a central difference of float64: eps to the power of 2/3 of it is lost."""
    step = 6e-6
    return (reference_activation(name, z + step) - reference_activation(name, z - step)) / (
        2 * step
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear(served, dtype, activation):
    w = normal((10, 24), dtype, 1)
    biases = (None, normal(10, dtype, 2))
    for lead in ((3, 7), (2,)):  # the latter by dots
        check_linear(normal((*lead, 24), dtype), w, biases, activation)
    kind = {"float32": "float", "float64": "double", "bfloat16": "bf16"}[dtype]
    assert set(served.launched) == {f"gemm_small_kk_{kind}", f"gemm_dots_{kind}"}


def check_linear(x, w, biases, activation):
    dtype = x.dtype.name
    wide_x, wide_w = x.astype(np.float64), w.astype(np.float64)
    residuals = (None, normal((*x.shape[:-1], 10), dtype, 3))
    for bias, residual, save in itertools.product(biases, residuals, (False, True)):
        y, saved = ops.linear_forward(*map(dressed, (x, w, bias, residual)), activation, save)
        z, extra = wide_x @ wide_w.T, 0.0
        for more in (bias, residual):
            if more is not None:
                z, extra = z + more.astype(np.float64), extra + np.abs(more.astype(np.float64))
        expected = reference_activation(activation, z)
        # No slope is above 1.13, no function's own error above 8 eps of its value.
        limit = 1.13 * bound(x, w.T, dtype, extra) + 8 * eps(dtype) * np.abs(expected)
        error = np.abs(y._held.astype(np.float64) - expected)
        assert (error <= limit + stored(dtype, expected)).all()
        if not save or activation == "none":
            assert saved is None
        elif activation in ("relu", "tanh", "sigmoid"):
            assert saved is y
        else:
            error = np.abs(saved._held.astype(np.float64) - z)
            assert (error <= bound(x, w.T, dtype, extra) + stored(dtype, z)).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_backward(served, dtype, activation):
    x, w, grad = normal((3, 7, 20), dtype), normal((10, 20), dtype, 1), normal((3, 7, 10), dtype, 2)
    z = normal((3, 7, 10), dtype, 3)
    by_output = activation in ("relu", "tanh", "sigmoid")
    wide = z.astype(np.float64)
    saved = reference_activation(activation, wide).astype(dtype) if by_output else z
    given = None if activation == "none" else saved
    dx, dweight, dbias, dz = ops.linear_backward(
        *map(dressed, (grad, x, w, given)), activation, True, True, True, True
    )
    g = grad.astype(np.float64) * slope(activation, wide)
    # A saved output is rounded: the slope moves by as much, twice as much for tanh.
    rounding = 2.0**-8 if dtype == "bfloat16" else eps(dtype)
    limit = (2 * by_output * rounding + 16 * eps(dtype) + 1e-9) * np.abs(grad.astype(np.float64))
    error = np.abs(dz._held.astype(np.float64) - g)
    assert (error <= limit * 1.13 + stored(dtype, g)).all()
    own = dz._held.astype(np.float64).reshape(21, 10)
    rows, wide_w = x.reshape(21, 20), w.astype(np.float64)
    for found, a, b in ((dx, own, wide_w), (dweight, own.T, rows.astype(np.float64))):
        expected = a @ b
        error = np.abs(found._held.astype(np.float64).reshape(expected.shape) - expected)
        assert (error <= bound(a, b, dtype) + stored(dtype, expected)).all()
    # The bias's gradient is of dz before its rounding.
    rounded = stored(dtype, own).sum(0) if dtype == "bfloat16" else 0.0
    expected = own.sum(0)
    limit = 10 * eps(dtype) * np.abs(own).sum(0) + rounded + stored(dtype, expected)
    assert (np.abs(dbias._held.astype(np.float64) - expected) <= limit).all()


def test_linear_backward_gives_what_it_was_asked_for(served):
    x, w, grad = normal((6, 5), "float32"), normal((4, 5), "float32"), normal((6, 4), "float32")
    for wanted in itertools.product((False, True), repeat=4):
        given = ops.linear_backward(*map(dressed, (grad, x, w, None)), "none", *wanted)
        assert [g is not None for g in given] == list(wanted)
    columns = held(np.array(w.T, order="C").T)
    _, dweight, _, _ = ops.linear_backward(
        held(grad), held(x), columns, None, "none", False, True, False
    )
    assert dweight.strides == columns.strides  # as a dense weight lies


@pytest.mark.parametrize("rows", [1, 9, 600])
def test_bias_gradient_over_slabs(order, rows):
    grad, x, w = (
        normal((rows, 130), "float32"),
        normal((rows, 1), "float32"),
        np.ones((130, 1), "f"),
    )
    dbias = ops.linear_backward(*map(dressed, (grad, x, w, None)), "none", False, False, True)[2]
    wide = grad.astype(np.float64)
    limit = np.finfo(np.float32).eps * (2 + math.sqrt(rows)) * np.abs(wide).sum(0)
    assert (np.abs(dbias._held - wide.sum(0)) <= limit).all()


def test_strided_inputs_of_a_layer(served):
    x, w = normal((5, 3, 20), "float32").swapaxes(0, 1), normal((20, 10), "float32", 1).T
    y, _ = ops.linear_forward(held(x), held(w), None, None, "none", False)
    assert_product(y._held, x, w.T)
    grad = held(np.broadcast_to(np.float32(1), (3, 5, 10)))
    dx, dweight, dbias, _ = ops.linear_backward(
        grad, held(x), held(w), None, "none", True, True, True
    )
    ones = np.ones((15, 10), np.float32)
    assert_product(dx._held.reshape(15, 20), ones, w)
    assert_product(dweight._held, ones.T, x.reshape(15, 20))
    np.testing.assert_array_equal(dbias._held, np.full(10, 15, np.float32))


def test_half_on_tensor_cores(served):
    """No tilework dtype: its kernel is launched by its name."""
    m, n, k = 70, 66, 40
    a, b = normal((m, k), np.float16), normal((k, n), np.float16, 1)
    x, y = held(a), held(b)
    c = held(np.zeros((m, n), np.float16))
    from tilework.engines.cuda.launch import launch

    launch(
        "gemm_small_kn_half", (2 * 2, 1), 128, c, x, y, None, None, None, None, m, n, k, k, 1, n, 1,
        n, 0, 1, 0, 0, 0, 0, 0, 0, k, 0x400, shared=3 * 2 * 64 * 64 + 32,
    )  # fmt: skip
    expected = a.astype(np.float64) @ b.astype(np.float64)
    limit = bound(a, b, "float32") + np.finfo(np.float16).eps / 2 * np.abs(expected)
    assert (np.abs(c._held - expected) <= limit).all()


# --- cuBLAS as a variant ---


@pytest.fixture
def variants():
    yield gemm_variants
    gemm_variants.set_gemm_variant("auto")


class FakeClock:
    """An event whose time goes on by what each launch, and each product of the library's, takes."""

    now = 0.0

    def record(self):
        self.at = FakeClock.now

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return end.at - self.at


def timed(monkeypatch, served, kernel, library):
    """Lets the device tell such times of a product, and count who multiplies."""
    counts = {"kernel": 0, "cublas": 0}
    run, by_cublas = gemm.run, gemm._by_cublas

    def kernels(*given):
        counts["kernel"] += 1
        FakeClock.now += kernel
        run(*given)

    def cublas(*given):
        counts["cublas"] += 1
        FakeClock.now += library
        by_cublas(*given)

    monkeypatch.setattr(gemm, "run", kernels)
    monkeypatch.setattr(gemm, "_by_cublas", cublas)
    monkeypatch.setattr(gemm_variants, "SHORTEST_TRIAL", 0)
    monkeypatch.setattr(gemm_variants, "_has_clock", lambda: True)
    monkeypatch.setattr(served, "event", lambda timed: FakeClock(), raising=False)
    return counts


@pytest.mark.parametrize(("kernel", "library", "wins"), [(1, 2, "kernel"), (2, 1, "cublas")])
def test_a_trial_chooses_once_for_a_shape(served, variants, monkeypatch, kernel, library, wins):
    counts = timed(monkeypatch, served, kernel, library)
    a, b = normal((9, 8), "float32"), normal((8, 12), "float32", 1)
    assert_product(matmul(a, b), a, b)
    tried = dict(counts)
    assert min(tried.values()) > 1  # each ran some times
    for _ in range(3):
        assert_product(matmul(a, b), a, b)
    loser = "cublas" if wins == "kernel" else "kernel"
    assert counts == {wins: tried[wins] + 3, loser: tried[loser]}
    assert list(variants.found().values()) == [wins]
    matmul(a, lay_out(b, "columns"))  # another layout is another product
    matmul(a.astype(np.float64), b.astype(np.float64))
    assert len(variants.found()) == 3
    out = held(np.ones((9, 12), np.float32))
    before = dict(counts)
    ops.matmul(dressed(a), dressed(b), out, True)  # adds once: no trial, no library
    assert counts == {**before, "kernel": before["kernel"] + 1}
    assert (np.abs(out._held - 1 - a.astype(np.float64) @ b) <= bound(a, b, "float32", 1.0)).all()


@pytest.mark.parametrize("reason", [ImportError("no libcublas.so.13"), MemoryError()])
def test_products_go_on_where_cublas_cannot(served, variants, monkeypatch, reason):
    timed(monkeypatch, served, 1.0, 2.0)

    def missing(*_):
        raise reason

    monkeypatch.setattr(gemm, "_by_cublas", missing)
    a, b = normal((9, 8), "float32"), normal((8, 12), "float32", 1)
    assert_product(matmul(a, b), a, b)
    assert list(variants.found().values()) == ["kernel"]
    variants.set_gemm_variant("cublas")  # it is asked for
    with pytest.raises(type(reason)):
        matmul(a, b)


def test_nothing_is_tried_without_a_devices_clock(served, variants, monkeypatch):
    monkeypatch.setattr(gemm_variants, "SHORTEST_TRIAL", 0)
    matmul(normal((9, 8), "float32"), normal((8, 12), "float32"))
    assert not variants.found()
    assert list(served.launched) == ["gemm_small_kn_float"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cublas_when_asked_for(served, variants, dtype):
    variants.set_gemm_variant("cublas")
    assert variants.get_gemm_variant() == "cublas"
    a, b = normal((2, 9, 8), dtype), normal((8, 12), dtype, 1)
    assert_product(matmul(a, lay_out(b, "columns")), a, b)
    assert not served.launched
    weight, bias, residual = normal((5, 8), dtype), normal(5, dtype, 2), normal((2, 9, 5), dtype, 3)
    given = [*map(dressed, (a, weight, bias, residual)), "gelu", True]
    y, z = ops.linear_forward(*given)
    kind = "float" if dtype == "float32" else "double"
    assert list(served.launched) == [f"gemm_join_{kind}"]
    variants.set_gemm_variant("kernel")
    by_kernel, z_by_kernel = ops.linear_forward(*given)
    extra = np.abs(bias) + np.abs(residual)
    limit = 2 * 1.13 * bound(a, weight.T, dtype, extra) + 16 * eps(dtype) * np.abs(y._held)
    assert (np.abs(y._held - by_kernel._held) <= limit).all()
    assert (np.abs(z._held - z_by_kernel._held) <= 2 * bound(a, weight.T, dtype, extra)).all()


def test_what_cublas_does_not_serve_stays_the_kernels(served, variants, precision):
    variants.set_gemm_variant("cublas")
    matmul(normal((9, 8), bfloat16), normal((8, 12), bfloat16))
    assert list(served.launched) == ["gemm_small_kn_bf16"]
    matmul(normal((9, 8), "float32"), normal((8, 12), "float32"))
    assert len(served.launched) == (1 if precision == "highest" else 2)


def test_another_variant_is_refused():
    with pytest.raises(ValueError, match="'auto', 'kernel' or 'cublas'; got 'magma'"):
        gemm_variants.set_gemm_variant("magma")
