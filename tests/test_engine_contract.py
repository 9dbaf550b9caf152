"""Every engine offers the contract of _native.pyi: its names, arguments and layouts."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

import tilework
from tilework import engines
from tilework.dtypes import bfloat16
from tilework.testing.cases import of_family
from tilework.testing.inputs import LAYOUTS, laid_out, normal
from tilework.testing.tolerance import assert_close, eps, growth

STUB = ast.parse((Path(tilework.__file__).parent / "_native.pyi").read_text(encoding="utf-8"))
SIGNATURES = {
    node.name: [argument.arg for argument in node.args.args]
    for node in STUB.body
    if isinstance(node, ast.FunctionDef)
}
SHAPE = (2, 5, 3, 7)
ACTIVATIONS = ["none", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"]


@pytest.fixture(params=["native", "numba", "cupy"])
def engine(request):
    """The cupy engine serves NumPy's arrays too: it computes over its arguments' namespace."""
    if request.param not in (*engines.available_engines(), "cupy"):
        pytest.skip(f"the {request.param} engine is not installed here")
    return engines.engine_module(request.param)


def strides(x):
    """In elements, of the axes whose stride means anything."""
    return [s // x.itemsize for s, n in zip(x.strides, x.shape, strict=True) if n != 1]


def is_dense(x):
    order = sorted(range(x.ndim), key=lambda i: -x.strides[i])
    return x.transpose(order).flags.c_contiguous


def test_offers_every_function(engine):
    for name in engines.CONTRACT:
        assert hasattr(engine, name)


@pytest.mark.parametrize("name", ["numba", "cupy"])
def test_arguments_are_the_stubs(name):
    if name == "numba" and name not in engines.available_engines():
        pytest.skip("numba is not installed here")
    module = engines.engine_module(name)
    for function in engines.CONTRACT:
        if function in SIGNATURES:
            found = list(inspect.signature(getattr(module, function)).parameters)
            assert found == SIGNATURES[function]


@pytest.fixture(params=["numba", "cupy"])
def both(request):
    if {"native", request.param} - {*engines.available_engines(), "cupy"}:
        pytest.skip("one engine alone is installed here")
    return engines.engine_module("native"), engines.engine_module(request.param)


def test_engines_name_the_same_ops(both):
    native, numba = both
    assert dict(native.UNARY_OPS) == numba.UNARY_OPS
    assert set(native.BINARY_OPS) == set(numba.BINARY_OPS)


def test_every_public_op_has_a_case():
    known = {case.op for case in of_family("pointwise")}
    module = engines.engine_module()
    ops = set(module.UNARY_OPS) | set(module.BINARY_OPS)
    assert {op for op in ops if hasattr(tilework.functional, op)} <= known


def test_engines_agree_on_every_op(both):
    """Those that no public function calls, too."""
    rng = np.random.default_rng(0)
    x, other = (np.abs(normal(rng, "float64", 67)) + 0.5 for _ in range(2))
    forms = {
        **{op: lambda e, op=op: e.binary_forward(op, x, other) for op in both[0].BINARY_OPS},
        **{op: lambda e, op=op: e.unary_forward(op, x) for op in both[0].UNARY_OPS},
        **{f"{op}'": lambda e, op=op: e.unary_backward(op, other, x) for op in both[0].UNARY_OPS},
    }
    for name, form in forms.items():
        ours, theirs = (form(engine) for engine in both)
        bound = 8 * eps("float64") * (np.abs(theirs) + 1)
        assert_close(ours, theirs, bound, name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_outputs_are_fresh_and_in_the_dense_layout_of_the_input(engine, layout, dtype):
    x = laid_out(np.abs(normal(np.random.default_rng(0), dtype, *SHAPE)) + 1, layout)
    saved = engine.unary_forward("gelu", x)
    outputs = {
        "unary": saved,
        "unary_backward": engine.unary_backward("gelu", saved, x),
        "binary": engine.binary_forward("add", x, x),
        "with a number": engine.binary_forward("mul", x, 2.0),
        "dropout": engine.dropout_forward(x, 0.5, 1, 2),
        "softmax": engine.softmax_forward(x, 1, False),
        "distance": engine.distance_forward("square", x, x, 0.0, "none"),
    }
    dense = is_dense(x)
    for name, y in outputs.items():
        assert is_dense(y), name
        assert y.dtype == x.dtype, name
        assert not np.shares_memory(y, x), name
        if dense:
            assert strides(y) == strides(x), name
        else:
            assert y.flags.c_contiguous, name


@pytest.mark.parametrize("layout", LAYOUTS[:-1])
def test_matmul_writes_and_adds_to_out(engine, layout):
    rng = np.random.default_rng(0)
    a, b = normal(rng, "float64", 5, 7), normal(rng, "float64", 7, 9)
    out = laid_out(np.ones((5, 9)), layout)
    assert engine.matmul(a, b, out) is out
    np.testing.assert_allclose(out, a @ b, rtol=1e-12, atol=1e-12)
    assert engine.matmul(a, b, out, True) is out
    np.testing.assert_allclose(out, 2 * (a @ b), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS[:-1])
def test_accumulate_adds_in_place(engine, layout):
    x = laid_out(np.ones(SHAPE, np.float32), layout)
    source = np.arange(x.size, dtype=np.float32).reshape(SHAPE)
    engine.accumulate_(x, source)
    np.testing.assert_array_equal(x, 1 + source)
    narrow = laid_out(np.ones(SHAPE, bfloat16), layout)
    few = (source % 16).astype(bfloat16)
    engine.accumulate_(narrow, few)
    np.testing.assert_array_equal(narrow, 1 + few)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_saves_what_the_backward_wants(engine, activation):
    rng = np.random.default_rng(0)
    x, weight, bias = (normal(rng, "float64", *shape) for shape in ((4, 6), (5, 6), (5,)))
    z = x @ weight.T + bias
    for y, saved in (
        engine.linear_forward(x, weight, bias, None, activation, True),
        engine.bias_activation_forward(x @ weight.T, bias, activation, True),
    ):
        if activation == "none":
            assert saved is None
        elif engine.UNARY_OPS[activation] == "output":
            np.testing.assert_array_equal(saved, y)
        else:
            np.testing.assert_allclose(saved, z, rtol=1e-12, atol=1e-12)
    assert engine.linear_forward(x, weight, bias, None, activation, False)[1] is None


def test_linear_backward_gives_what_is_asked_for(engine):
    rng = np.random.default_rng(0)
    grad, x, weight = (normal(rng, "float64", *shape) for shape in ((4, 5), (4, 6), (5, 6)))
    wanted = (grad @ weight, grad.T @ x, grad.sum(0), grad)
    for asked in np.ndindex(2, 2, 2, 2):
        found = engine.linear_backward(grad, x, weight, None, "none", *map(bool, asked))
        for ask, value, right in zip(asked, found, wanted, strict=True):
            if ask:
                np.testing.assert_allclose(value, right, rtol=1e-12, atol=1e-12)
            else:
                assert value is None


def test_packed_weights_give_the_same(engine):
    rng = np.random.default_rng(0)
    x, weight = normal(rng, "float32", 33, 70), normal(rng, "float32", 90, 70)
    packed = engine.pack_weight(weight)
    y, _ = engine.linear_forward(x, weight, None, None, "none", False, packed)
    wide, bound = x.astype("f8") @ weight.astype("f8").T, growth(70) * eps("float32")
    assert_close(y, wide, bound * (np.abs(x) @ np.abs(weight).T), "packed")
