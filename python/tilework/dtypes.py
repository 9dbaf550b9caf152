"""The dtypes that tilework computes in, and the one rule for mixing them (PyTorch's).

The rule: operands fall in three classes, tensors with axes before 0-d tensors before plain numbers.
A lower class changes the result only where its category (bool < integer < float) is above that of
the classes before it; within a class the smallest dtype that holds both is taken.
"""

from __future__ import annotations

import builtins
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from tilework.errors import error, word

DType = np.dtype[Any]

float32: DType = np.dtype(np.float32)
float64: DType = np.dtype(np.float64)
bfloat16: DType = np.dtype(ml_dtypes.bfloat16)
int64: DType = np.dtype(np.int64)
int32: DType = np.dtype(np.int32)
uint8: DType = np.dtype(np.uint8)
bool: DType = np.dtype(np.bool_)
float = float32
double = float64
int = int32
long = int64

# Each dtype's category (bool 0, integer 1, float 2) and its rank within the category.
_ORDER: dict[DType, tuple[builtins.int, builtins.int]] = {
    bool: (0, 0),
    uint8: (1, 0),
    int32: (1, 1),
    int64: (1, 2),
    bfloat16: (2, 0),
    float32: (2, 1),
    float64: (2, 2),
}
SUPPORTED: tuple[DType, ...] = tuple(_ORDER)
_SINGLETON: dict[DType, DType] = {dtype: dtype for dtype in SUPPORTED}
_IDS = frozenset(map(id, SUPPORTED))  # NumPy takes longer over a dtype's hash
FLOATS: frozenset[DType] = frozenset({bfloat16, float32, float64})


def is_ours(value: object) -> builtins.bool:
    """Whether `value` is one of our dtypes, the object itself."""
    return id(value) in _IDS


def is_float(dtype: DType) -> builtins.bool:
    """Whether gradients can flow through `dtype`."""
    return dtype in FLOATS


def finfo(dtype: DTypeLike) -> Any:
    """NumPy's finfo, of bfloat16 too.

    >>> finfo(bfloat16).nmant
    7
    """
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def _known() -> str:
    return f"a dtype among {', '.join(map(str, SUPPORTED))}"


def check(dtype: DTypeLike, op: str) -> DType:
    """`dtype` as one of ours, else TypeError.

    >>> check("float32", "zeros")
    dtype('float32')
    """
    if id(dtype) in _IDS:
        return dtype  # type: ignore[return-value]
    try:
        found = np.dtype(dtype)
    except TypeError:
        fix = "name one of them; devices are 'cpu' and 'cuda'"
        raise error(TypeError, op, _known(), word(dtype), fix) from None
    singleton = _SINGLETON.get(found)
    if singleton is None:
        raise error(TypeError, op, _known(), found, "convert it with array.astype(...)")
    return singleton


def canonical(array: Any, op: str) -> Any:
    """`array` with its dtype as the singleton: hot paths compare dtypes by identity, which an
    unpickled array's does not pass. TypeError where the dtype is none of ours."""
    dtype = check(array.dtype, op)
    return array if array.dtype is dtype else array.view(dtype)


def of_number(value: object) -> DType:
    """The dtype that a plain number gets where nothing else decides.

    >>> of_number(1.5), of_number(2), of_number(True)
    (dtype('float32'), dtype('int64'), dtype('bool'))
    """
    if isinstance(value, (builtins.bool, np.bool_)):
        return bool
    if isinstance(value, (builtins.int, np.integer)):
        return int64
    return float32


def promote(a: DType, b: DType) -> DType:
    """The smallest dtype that holds both (`torch.promote_types`).

    >>> promote(int64, float32), promote(uint8, int32), promote(bfloat16, float32)
    (dtype('float32'), dtype('int32'), dtype('float32'))
    """
    return max(a, b, key=_ORDER.__getitem__)


def result_type(*operands: Any) -> DType:
    """The dtype of an elementwise op over tensors, arrays and numbers (`torch.result_type`).

    >>> result_type(np.zeros(3, np.int64), 2.5), result_type(np.zeros(3, np.float32), np.zeros(()))
    (dtype('float32'), dtype('float32'))
    """
    classes: list[DType | None] = [None, None, None]
    for operand in operands:
        shape = getattr(operand, "shape", None)
        if shape is None or isinstance(operand, np.generic):
            level, dtype = 2, of_number(operand)
        else:
            level, dtype = (0 if shape else 1), check(operand.dtype, "result_type")
        held = classes[level]
        classes[level] = dtype if held is None else promote(held, dtype)
    result: DType | None = None
    for found in classes:
        if result is None:
            result = found
        elif found is not None and _ORDER[found][0] > _ORDER[result][0]:
            result = promote(result, found)
    return float32 if result is None else result
