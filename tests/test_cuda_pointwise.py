"""The elementwise kernels on the simulated device, against the CPU's engine."""

import ml_dtypes
import numpy as np
import pytest

from tilework import engines
from tilework.testing import simulated
from tilework.testing.inputs import LAYOUTS, laid_out, normal, special
from tilework.testing.tolerance import assert_close, eps, growth, stored, tiny

from .device_arrays import here, there

if simulated.refusal():
    pytest.skip(simulated.refusal(), allow_module_level=True)
native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")
cuda = engines.engine_module("cuda")

DTYPES = ["float32", "float64"]
bfloat16 = np.dtype(ml_dtypes.bfloat16)
POSITIVE = ("log", "sqrt", "rsqrt")
# Around a pack of 16 bytes, and a block's packs.
LENGTHS = [0, 1, 3, 4, 5, 255, 1023, 1024, 1025, 2048, 2049, 4099]


@pytest.fixture(autouse=True, params=simulated.ORDERS)
def device(request):
    with simulated.device(order=request.param, seed=7) as made:
        yield made


def bound(dtype, expected, *scales):
    """Two engines that are each within 4 eps: of the result, or of what its terms were."""
    scale = np.abs(expected)
    for one in scales:
        scale = np.maximum(scale, np.abs(one))
    return 8 * eps(dtype) * scale + tiny(dtype)


def inputs(op, dtype, *shape):
    x = normal(np.random.default_rng(0), dtype, *shape)
    return np.abs(x) + np.dtype(dtype).type(0.1) if op in POSITIVE else x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", native.UNARY_OPS)
def test_functions_and_their_gradients(op, dtype, device):
    x = inputs(op, dtype, 2051)
    grad = normal(np.random.default_rng(1), dtype, x.size)
    y = native.unary_forward(op, x)
    assert_close(here(cuda.unary_forward(op, there(x))), y, bound(dtype, y, x), op)
    saved = y if native.UNARY_OPS[op] == "output" else x
    dx = native.unary_backward(op, grad, saved)
    found = here(cuda.unary_backward(op, there(grad), there(saved)))
    assert_close(found, dx, bound(dtype, dx, grad, grad * saved), op)
    assert len(device.launched) == 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", native.UNARY_OPS)
def test_limits(op, dtype):
    """Infinities, NaN, zeros, denormals, what overflows."""
    with np.errstate(all="ignore"):
        x = special(dtype)
        y = native.unary_forward(op, x)
        scale = np.where(np.isfinite(x), np.abs(x), 0)
        scale = np.minimum(scale, 100) + np.where(np.isfinite(y), np.abs(y), 0)
        assert_close(here(cuda.unary_forward(op, there(x))), y, 8 * eps(dtype) * scale, op)
        saved = y if native.UNARY_OPS[op] == "output" else x
        dx = native.unary_backward(op, np.ones_like(x), saved)
        found = here(cuda.unary_backward(op, there(np.ones_like(x)), there(saved)))
        scale = np.where(np.isfinite(dx), np.abs(dx), 0) + 1
        assert_close(found, dx, 8 * eps(dtype) * scale, op)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("misaligned", [False, True])
def test_lengths(n, misaligned, dtype):
    rng = np.random.default_rng(2)
    a, b = (normal(rng, dtype, n) for _ in range(2))
    x = there(laid_out(a, "misaligned")) if misaligned else there(a)
    np.testing.assert_array_equal(here(cuda.unary_forward("square", x)), a * a)
    np.testing.assert_array_equal(here(cuda.unary_backward("square", there(b), x)), b * (a + a))
    np.testing.assert_array_equal(here(cuda.binary_forward("add", x, there(b))), a + b)
    np.testing.assert_array_equal(here(cuda.binary_forward("sub", 1.25, x)), np.float32(1.25) - a)
    np.testing.assert_array_equal(here(cuda.clamp_forward(x, -0.5, 1.0)), np.clip(a, -0.5, 1))
    cuda.accumulate_(x, there(b))
    np.testing.assert_array_equal(here(x), a + b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", native.BINARY_OPS)
def test_arithmetic(op, dtype):
    rng = np.random.default_rng(3)
    a, b = (np.abs(normal(rng, dtype, 2049)) + np.dtype(dtype).type(0.1) for _ in range(2))
    forms = [
        (a, b),
        (a, 1.7),
        (0.3, b),
        (a, b[5:6]),
        (a[:1], b),
        (a[:2048].reshape(8, 256), b[:256]),
    ]
    for left, right in forms:
        y = native.binary_forward(op, left, right)
        sides = (there(s) if isinstance(s, np.ndarray) else s for s in (left, right))
        assert_close(here(cuda.binary_forward(op, *sides)), y, bound(dtype, y), op)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_with_a_name(dtype):
    x = special(dtype)
    with np.errstate(all="ignore"):
        for exponent in (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0):
            y = native.binary_forward("pow", x, exponent)
            found = here(cuda.binary_forward("pow", there(x), exponent))
            assert_close(found, y, bound(dtype, np.where(np.isfinite(y), y, 0)), str(exponent))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_goes_through_both_sides(dtype):
    x = np.ones(9, dtype)
    x[4] = np.nan
    one = np.ones_like(x)
    for op in ("add", "sub", "mul", "div", "maximum", "minimum"):
        for a, b in ((x, one), (one, x), (x, 1.0), (1.0, x)):
            sides = (there(s) if isinstance(s, np.ndarray) else s for s in (a, b))
            found = here(cuda.binary_forward(op, *sides))
            np.testing.assert_array_equal(np.isnan(found), np.isnan(x), err_msg=op)
    np.testing.assert_array_equal(np.isnan(here(cuda.clamp_forward(there(x), 0, 2))), np.isnan(x))
    assert np.isnan(here(cuda.clamp_forward(there(one), float("nan"), 2.0))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_clamp_passes_gradients_at_its_limits(dtype):
    x = np.array([-0.5, 0.5, 0.0, -0.6, 0.6, np.inf, -np.inf, np.nan, -0.0], dtype)
    y = native.clamp_backward(np.ones_like(x), x, -0.5, 0.5)
    found = here(cuda.clamp_backward(there(np.ones_like(x)), there(x), -0.5, 0.5))
    np.testing.assert_array_equal(found, y)


SHAPES = [
    ((5, 7), (7,)), ((5, 7), (5, 1)), ((5, 1), (1, 70)), ((2, 1, 4, 1), (3, 1, 33)),
    ((), (3, 3)), ((0, 3), (1, 3)), ((1,), (1, 1)), ((30, 64), (64,)), ((4, 300), (4, 1)),
    ((2, 3, 1, 5, 1, 4), (1, 3, 2, 1, 3, 4)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("a_shape", "b_shape"), SHAPES)
def test_broadcasting(a_shape, b_shape, dtype):
    rng = np.random.default_rng(4)
    a, b = (np.asarray(rng.standard_normal(s), dtype) for s in (a_shape, b_shape))
    for left, right in ((a, b), (b, a)):
        for op in ("sub", "maximum"):
            y = native.binary_forward(op, left, right)
            found = here(cuda.binary_forward(op, there(left), there(right)))
            np.testing.assert_array_equal(found, y)
            assert found.strides == y.strides


@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
def test_layouts(first, second):
    """Values, and the order of the result's memory, are the CPU's."""
    rng = np.random.default_rng(5)
    a, b = (laid_out(normal(rng, "float32", 2, 5, 3, 8), how) for how in (first, second))
    forms = {
        "binary": lambda e, a, b: e.binary_forward("sub", a, b),
        "number": lambda e, a, b: e.binary_forward("mul", a, 2.0),
        "unary": lambda e, a, b: e.unary_forward("relu", a),
        "backward": lambda e, a, b: e.unary_backward("square", a, b),
        "clamp": lambda e, a, b: e.clamp_backward(a, b, -0.5, 0.5),
        "copy": lambda e, a, b: e.copy(a, True),
        "C order": lambda e, a, b: e.copy(a, False),
    }
    for name, form in forms.items():
        y, found = form(native, a, b), here(form(cuda, there(a), there(b)))
        np.testing.assert_array_equal(found, y, err_msg=name)
        assert found.strides == y.strides, name
    if first != "expanded":
        total, onto = there(a), a.copy()
        native.accumulate_(onto, b)
        cuda.accumulate_(total, there(b))
        np.testing.assert_array_equal(here(total), onto)


def test_accumulate_of_overlapping_memory():
    x = np.arange(5000, dtype=np.float32)
    expected = x.copy()
    expected[1:] += x[:-1]
    given = there(x)
    cuda.accumulate_(given[1:], given[:-1])
    np.testing.assert_array_equal(here(given), expected)


@pytest.mark.parametrize("layout", LAYOUTS[:-1])
def test_accumulate_bfloat16(layout):
    x = laid_out(normal(np.random.default_rng(6), "float32", 3, 4, 24).astype(bfloat16), layout)
    source = normal(np.random.default_rng(7), "float32", 3, 4, 24).astype(bfloat16)
    given = there(x)
    cuda.accumulate_(given, there(source))
    np.testing.assert_array_equal(here(given), x + source)


def same_bits(x, y):
    word = {2: np.uint16, 4: np.uint32}[y.itemsize]
    assert x.dtype == y.dtype
    np.testing.assert_array_equal(x.view(word), y.view(word))


def test_bfloat16_conversions_have_the_bits_of_the_cpu(device):
    exponents = np.arange(0, 1 << 16, 37, dtype=np.uint32)[:, None] << 16
    words = (exponents + np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)).ravel()
    x = words.view(np.float32)
    narrow = native.narrow(x)
    same_bits(here(cuda.narrow(there(x))), narrow)
    same_bits(here(cuda.widen(there(narrow))), native.widen(narrow))
    for n in (0, 1, 7, 8, 9, 2047):
        for how in ("contiguous", "misaligned"):
            part = laid_out(x[:n].copy(), how)
            same_bits(here(cuda.narrow(there(part))), native.narrow(part))
            part = laid_out(narrow[:n].copy(), how)
            same_bits(here(cuda.widen(there(part))), native.widen(part))


ACTIVATIONS = ["none", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(1, 1), (9, 16), (13, 67), (130, 33), (2, 3, 20), (0, 4)])
def test_bias_activation(shape, activation, dtype):
    rng = np.random.default_rng(9)
    x, grad = (normal(rng, dtype, *shape) for _ in range(2))
    bias = normal(rng, dtype, shape[-1])
    for save in (True, False):
        y, saved = native.bias_activation_forward(x, bias, activation, save)
        given = cuda.bias_activation_forward(there(x), there(bias), activation, save)
        assert_close(here(given[0]), y, bound(dtype, y, x, bias), activation)
        assert (given[1] is None) == (saved is None)
        if saved is not None:
            assert_close(here(given[1]), saved, bound(dtype, saved, x, bias), activation)
    saved = native.bias_activation_forward(x, bias, activation, True)[1]
    dz, dbias = native.bias_activation_backward(grad, saved, activation)
    there_saved = None if saved is None else there(saved)
    found = here(cuda.bias_activation_backward(there(grad), there_saved, activation))
    assert_close(found[0], dz, bound(dtype, dz, grad), activation)
    axes = tuple(range(len(shape) - 1))
    total = np.maximum(np.abs(dz), np.abs(grad)).sum(axes, dtype="f8")
    assert_close(found[1], dbias, (8 + growth(grad.shape[0])) * eps(dtype) * total, activation)


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
@pytest.mark.parametrize("op", ["glu", "swiglu", "geglu", "geglu_tanh"])
@pytest.mark.parametrize(("shape", "axis"), [((6, 34), 1), ((6, 32), 1), ((4, 3, 8), 0),
                                             ((2, 6, 5), 1), ((0, 4), 1), ((2, 0), 1)])  # fmt: skip
def test_gates(shape, axis, op, dtype):
    rng = np.random.default_rng(10)
    x, other = (laid_out(normal(rng, "float32", *shape).astype(dtype), "transposed")
                for _ in range(2))  # fmt: skip
    for second in (None, other):
        y = native.gated_forward(op, x, second, axis)
        given = None if second is None else there(second)
        found = here(cuda.gated_forward(op, there(x), given, axis))
        size = np.abs(x.astype("f8")).max(initial=0) * np.abs(other.astype("f8")).max(initial=0)
        unit = 8 * eps("float32" if dtype == "bfloat16" else dtype) * (size + 1)
        assert_close(found, y, stored(dtype, y.astype("f8"), unit), op)
        assert found.strides == y.strides or not y.size
        grad = normal(rng, "float32", *y.shape).astype(dtype)
        right = native.gated_backward(op, grad, x, second, axis)
        found = here(cuda.gated_backward(op, there(grad), there(x), given, axis))
        unit = 2 * unit * (1 + np.abs(grad.astype("f8")).max(initial=0))
        assert_close(found[0], right[0], stored(dtype, right[0].astype("f8"), unit), op)
        assert (found[1] is None) == (second is None)
        if second is not None:
            assert_close(found[1], right[1], stored(dtype, right[1].astype("f8"), unit), op)
