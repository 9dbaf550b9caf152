"""Cases of what a Tensor says of itself, of its casts and copies, and of its place on the tape."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case
from tilework.testing.inputs import LAYOUTS
from tilework.testing.rows import Row, few, flags, floats, given, integers, rows
from tilework.testing.tolerance import eps

SHAPE = (2, 3, 4)
ONE = (1, 1)
ONCE = {"dtypes": ("float32",)}
# The same numbers are said in another way by PyTorch, or not at all.
OURS: dict[str, Any] = {"peer": None}


def _said(of: Callable[[Any], Any]) -> Callable[..., Any]:
    """The call that gives what Python is told, as a tensor."""
    return lambda tw, F, x: tw.tensor(of(x))


def _sizes() -> Iterator[Row]:
    """label, what the tensor says, what is right"""
    table: tuple[tuple[str, Callable[[Any], Any], Any], ...] = (
        ("shape", lambda x: list(x.shape), [2, 3, 4]),
        ("size", lambda x: list(x.size()), [2, 3, 4]),
        ("size of an axis", lambda x: x.size(-1), 4),
        ("ndim", lambda x: x.ndim, 3),
        ("dim", lambda x: x.dim(), 3),
        ("numel", lambda x: x.numel(), 24),
        ("__len__", len, 2),
        ("is_floating_point", lambda x: x.is_floating_point(), True),
        ("is_leaf", lambda x: x.is_leaf, True),
        ("requires_grad", lambda x: x.requires_grad, False),
        ("grad", lambda x: x.grad is None, True),
        ("grad_fn", lambda x: x.grad_fn is None, True),
        ("device", lambda x: str(x.device) == "cpu" == x.device.type, True),
        ("device, no string", lambda x: x.device == "cpu", False),  # as in PyTorch
        ("is_cpu", lambda x: x.is_cpu, True),
        ("is_cuda", lambda x: x.is_cuda, False),
        ("get_device", lambda x: x.get_device(), -1),
        ("cpu", lambda x: x.cpu() is x, True),
        ("dtype", lambda x: x.dtype == x.detach().dtype, True),
        ("T", lambda x: list(x.mT.shape), [2, 4, 3]),
    )
    for label, of, right in table:
        for layout in LAYOUTS:
            yield (
                f"{label} ({layout})",
                given(floats(*SHAPE, layout=layout)),
                _said(of),
                lambda x, right=right: np.asarray(right),
            )
    views: tuple[tuple[str, Callable[[Any], Any], tuple[int, ...]], ...] = (
        ("contiguous", lambda x: x, (12, 4, 1)),
        ("transposed", lambda x: x.transpose(0, 2), (1, 4, 12)),
        ("expanded", lambda x: x[:, :, :1].expand(2, 3, 4), (12, 4, 0)),
        ("sliced", lambda x: x[:, 1:, ::2], (12, 4, 2)),
    )
    for word, view, strides in views:

        def of(tw: Any, view: Callable[[Any], Any] = view) -> Any:
            return view(tw.zeros(*SHAPE))

        yield (
            f"stride ({word})", given(), lambda tw, F, of=of: tw.tensor(list(of(tw).stride())),
            lambda right=strides: np.array(right), ONCE,
        )  # fmt: skip
        yield (
            f"stride of an axis ({word})", given(),
            lambda tw, F, of=of: tw.tensor(of(tw).stride(1)),
            lambda right=strides[1]: np.array(right), ONCE,
        )  # fmt: skip
        yield (
            f"is_contiguous ({word})", given(),
            lambda tw, F, of=of: tw.tensor(of(tw).is_contiguous()),
            lambda right=word == "contiguous": np.array(right), ONCE,
        )  # fmt: skip
    bytes_ = {"dtypes": ("float64",)}
    made = given(floats(*SHAPE))
    yield "element_size", made, _said(lambda x: x.element_size()), lambda x: np.array(8), bytes_
    yield "nelement", made, _said(lambda x: x.nelement()), lambda x: np.array(x.size), bytes_
    yield "ndimension", made, _said(lambda x: x.ndimension()), lambda x: np.array(x.ndim), bytes_
    yield "type", made, lambda tw, F, x: x.type(tw.float64), lambda x: x, bytes_
    yield "itemsize", made, _said(lambda x: x.itemsize), lambda x: np.array(8), bytes_
    yield "nbytes", made, _said(lambda x: x.nbytes), lambda x: np.array(192), bytes_
    yield (
        "is_floating_point of integers",
        given(integers(0, 5, 3)),
        _said(lambda x: x.is_floating_point()),
        lambda x: np.array(False),
        ONCE,
    )


def _numbers() -> Iterator[Row]:
    one, whole = given(floats(*ONE)), given(integers(-9, 9, *ONE))
    yield "item", one, lambda tw, F, x: tw.tensor(x.item(), dtype=x.dtype), lambda x: x[0, 0]
    yield "__float__", one, lambda tw, F, x: tw.tensor(float(x), dtype=x.dtype), lambda x: x[0, 0]
    yield "__int__", one, lambda tw, F, x: tw.tensor(int(x)), lambda x: np.array(int(x[0, 0]))
    yield "__bool__", one, lambda tw, F, x: tw.tensor(bool(x)), lambda x: np.array(True)
    yield (
        "__index__",
        whole,
        lambda tw, F, x: tw.tensor(range(-9, 9)[x.reshape(())]),
        lambda x: np.array(range(-9, 9)[int(x[0, 0])]),
        ONCE,
    )
    yield (
        "__format__",
        one,
        lambda tw, F, x: tw.tensor(float(f"{x[0, 0]:.17g}"), dtype=x.dtype),
        lambda x: x[0, 0],
    )
    yield (
        "tolist",
        given(floats(*SHAPE)),
        lambda tw, F, x: tw.tensor(x.tolist(), dtype=x.dtype),
        lambda x: x,
    )
    yield (
        "__repr__",
        given(floats(3, values=few)),
        lambda tw, F, x: tw.tensor("tensor([" in repr(x)),
        lambda x: np.array(True),
    )
    for layout in LAYOUTS:
        made = given(floats(*SHAPE, layout=layout))
        yield f"numpy ({layout})", made, lambda tw, F, x: tw.tensor(x.numpy().copy()), lambda x: x
        yield (
            f"__array__ ({layout})",
            made,
            lambda tw, F, x: tw.tensor(np.array(x)),
            lambda x: x,
            OURS,
        )
    made = given(floats(*SHAPE))
    yield ("__dlpack__", made, lambda tw, F, x: tw.tensor(np.array(np.from_dlpack(x))), lambda x: x)
    yield (
        "__dlpack_device__",
        made,
        lambda tw, F, x: tw.tensor(int(x.__dlpack_device__()[0])),
        lambda x: np.array(1),
    )
    yield "__init__", made, lambda tw, F, x: tw.Tensor(x.numpy()), lambda x: x, OURS


def _casts() -> Iterator[Row]:
    fine = {"tolerance": lambda t, expected, x: eps("float32") * np.abs(x), "differentiable": ()}
    coarse = {"tolerance": lambda t, expected, x: eps("bfloat16") * np.abs(x), "differentiable": ()}
    for layout in LAYOUTS:
        made = given(floats(*SHAPE, layout=layout))
        yield f"double ({layout})", made, lambda tw, F, x: x.double().to(x.dtype), lambda x: x
        yield f"float ({layout})", made, lambda tw, F, x: x.float().to(x.dtype), lambda x: x, fine
        yield (
            f"bfloat16 ({layout})",
            made,
            lambda tw, F, x: x.bfloat16().to(x.dtype),
            lambda x: x,
            coarse,
        )
        none = {"differentiable": ()}
        yield (
            f"long ({layout})",
            made,
            lambda tw, F, x: x.long(),
            lambda x: x.astype(np.int64),
            none,
        )
        yield f"int ({layout})", made, lambda tw, F, x: x.int(), lambda x: x.astype(np.int32), none
        yield f"bool ({layout})", made, lambda tw, F, x: x.bool(), lambda x: x.astype(bool), none
    yield (
        "type_as",
        given(floats(*SHAPE), flags(2)),
        lambda tw, F, x, m: x.type_as(m),
        lambda x, m: x.astype(bool),
        {"differentiable": ()},
    )
    yield (
        "to of integers",
        given(integers(-9, 9, 5)),
        lambda tw, F, x: x.to(tw.float32),
        lambda x: x.astype(float),
        {**ONCE, "differentiable": ()},
    )
    yield (
        "sum_to_size",
        given(floats(3, 4, 5)),
        lambda tw, F, x: x.sum_to_size(4, 1),
        lambda x: x.sum((0, 2))[:, None],
        {"tolerance": lambda t, expected, x: 8 * eps(t) * np.abs(x).sum((0, 2))[:, None]},
    )


def _copies() -> Iterator[Row]:
    for layout in LAYOUTS:
        made = given(floats(*SHAPE, layout=layout))
        yield f"clone ({layout})", made, lambda tw, F, x: x.clone(), lambda x: x
        yield f"contiguous ({layout})", made, lambda tw, F, x: x.contiguous(), lambda x: x
        none = {"differentiable": ()}
        yield f"detach ({layout})", made, lambda tw, F, x: x.detach(), lambda x: x, none
        yield f"data ({layout})", made, lambda tw, F, x: x.data, lambda x: x, none
        yield f"__copy__ ({layout})", made, lambda tw, F, x: copy.copy(x), lambda x: x, none
        yield f"__deepcopy__ ({layout})", made, lambda tw, F, x: copy.deepcopy(x), lambda x: x, none
        yield (
            f"__reduce__ ({layout})",
            made,
            lambda tw, F, x: pickle.loads(pickle.dumps(x)),
            lambda x: x,
            none,
        )


def _leaf(x: Any) -> Any:
    return x.detach().clone().requires_grad_()


def _gradient(tw: Any, F: Any, x: Any) -> Any:
    leaf = _leaf(x)
    (leaf * leaf).sum().backward()
    return leaf.grad


def _kept(tw: Any, F: Any, x: Any) -> Any:
    inner = _leaf(x) * 2
    inner.retain_grad()
    (inner * inner).sum().backward()
    return inner.grad


def _given(tw: Any, F: Any, x: Any) -> Any:
    leaf = _leaf(x)
    leaf.grad = x * 3
    (leaf * leaf).sum().backward()
    return leaf.grad


def _twice(x: Array) -> Array:
    return 2 * x


def _tape() -> Iterator[Row]:
    made = given(floats(*SHAPE))
    yield "backward", made, _gradient, _twice
    yield (
        "backward of a gradient",
        made,
        lambda tw, F, x: (lambda leaf: ((leaf * 2).backward(x), leaf.grad)[1])(_leaf(x)),
        _twice,
    )
    yield "retain_grad", made, _kept, lambda x: 4 * x
    yield (
        "grad set",
        made,
        _given,
        lambda x: 5 * x,
        {"tolerance": lambda t, expected, x: 2 * eps(t) * np.abs(expected)},
    )
    yield (
        "requires_grad_",
        made,
        lambda tw, F, x: tw.tensor(_leaf(x).requires_grad),
        lambda x: np.array(True),
    )


CASES: tuple[Case, ...] = (
    *rows("tensor", _sizes()),
    *rows("tensor", _numbers()),
    *rows("tensor", _casts(), differentiable=(0,)),
    *rows("tensor", _copies(), differentiable=(0,)),
    *rows("tensor", _tape()),
)
