"""What is the compiled pointwise engine's own: tails, alignment, strides, ISA variants, threads."""

import math

import ml_dtypes
import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

FAMILY = "pointwise"  # whose variants the fixture `isa` goes over
DTYPES = [np.float32, np.float64]
bfloat16 = np.dtype(ml_dtypes.bfloat16)
SQRT_HALF = math.sqrt(0.5)
_erf = np.vectorize(math.erf, otypes=[np.float64])
# The value of each op, and of its derivative with respect to x, in float64.
UNARY = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "gelu": (
        lambda x: x * 0.5 * (1 + _erf(x * SQRT_HALF)),
        lambda x: 0.5 * (1 + _erf(x * SQRT_HALF)) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
    "gelu_tanh": (
        lambda x: x * gelu_gate(x),
        lambda x: gelu_gate(x) + x * gelu_gate(x) * (1 - gelu_gate(x)) * gelu_gate_slope(x),
    ),
    "silu": (lambda x: x * gate(x), lambda x: gate(x) * (1 + x * (1 - gate(x)))),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "sigmoid": (lambda x: gate(x), lambda x: gate(x) * (1 - gate(x))),
    "exp": (np.exp, np.exp),
    "log": (np.log, lambda x: 1 / x),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "rsqrt": (lambda x: x**-0.5, lambda x: -0.5 * x**-1.5),
    "abs": (np.abs, np.sign),
    "neg": (np.negative, lambda x: -np.ones_like(x)),
    "square": (np.square, lambda x: 2 * x),
    "inverse_square": (lambda x: 1 / (x * x), lambda x: -2 / x**3),
    "cube": (lambda x: x**3, lambda x: 3 * x * x),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2),
    "softplus": (lambda x: np.logaddexp(x, 0), lambda x: gate(x)),
    "erf": (_erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x)),
}
BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": np.power,
}


def gate(x):
    return 1 / (1 + np.exp(-x))


def gelu_gate(x):
    return gate(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def gelu_gate_slope(x):
    return 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)


def check(actual, expected, dtype, roundings=8):
    """`roundings` halves of an eps of the result, or of 1 where a gate's error is not relative."""
    scale = np.maximum(np.abs(expected), 1)
    assert actual.dtype == dtype
    np.testing.assert_array_less(
        np.abs(actual - expected), roundings / 2 * np.finfo(dtype).eps * scale + 1e-300
    )


def positive(rng, shape, dtype):
    return rng.uniform(0.1, 3, shape).astype(dtype)


def test_the_tables_are_whole():
    assert set(native.UNARY_OPS) == set(UNARY)
    assert set(native.BINARY_OPS) == set(BINARY)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", UNARY)
def test_unary_tails_and_alignment(isa, op, dtype):
    """Every length to 67 at two alignments; nothing outside of the array is read into it."""
    rng = np.random.default_rng(0)
    forward, derivative = UNARY[op]
    signed = rng.choice([-1, 1], 80) if op not in ("log", "sqrt", "rsqrt") else 1
    buffer = (positive(rng, 80, dtype) * signed).astype(dtype)
    buffer[70:] = np.nan
    grads = rng.standard_normal(80).astype(dtype)
    for n in range(68):
        for start in (0, 1):
            x, grad = buffer[start : start + n], grads[start : start + n]
            wide = x.astype(np.float64)
            y = native.unary_forward(op, x)
            check(y, forward(wide), dtype)
            saved = y if native.UNARY_OPS[op] == "output" else x
            # Rounding `saved` moves the derivative by its own condition: under 4 eps of itself and
            # of x's powers here, where |x| is at least 0.1.
            got = native.unary_backward(op, grad, saved)
            expected = grad.astype(np.float64) * derivative(wide)
            scale = np.abs(grad) * np.maximum(np.abs(derivative(wide)), 1)
            assert got.shape == x.shape
            assert np.all(np.abs(got - expected) <= 8 * np.finfo(dtype).eps * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", BINARY)
def test_binary_tails_and_scalars(isa, op, dtype):
    rng = np.random.default_rng(1)
    for n in range(68):
        a, b = positive(rng, n + 1, dtype)[1:], positive(rng, n, dtype)
        for left, right in [(a, b), (a, 1.25), (0.5, b), (a, 2), (a, b[:1] if n else b)]:
            expected = BINARY[op](np.asarray(left, np.float64), np.asarray(right, np.float64))
            check(native.binary_forward(op, left, right), expected, dtype, roundings=3)


LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "reversed": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "field": lambda x: np.rec.fromarrays([x, x.astype("i1")], names="v,pad")["v"],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first", [k for k in LAYOUTS if k != "field"])
@pytest.mark.parametrize("second", [k for k in LAYOUTS if k != "field"])
def test_layouts(isa, dtype, first, second):
    rng = np.random.default_rng(2)
    a = LAYOUTS[first](rng.standard_normal((3, 5, 37)).astype(dtype))
    b = LAYOUTS[second](rng.standard_normal((3, 5, 37)).astype(dtype))
    np.testing.assert_array_equal(native.binary_forward("mul", a, b), a * b)
    np.testing.assert_array_equal(native.unary_backward("square", a, b), a * (b + b))
    np.testing.assert_array_equal(native.unary_forward("relu", a), np.maximum(a, 0))
    total = a.copy(order="K")
    native.accumulate_(total, b)
    np.testing.assert_array_equal(total, a + b)


def same_bits(x, y):
    word = {2: np.uint16, 4: np.uint32}[y.itemsize]
    assert x.dtype == y.dtype
    np.testing.assert_array_equal(x.view(word), y.view(word))


def test_bfloat16_conversions_have_the_bits_of_ml_dtypes(isa):
    every = np.arange(1 << 16, dtype=np.uint16).view(bfloat16)
    same_bits(native.widen(every), every.astype(np.float32))
    # Ties between every two neighbours, and what lies beside them; NaNs with payloads.
    ties = np.arange(1 << 16, dtype=np.uint32)[:, None] << 16
    words = (ties + np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)).ravel()
    with np.errstate(invalid="ignore"):
        same_bits(native.narrow(words.view(np.float32)), words.view(np.float32).astype(bfloat16))
    rng = np.random.default_rng(5)
    for n in range(68):
        x = rng.standard_normal(n).astype(np.float32)
        same_bits(native.narrow(x), x.astype(bfloat16))
        same_bits(native.widen(x.astype(bfloat16)), x.astype(bfloat16).astype(np.float32))


@pytest.mark.parametrize("layout", [k for k in LAYOUTS if k != "field"])
def test_bfloat16_conversions_keep_dense_layouts(isa, layout):
    x = LAYOUTS[layout](np.random.default_rng(6).standard_normal((3, 5, 37)).astype(np.float32))
    narrow = native.narrow(x)
    same_bits(narrow, x.astype(bfloat16, order="C"))
    if layout in ("contiguous", "transposed"):
        assert [2 * s for s in narrow.strides] == list(x.strides)
        assert native.widen(narrow).strides == x.strides


def test_bfloat16_conversions_name_the_dtype_they_want():
    with pytest.raises(TypeError, match=r"\[narrow\] expected `x` of dtype float32; got float64"):
        native.narrow(np.ones(3))
    with pytest.raises(TypeError, match=r"\[widen\] expected `x` of dtype bfloat16; got float32"):
        native.widen(np.ones(3, np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((5, 7), (7,)),
        ((5, 7), (5, 1)),
        ((5, 1), (1, 70)),
        ((2, 1, 4, 1), (3, 1, 33)),
        ((), (3, 3)),
        ((0, 3), (1, 3)),
        ((1,), (1, 1)),
        ((3000, 33), (33,)),
        ((4, 3000), (4, 1)),
    ],
)
def test_broadcasting(isa, dtype, a_shape, b_shape):
    rng = np.random.default_rng(3)
    a, b = (np.asarray(rng.standard_normal(s), dtype) for s in (a_shape, b_shape))
    for left, right in ((a, b), (b, a)):
        for op in ("add", "sub", "div", "maximum"):
            got = native.binary_forward(op, left, right)
            np.testing.assert_array_equal(got, BINARY[op](left, right))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dense_layouts_are_kept(dtype):
    x = np.zeros((2, 5, 3, 4), dtype).transpose(0, 3, 1, 2)
    for y in (
        native.unary_forward("exp", x),
        native.binary_forward("add", x, x),
        native.binary_forward("add", x, np.zeros((4, 1, 1), dtype)),
        native.dropout_forward(x, 0.5, 0, 0),
    ):
        assert y.strides == x.strides


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_goes_through(isa, dtype):
    for n in (1, 5, 16, 37):
        x = np.ones(n, dtype)
        x[n // 2] = np.nan
        for op in native.UNARY_OPS:
            got = np.isnan(native.unary_forward(op, x))
            np.testing.assert_array_equal(got, np.isnan(x), err_msg=op)
        for op in ("add", "sub", "mul", "div", "maximum", "minimum"):
            for a, b in ((x, np.ones_like(x)), (np.ones_like(x), x), (x, 1.0), (1.0, x)):
                got = np.isnan(native.binary_forward(op, a, b))
                np.testing.assert_array_equal(got, np.isnan(x), err_msg=op)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "activation", ["none", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"]
)
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 7), (9, 16), (13, 67), (1100, 33), (2, 3, 20), (0, 4)]
)
def test_bias_activation(isa, dtype, activation, shape):
    rng = np.random.default_rng(4)
    x, grad = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    bias = rng.standard_normal(shape[-1]).astype(dtype)
    z = x + bias
    expected = z if activation == "none" else native.unary_forward(activation, z)
    y, saved = native.bias_activation_forward(x, bias, activation, True)
    np.testing.assert_array_equal(y, expected)
    if activation == "none":
        assert saved is None
        dz_expected = grad
    else:
        np.testing.assert_array_equal(
            saved, z if native.UNARY_OPS[activation] == "input" else expected
        )
        dz_expected = native.unary_backward(activation, grad, saved)
    assert native.bias_activation_forward(x, bias, activation, False)[1] is None
    dz, dbias = native.bias_activation_backward(grad, saved, activation)
    np.testing.assert_array_equal(dz, dz_expected)
    axes = tuple(range(len(shape) - 1))
    wide = dz.astype(np.longdouble)
    depth = 128 + math.log2(max(dz.size, 2))  # blocks of at most 512 rows, four at a time
    bound = depth / 2 * np.finfo(dtype).eps * np.abs(wide).sum(axes)
    assert np.all(np.abs(dbias - wide.sum(axes)) <= bound)


def philox_words(n, seed, call):
    return native.random_bits((n,), seed, call) if hasattr(native, "random_bits") else None


def test_dropout_keeps_the_word_that_is_the_threshold():
    word = int(native.random_bits((4,), 3, 5)[2])
    x = np.ones(4, np.float32)
    assert native.dropout_forward(x, word / 2**32, 3, 5)[2] > 0
    assert native.dropout_forward(x, (word + 1) / 2**32, 3, 5)[2] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1000, 70001])
def test_dropout_keeps_by_the_word_of_the_position(isa, dtype, n):
    words = philox_words(n, 7, 9)
    if words is None:
        pytest.skip("this build has no random_bits to judge by")
    x = np.random.default_rng(5).standard_normal(n).astype(dtype)
    for p in (0.0, 0.1, 0.5, 1.0):
        keep = words.astype(np.uint64) >= round(p * 2**32)
        scaled = x * dtype(1 / (1 - p) if p < 1 else 0)
        got = native.dropout_forward(x, p, 7, 9)
        np.testing.assert_array_equal(got, np.where(keep, scaled, 0))
        np.testing.assert_array_equal(native.dropout_backward(x, p, 7, 9), got)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_and_streaming_change_no_bit(isa, dtype):
    """Long enough for many tasks and for stores around the cache; a short call is the judge."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((1040, 1024)).astype(dtype)
    bias = x[0].copy()
    threads = native.num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            native.set_num_threads(n)
            y, saved = native.bias_activation_forward(x, bias, "gelu", True)
            dz, dbias = native.bias_activation_backward(x, saved, "gelu")
            gelu, dropped = native.unary_forward("gelu", x), native.dropout_forward(x, 0.3, 1, 2)
            total = native.binary_forward("add", x, bias)
            results.append((gelu, dropped, total, y, saved, dz, dbias))
    finally:
        native.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    for row in (0, 700, 1039):
        np.testing.assert_array_equal(results[0][0][row], native.unary_forward("gelu", x[row]))
        np.testing.assert_array_equal(results[0][2][row], x[row] + bias)


def test_accumulate_onto_an_overlapping_or_strided_destination():
    x = np.arange(100, dtype=np.float32)
    expected = x.copy()
    expected[1:] += expected[:-1].copy()
    native.accumulate_(x[1:], x[:-1])
    np.testing.assert_array_equal(x, expected)
    y = np.zeros((4, 6), np.float32)
    native.accumulate_(y[:, ::2], np.ones((4, 3), np.float32))
    assert y.sum() == 12
    assert np.all(y[:, 1::2] == 0)


def test_bad_input_is_refused_by_name():
    x = np.zeros((2, 3), np.float32)
    read_only = x.copy()
    read_only.flags.writeable = False
    for error, message, call in [
        (
            ValueError,
            r"^\[unary\] expected op as one of relu, ",
            lambda: native.unary_forward("no", x),
        ),
        (
            TypeError,
            r"^\[gelu\] expected `x` of dtype",
            lambda: native.unary_forward("gelu", x > 0),
        ),
        (ValueError, r"^\[tanh\] expected `grad`", lambda: native.unary_backward("tanh", x, x.T)),
        (ValueError, r"shapes that broadcast", lambda: native.binary_forward("add", x, x.T)),
        (TypeError, r"^\[add\]", lambda: native.binary_forward("add", x, x.astype(np.float64))),
        (TypeError, r"^\[mul\]", lambda: native.binary_forward("mul", x, "2")),
        (TypeError, r"^\[mul\]", lambda: native.binary_forward("mul", 1.0, 2.0)),
        (
            ValueError,
            r"expected bias \(3,\)",
            lambda: native.bias_activation_forward(x, x[0, :2], "relu", False),
        ),
        (ValueError, r"^\[dropout\] expected p", lambda: native.dropout_forward(x, 1.5, 0, 0)),
        (ValueError, r"writable", lambda: native.accumulate_(read_only, x)),
        (ValueError, r"^\[accumulate_\] expected `source`", lambda: native.accumulate_(x, x.T)),
    ]:
        with pytest.raises(error, match=message):
            call()
