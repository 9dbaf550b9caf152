"""Tensor itself: what it tells, how it converts, copies and compares."""

import ast
import copy
import importlib
import inspect
import operator
import pickle

import numpy as np
import pytest

import tilework as tw
from tilework import engines, nn, tape

tensor_module = importlib.import_module("tilework.tensor")  # the package has a function so called


def test_reading_shape_dtype_and_numbers():
    x = tw.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert x.shape == (2, 3)
    assert x.size() == (2, 3)
    assert x.size(-1) == 3
    assert (x.ndim, x.dim(), x.numel(), len(x)) == (2, 2, 6, 2)
    assert x.stride() == (3, 1)
    assert x.T.stride() == (1, 3)
    assert x.is_contiguous()
    assert not x.T.is_contiguous()
    assert x.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert [row.tolist() for row in x] == x.tolist()
    assert x[1, 2].item() == 6.0
    assert float(x[0, 0]) == 1.0
    assert int(x[1, 0]) == 4
    assert bool(tw.tensor([0.5]))
    assert list(range(5))[tw.tensor(2)] == 2
    assert f"{tw.tensor(1.25):.1f}" == "1.2"


@pytest.mark.parametrize("convert", [bool, float, int, tw.Tensor.item])
def test_a_tensor_of_many_elements_is_no_number(convert):
    with pytest.raises(ValueError, match=r"one element; got shape \(2,\)"):
        convert(tw.zeros(2))


def test_zero_axes_have_no_length_and_no_items():
    with pytest.raises(TypeError, match="0-d"):
        len(tw.tensor(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(tw.tensor(1.0))


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: tw.tensor([1.0, 2.5]), "tensor([1.0, 2.5])"),
        (lambda: tw.tensor([1, 2]), "tensor([1, 2])"),
        (lambda: tw.tensor([1.0], dtype=tw.float64), "tensor([1.], dtype=float64)"),
        (lambda: tw.tensor([1.0], dtype=tw.bfloat16), "tensor([1.], dtype=bfloat16)"),
        (lambda: tw.tensor(3.0, requires_grad=True), "tensor(3., requires_grad=True)"),
        (lambda: tw.ones(1, requires_grad=True).exp(), "tensor([2.7183], grad_fn=<exp>)"),
        (lambda: tw.zeros(0, 3), "tensor([], size=(0, 3))"),
    ],
)
def test_repr(made, text):
    assert repr(made()) == text


def test_equality_is_elementwise_and_hash_is_identity():
    x, y = tw.tensor([1, 2]), tw.tensor([1, 3])
    assert (x == y).tolist() == [True, False]
    assert (x != y).tolist() == [False, True]
    assert (x < 2).tolist() == [True, False]
    assert len({x, y, x}) == 2
    assert (x == None) is False  # noqa: E711
    assert x is not None


def test_tensor_copies_and_from_numpy_shares():
    array = np.zeros(2, np.float32)
    copied, shared = tw.tensor(array), tw.from_numpy(array)
    array[0] = 1
    assert copied.tolist() == [0.0, 0.0]
    assert shared.tolist() == [1.0, 0.0]


def test_the_constructor_shares_and_marks_the_storage_as_exposed():
    array = np.ones((64, 64), np.float32)
    x = tw.ones(1, 64)
    for make in (tw.Tensor, tw.from_numpy):
        weight = make(array)
        assert weight._storage.exposed
        with tw.no_grad():
            for value in (1, 2, 3, 4):
                array[...] = value
                # A cached packing of the weight would still hold an earlier value.
                assert tw.functional.linear(x, weight)[0, 0].item() == 64 * value
    assert not tw.tensor(array)._storage.exposed
    assert not (tw.from_numpy(array) + 1)._storage.exposed
    with pytest.raises(TypeError, match=r"\[Tensor\] expected a numpy.ndarray; got list"):
        tw.Tensor([1.0])
    with pytest.raises(TypeError, match=r"\[Tensor\] "):
        tw.Tensor(np.zeros(2, np.complex64))


def test_numpy_shares_and_marks_the_storage_as_exposed():
    x = tw.zeros(2)
    view = x[:1]
    assert not x._storage.exposed
    x.numpy()[0] = 5
    assert view.item() == 5
    assert view._storage.exposed
    for expose in (np.asarray, np.from_dlpack):
        y = tw.zeros(2)
        expose(y)
        assert y._storage.exposed
    with pytest.raises(RuntimeError, match=r"detach\(\)"):
        tw.zeros(1, requires_grad=True).numpy()


def test_arrays_and_tensors_mix_in_arithmetic():
    a = np.array([1.0, 2.0], np.float32)
    x = tw.tensor([3.0, 4.0])
    for mixed in (a + x, x + a):
        assert isinstance(mixed, tw.Tensor)
        assert mixed.tolist() == [4.0, 6.0]
    assert (np.float32(2) * x).tolist() == [6.0, 8.0]
    assert np.array(x, dtype=np.float64).dtype == np.float64


OPERATORS = {
    name: getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "pow", "floordiv", "mod", "matmul",
                 "lt", "le", "gt", "ge", "eq", "ne")
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_an_array_or_number_on_the_left_gives_a_tensor(name, requires_grad):
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 3, (2, 3, 3)).astype(np.float32)
    x = tw.tensor(b, requires_grad=requires_grad)
    function = OPERATORS[name]
    for left in (a, a[0, 0], 2.0) if name != "matmul" else (a,):
        found = function(left, x)
        assert isinstance(found, tw.Tensor)
        wanted = function(left, b)
        assert found.dtype == wanted.dtype
        slack = 4 * np.finfo(np.float32).eps * np.abs(wanted).max()
        np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=0, atol=slack)
    if name in ("add", "sub", "mul", "truediv", "pow", "matmul"):
        assert function(a, x).requires_grad is requires_grad


def test_array_matmul_passes_gradients_and_refuses_by_name():
    a = np.array([[1.0, 2.0]], np.float32)
    x = tw.ones(2, 1, requires_grad=True)
    (a @ x).sum().backward()
    assert x.grad.tolist() == [[1.0], [2.0]]
    with pytest.raises(TypeError, match=r"\[matmul\] .* one dtype"):
        a.astype(np.float64) @ x
    with pytest.raises(TypeError, match="unsupported operand"):
        [[1.0, 2.0]] @ x


NUMPY_NAMES = {
    "sum": {}, "mean": {}, "amax": {}, "amin": {}, "max": {}, "min": {}, "argmax": {},
    "argmin": {}, "var": {}, "std": {}, "logsumexp": {}, "all": {}, "any": {},
    "softmax": None, "log_softmax": None, "cumsum": None, "squeeze": None, "unsqueeze": None,
    "argsort": None, "sort": None, "unbind": None,
}  # fmt: skip
MORE_ARGUMENTS = {
    "topk": (2,), "chunk": (2,), "index_select": {"index": tw.tensor([1])},
    "gather": {"index": tw.tensor([[0], [1]])}, "narrow": {"start": 1, "length": 1},
}  # fmt: skip


def same(a, b):
    if isinstance(a, tuple):
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    return tw.equal(a, b)


@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_numpys_names_of_arguments(name):
    x = tw.tensor([[1.0, 3.0, 2.0], [6.0, 5.0, 4.0]])
    for function in (getattr(tw, name), getattr(tw.Tensor, name)):
        assert same(function(x, axis=1), function(x, dim=1))
        if NUMPY_NAMES[name] is not None:
            wanted = function(x, dim=1, keepdim=True)
            assert same(function(x, axis=1, keepdims=True), wanted)
            assert same(function(x, 1, keepdims=True), wanted)
        with pytest.raises(TypeError, match=rf"\[{name}\] expected dim once; got axis beside it"):
            function(x, dim=1, axis=1)
        with pytest.raises(TypeError):
            function(x, 1, axis=1)
        with pytest.raises(TypeError):
            function(x, axes=1)


@pytest.mark.parametrize("name", MORE_ARGUMENTS)
def test_numpys_axis_beside_other_arguments(name):
    x = tw.tensor([[1.0, 3.0, 2.0], [6.0, 5.0, 4.0]])
    more = MORE_ARGUMENTS[name]
    args, options = (more, {}) if isinstance(more, tuple) else ((), more)
    function = getattr(tw, name)
    assert same(function(x, *args, axis=1, **options), function(x, *args, dim=1, **options))


def test_numpys_axis_joins():
    x = tw.ones(2, 3)
    assert tw.cat([x, x], axis=1).shape == tw.concat([x, x], axis=1).shape == (2, 6)
    assert tw.stack([x, x], axis=2).shape == (2, 3, 2)


def test_a_value_error_that_is_not_about_shapes_stays(monkeypatch):
    def refuse(*_):
        raise ValueError("[add] for a reason of its own")

    monkeypatch.setattr(engines.ops, "binary_forward", refuse)
    with pytest.raises(ValueError, match="a reason of its own"):
        tw.ones(2) + tw.ones(2)
    with pytest.raises(ValueError, match=r"\[add\] expected shapes that broadcast"):
        tw.ones(2) + tw.ones(3)


def test_strangers_are_refused():
    with pytest.raises(TypeError):
        tw.zeros(2) + "a"
    with pytest.raises(TypeError):
        {} * tw.zeros(2)


@pytest.mark.parametrize("through", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("dtype", [tw.float32, tw.bfloat16, tw.int64])
def test_copies_keep_values_dtype_and_kind(through, dtype):
    x = tw.tensor([[1, 2], [3, 4]], dtype=dtype)
    y = through(x)
    assert y.dtype is x.dtype  # hot paths compare by identity
    assert tw.equal(x, y)
    y.zero_()
    assert x.tolist() == [[1, 2], [3, 4]]
    if dtype is tw.float32:
        p = through(nn.Parameter(x))
        assert isinstance(p, nn.Parameter)
        assert p.requires_grad


def test_a_shallow_copy_shares_memory_and_version():
    x = tw.tensor([1.0, 2.0])
    twin = copy.copy(x)
    twin.add_(1)
    assert x.tolist() == [2.0, 3.0]
    assert x._version == twin._version > 0


@pytest.mark.parametrize(
    ("data", "dtype"),
    [(range(3), tw.int64), ([range(2), (True, 0.5)], tw.float32), ([], tw.float32)],
)
def test_plain_sequences_follow_pytorchs_dtypes(data, dtype):
    assert tw.tensor(data).dtype == dtype


@pytest.mark.parametrize(
    ("data", "kind", "word"),
    [
        (None, TypeError, "NoneType"),
        ([1.0, "2"], TypeError, "str"),
        (1j, TypeError, "complex"),
        (2**70, ValueError, "int64"),
        ([[1], [2, 3]], ValueError, "rectangular"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(data, kind, word):
    with pytest.raises(kind, match=rf"\[tensor\] .*{word}"):
        tw.tensor(data)


def test_deepcopy_keeps_ties_and_refuses_results():
    p = tw.ones(1, requires_grad=True)
    a, b = copy.deepcopy([p, p])
    assert a is b
    with pytest.raises(RuntimeError, match="leaf"):
        copy.deepcopy(p * 2)
    with pytest.raises(RuntimeError, match="leaf"):
        pickle.dumps(p * 2)


def test_views_share_memory_and_version():
    x = tw.zeros(2, 3)
    views = [x[0], x.T, x.reshape(6), x.detach(), x.unsqueeze(0), x.expand(4, 2, 3)]
    assert x._version == 0
    x.add_(1)
    first = x._version
    assert first > 0
    assert all(v._version == first for v in views)
    views[0].zero_()
    assert x._version > first
    assert x.tolist() == [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    assert x.clone()._version == 0


def test_in_place_writes():
    x = tw.tensor([1.0, 2.0, 3.0])
    same = x
    x += 1
    x *= 2
    x -= tw.tensor([0.0, 1.0, 2.0])
    x /= 2
    assert x is same
    assert x.tolist() == [2.0, 2.5, 3.0]
    x[1:] = tw.tensor([7, 8])
    x[tw.tensor([True, False, False])] = -1
    assert x.tolist() == [-1.0, 7.0, 8.0]
    assert x.fill_(3).copy_(tw.tensor([1, 2, 3])).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.__iadd__(1),
        lambda x: x.__imul__(2),
        lambda x: x.__isub__(1),
        lambda x: x.__itruediv__(2),
        lambda x: x.__setitem__(0, 7),
        lambda x: x.fill_(3),
        lambda x: x.copy_(tw.zeros(2)),
        lambda x: x.normal_(),
    ],
)
def test_every_write_raises_the_version(write):
    x = tw.ones(2)
    for _ in range(2):
        before = x._version
        write(x)
        assert x._version > before


def test_in_place_writes_keep_shape_and_dtype():
    with pytest.raises(TypeError, match=r"\[add_\].*int64"):
        tw.tensor([1]).add_(0.5)
    with pytest.raises(ValueError, match=r"\[add_\].*\(1,\)"):
        tw.zeros(1).add_(tw.zeros(3))
    with pytest.raises(RuntimeError, match="frozen or expanded"):
        tw.zeros(1).expand(3).add_(1)


@pytest.mark.parametrize("op", ["split", "chunk", "narrow", "unbind"])
def test_no_axis_to_cut(op):
    arguments = {"split": (1,), "chunk": (1,), "narrow": (0, 0, 1), "unbind": ()}
    with pytest.raises(ValueError, match=rf"\[{op}\] .*0-d"):
        getattr(tw.tensor(1.0), op)(*arguments[op])


def test_a_0d_tensor_has_one_axis_to_move():
    assert tw.tensor(1.0).movedim(0, -1).shape == ()


def test_logsumexp_of_nothing_is_the_log_of_zero():
    assert tw.logsumexp(tw.zeros(2, 0), 1).tolist() == [-np.inf, -np.inf]
    assert tw.logsumexp(tw.zeros(0, 2), 1, keepdim=True).shape == (0, 1)


def test_bad_indices_name_the_op():
    with pytest.raises(IndexError, match=r"\[index\] expected an index within \(2,\)"):
        tw.zeros(2)[5]
    with pytest.raises(ValueError, match=r"\[setitem\]"):
        tw.zeros(2)[:] = tw.zeros(3)


def test_sizes_are_whole_numbers():
    for make in (
        lambda: tw.zeros(2.5),
        lambda: tw.ones(4).reshape("4"),
        lambda: tw.ones(4).view(tw.int32),
    ):
        with pytest.raises(TypeError, match="expected whole numbers"):
            make()
    assert tw.zeros(np.int64(2), tw.tensor(3)).shape == (2, 3)


def test_data_takes_a_tensor():
    with pytest.raises(TypeError, match=r"\[data\] expected a Tensor; got ndarray"):
        tw.ones(2).data = np.zeros(2)


# --- how the extension makes them ---


def slots(t):
    """What a tensor holds, but what it is alone in holding."""
    names = [n for n in tw.Tensor.__slots__ if not n.startswith("__")]
    held = {n: getattr(t, n) for n in names if hasattr(t, n)}
    storage = held.pop("_storage")
    return type(t), held, {n: getattr(storage, n) for n in type(storage).__slots__}


def in_python(name):
    """The function of tensor.py or tape.py that the extension's stands for."""
    module = tape if "record" in name else tensor_module
    scope = dict(vars(module))
    tree = ast.parse(inspect.getsource(module))
    node = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    exec(compile(ast.Module([node], []), module.__file__, "exec"), scope)
    return scope[name]


@pytest.mark.skipif(tensor_module.native is None, reason="the extension is not loaded here")
def test_the_extension_makes_the_same_tensors():
    array = np.ones((2, 3), np.float32)
    native, op = tensor_module.native, tw.autograd.Op("some", lambda *_: ())
    assert slots(native.fresh(array)) == slots(in_python("fresh")(array))
    storage = native.new_storage()
    twin = tensor_module.Storage()
    assert all(getattr(storage, n) == getattr(twin, n) for n in type(twin).__slots__)
    leaf = tw.ones(2, 3)
    laid = tw.empty(2, 3)
    laid._storage.layout = tensor_module.NATURAL
    for x in (leaf, tw.ones(2, requires_grad=True), leaf[0], nn.Parameter(tw.ones(2)), laid):
        assert slots(native.view_of(x, array)) == slots(in_python("view_of")(x, array))
        assert x._storage.shared
    node = (op, (leaf,), "saved", (leaf._storage,))
    for arguments in (node, node[:3], node[:2]):
        for y in (tw.ones(1), leaf[0]):
            found, known = copy.copy(y), copy.copy(y)
            assert native.record(found, *arguments) is found
            in_python("record")(known, *arguments)
            assert found._seq < known._seq
            found._seq = known._seq
            found._storage = known._storage
            assert slots(found) == slots(known)
    found = native.recorded(array, storage, *node)
    known = in_python("recorded")(array, storage, *node)
    assert found._storage is known._storage is storage
    assert 0 < found._seq < known._seq
    found._seq = known._seq
    assert slots(found) == slots(known)


@pytest.mark.skipif(tensor_module.native is None, reason="the extension is not loaded here")
def test_the_extension_refuses_what_is_no_tensor():
    native = tensor_module.native
    for call in (
        lambda: native.view_of(None, None),
        lambda: native.view_of(tw.ones(1)),
        lambda: native.view_of(object.__new__(tw.Tensor), None),
        lambda: native.record(np.ones(1), None, ()),
        lambda: native.record(tw.ones(1)),
        lambda: native.recorded(np.ones(1), None, None, (), None, ()),
        lambda: native.tensor_classes(int, int, int, None, None),
        lambda: native.tensor_classes(tw.Tensor, int, tensor_module.Storage, None, None),
    ):
        with pytest.raises((TypeError, AttributeError)):
            call()


def test_a_tensor_of_sizes_says_what_to_call():
    with pytest.raises(TypeError, match=r"\[Tensor\].*sizes, 2 and 3.*tilework\.empty"):
        tw.Tensor(2, 3)
