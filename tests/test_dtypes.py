"""Dtypes mix as PyTorch's do: one function decides, and a table made by rule holds it."""

import itertools

import numpy as np
import pytest

import tilework as tw
from tilework import dtypes

NAMES = ("bool", "uint8", "int32", "int64", "bfloat16", "float32", "float64")
DTYPES = [dtypes.check(getattr(dtypes, name), "test") for name in NAMES]

# torch.promote_types, row by column in the order of NAMES; symmetric, so the upper half is enough.
PROMOTED = """
bool  uint8 int32 int64 bfloat16 float32 float64
.     uint8 int32 int64 bfloat16 float32 float64
.     .     int32 int64 bfloat16 float32 float64
.     .     .     int64 bfloat16 float32 float64
.     .     .     .     bfloat16 float32 float64
.     .     .     .     .        float32 float64
.     .     .     .     .        .       float64
"""
TABLE = {
    (a, b): cell
    for a, row in zip(NAMES, PROMOTED.strip().splitlines(), strict=True)
    for b, cell in zip(NAMES, row.split(), strict=True)
    if cell != "."
}
PAIRS = list(itertools.product(NAMES, NAMES))
CATEGORY = {"bool": 0, "uint8": 1, "int32": 1, "int64": 1}  # floats: 2
NUMBERS = {"bool": True, "int64": 3, "float32": 0.5}  # a plain number, under the dtype it gets


def promoted(a, b):
    return TABLE[(a, b)] if (a, b) in TABLE else TABLE[(b, a)]


def mixed(strong, weak):
    """The rule between classes: the weaker one counts where its category is the higher."""
    higher = CATEGORY.get(weak, 2) > CATEGORY.get(strong, 2)
    return promoted(strong, weak) if higher else strong


def of(name, axes):
    return tw.ones((2,) * axes, dtype=getattr(dtypes, name))


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_tensors_of_every_pair_of_dtypes(a, b):
    assert tw.result_type(of(a, 1), of(b, 1)).name == promoted(a, b)
    assert tw.result_type(of(a, 0), of(b, 0)).name == promoted(a, b)
    assert tw.result_type(of(a, 1), of(b, 0)).name == mixed(a, b)
    assert tw.result_type(of(b, 0), of(a, 1)).name == mixed(a, b)


@pytest.mark.parametrize(("a", "kind"), list(itertools.product(NAMES, NUMBERS)))
@pytest.mark.parametrize("axes", [0, 1])
def test_numbers_are_weak(a, kind, axes):
    number = NUMBERS[kind]
    for form in (number, np.asarray(number).astype(kind)[()]):
        assert tw.result_type(of(a, axes), form).name == mixed(a, kind)
        if not (a == "bool" and kind == "bool"):
            assert (of(a, axes) * form).dtype.name == mixed(a, kind)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_the_table_is_pytorchs(a, b):
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
    ta, tb = getattr(torch, a), getattr(torch, b)
    assert str(torch.promote_types(ta, tb)) == f"torch.{promoted(a, b)}"
    for axes in itertools.product((0, 1), (0, 1)):
        wanted = torch.result_type(
            torch.ones((2,) * axes[0], dtype=ta), torch.ones((2,) * axes[1], dtype=tb)
        )
        assert f"torch.{tw.result_type(of(a, axes[0]), of(b, axes[1])).name}" == str(wanted)
    for number in NUMBERS.values():
        wanted = torch.result_type(torch.ones(2, dtype=ta), number)
        assert f"torch.{tw.result_type(of(a, 1), number).name}" == str(wanted)


@pytest.mark.parametrize("op", ["add", "mul", "div", "maximum", "pow"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_results_of_ops_have_the_dtype_of_the_table(op, a, b):
    wanted = promoted(a, b)
    if op == "div" and wanted not in ("bfloat16", "float32", "float64"):
        wanted = "float32"
    y = getattr(tw, op)(of(a, 1), of(b, 1))
    assert y.dtype.name == wanted
    assert y.dtype in DTYPES
    assert y.tolist() == ([2, 2] if op == "add" and wanted != "bool" else [1, 1])


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (1.0, "float32"),
        ([1, 2], "int64"),
        ([True], "bool"),
        ([1, 2.0], "float32"),
        ([], "float32"),
        (np.float64(1), "float64"),
        (np.zeros(1), "float64"),
        (np.zeros(1, np.int32), "int32"),
        ([np.float64(1)], "float64"),
    ],
)
def test_what_data_becomes(data, wanted):
    assert tw.tensor(data).dtype.name == wanted


def test_names_are_pytorchs():
    assert (tw.float, tw.double, tw.int, tw.long) == (tw.float32, tw.float64, tw.int32, tw.int64)
    assert tw.bool == np.bool_


@pytest.mark.parametrize("foreign", [np.float16, np.int8, np.complex64, ">f4"])
def test_foreign_dtypes_are_refused(foreign):
    with pytest.raises(TypeError, match=r"\[from_numpy\] expected a dtype among"):
        tw.from_numpy(np.zeros(1, foreign))


def test_casts_pass_gradients_in_the_source_dtype():
    x = tw.ones(2, requires_grad=True)
    (x.double() * 3).to(tw.bfloat16).sum().backward()
    assert x.grad.dtype == tw.float32
    assert x.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("of", [tw.nansum, tw.nanmean, tw.sum, tw.mean])
def test_a_sum_in_a_wider_dtype_keeps_its_digits(of):
    x = tw.tensor([1.0, 2.0**-9]).bfloat16()
    y = of(x, dtype=tw.float64)
    assert y.dtype is tw.float64
    assert y.item() == (1.0 + 2.0**-9) / (2 if "mean" in of.__name__ else 1)


def test_numbers_are_bits_of_the_tensors_dtype():
    x = tw.tensor([1, 44], dtype=tw.uint8)
    assert tw.bitwise_and(x, 300).tolist() == (x & 300).tolist() == [0, 44]


def test_bfloat16_ops_compute_in_float32_and_round_once():
    x = tw.tensor([1.0, 2.0**-7], dtype=tw.bfloat16)
    assert (x.sum() * 1).dtype == tw.bfloat16
    assert tw.softmax(x, 0).dtype == tw.bfloat16
    # 1 + 3 * 2^-9 rounds up in one step; adding 2^-9 three times in bfloat16 would stay at 1.
    tiny = tw.tensor([1.0, 2.0**-9, 2.0**-9, 2.0**-9], dtype=tw.bfloat16)
    assert tiny.sum().item() == 1.0 + 2.0**-7
