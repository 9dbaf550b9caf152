"""Products of vectors, matrices and tensors by their indices: each comes to a matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import autocasting
from tilework.autocasting import unlowered
from tilework.dtypes import is_float
from tilework.errors import error
from tilework.functional.cast import widening
from tilework.functional.common import axis, broadcasts, number, operand, whole
from tilework.functional.diagonals import diagonal
from tilework.functional.gemm import bmm, matmul, mm
from tilework.functional.lowering import lowered
from tilework.functional.shape import broadcast_to
from tilework.tensor import Tensor, tensor_method


@tensor_method()
@unlowered
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of products of two vectors (n,). ValueError on other shapes.

    >>> tw.dot(tw.tensor([1.0, 2.0]), tw.tensor([3.0, 4.0]))
    tensor(11.)
    """
    a, b = operand(input, "dot"), operand(tensor, "dot", "tensor")
    if a.ndim != 1 or a.shape != b.shape or a.dtype is not b.dtype:
        raise error(
            ValueError, "dot", "two vectors of one length and dtype",
            f"{a.shape} of {a.dtype} and {b.shape} of {b.dtype}", "flatten or convert them",
        )  # fmt: skip
    return matmul(a, b)


@tensor_method()
@unlowered
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix (n, m) times a vector (m,). ValueError on other shapes.

    >>> tw.mv(tw.ones(2, 3), tw.ones(3))
    tensor([3., 3.])
    """
    a, v = operand(input, "mv"), operand(vec, "mv", "vec")
    if a.ndim != 2 or v.ndim != 1 or a.shape[1] != v.shape[0]:
        raise error(
            ValueError, "mv", "a matrix (n, m) and a vector (m,)", f"{a.shape} and {v.shape}",
            "transpose or reshape them",
        )  # fmt: skip
    return matmul(a, v)


def _lowered(input: Any) -> Any:
    """What a product is added to, in the product's dtype under autocast."""
    return lowered(input)[0] if autocasting.active else input


def _added(op: str, input: Any, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    """beta * input + alpha * product, and without input where beta is 0, though it be NaN."""
    x = operand(input, op)
    if not broadcasts(x.shape, product.shape) or x.ndim > product.ndim:
        raise error(
            ValueError, op, f"an input that broadcasts to {product.shape}", x.shape, "reshape it"
        )
    alpha, beta = number(op, "alpha", alpha), number(op, "beta", beta)
    if not is_float(product.dtype):  # the numbers are of its dtype, as in PyTorch
        alpha, beta = int(alpha), int(beta)
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return product + (x if beta == 1 else x * beta)


@tensor_method()
@widening
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2), of matrices; input broadcasts, and is not read where
    beta is 0.

    >>> tw.addmm(tw.ones(2), tw.ones(1, 3), tw.ones(3, 2))
    tensor([[4., 4.]])
    """
    return _added("addmm", _lowered(input), mm(mat1, mat2), beta, alpha)


@tensor_method()
@unlowered
@widening
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec); input broadcasts, and is not read where beta is 0.

    >>> tw.addmv(tw.ones(2), tw.ones(2, 3), tw.ones(3))
    tensor([4., 4.])
    """
    return _added("addmv", input, mv(mat, vec), beta, alpha)


@tensor_method()
@widening
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2), of batches of matrices; input broadcasts, and is
    not read where beta is 0.

    >>> tw.baddbmm(tw.ones(1), tw.ones(1, 1, 3), tw.ones(1, 3, 2))
    tensor([[[4., 4.]]])
    """
    return _added("baddbmm", _lowered(input), bmm(batch1, batch2), beta, alpha)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The sum of products over axes of both: the last `dims` of a and the first of b, or the lists
    of axes `dims` = (of a, of b).

    An axis of length 1 broadcasts. ValueError where the lengths disagree.

    >>> tw.tensordot(tw.ones(2, 3), tw.ones(3, 4), dims=1).shape
    (2, 4)
    """
    op = "tensordot"
    x, y = operand(a, op, "a"), operand(b, op, "b")
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, (tuple, list)):
        both = [[d] if isinstance(d, int) else d for d in dims]
        over_x = [axis(op, d, x.ndim) for d in both[0]]
        over_y = [axis(op, d, y.ndim) for d in both[1]]
    else:
        count = whole(op, "dims", dims)
        if not 0 <= count <= min(x.ndim, y.ndim):
            raise error(ValueError, op, f"dims up to {min(x.ndim, y.ndim)}", count, "name the axes")
        over_x, over_y = list(range(x.ndim - count, x.ndim)), list(range(count))
    for i, j in zip(over_x, over_y, strict=False):  # 1 serves for any length
        x = x.sum(i, keepdim=True) if y.shape[j] == 1 else x
        y = y.sum(j, keepdim=True) if x.shape[i] == 1 else y
    lengths = [x.shape[i] for i in over_x]
    if lengths != [y.shape[i] for i in over_y]:
        raise error(
            ValueError, op, f"axes of b of the lengths {lengths}", [y.shape[i] for i in over_y],
            "name axes that match",
        )  # fmt: skip
    free_x = [i for i in range(x.ndim) if i not in over_x]
    free_y = [i for i in range(y.ndim) if i not in over_y]
    count = math.prod(lengths)
    left = x.permute(*free_x, *over_x).reshape(math.prod(x.shape[i] for i in free_x), count)
    right = y.permute(*over_y, *free_y).reshape(count, math.prod(y.shape[i] for i in free_y))
    shape = [x.shape[i] for i in free_x] + [y.shape[i] for i in free_y]
    return mm(left, right).reshape(shape)


# --- Einstein's sums ---


def _labels(part: str, x: Tensor) -> list[str]:
    """The names of an operand's axes; those under an ellipsis are numbers from the right."""
    before, dots, after = part.partition("...")
    if not (before + after).isalpha() and before + after:
        raise error(ValueError, "einsum", "letters, commas, an arrow and ...", part, "rename axes")
    hidden = x.ndim - len(before + after)
    if (hidden < 0) or (hidden and not dots):
        raise error(
            ValueError, "einsum", f"a letter for each axis of {x.shape}", part, "add or drop some"
        )
    return [*before, *(str(i) for i in range(hidden - 1, -1, -1)), *after]


def _once(x: Tensor, labels: list[str]) -> tuple[Tensor, list[str]]:
    """With each name once: of two axes of one name the diagonal is taken."""
    for name in dict.fromkeys(labels):
        while labels.count(name) > 1:
            i = labels.index(name)
            j = labels.index(name, i + 1)
            if x.shape[i] != x.shape[j]:
                raise error(
                    ValueError, "einsum", f"axes {name} of one length", x.shape, "check the letters"
                )
            x = diagonal(x, 0, i, j)
            labels = [n for k, n in enumerate(labels) if k not in (i, j)] + [name]
    return x, labels


def _summed(x: Tensor, labels: list[str], wanted: Any) -> tuple[Tensor, list[str]]:
    """Without the axes that nothing else names."""
    over = [i for i, name in enumerate(labels) if name not in wanted]
    return (x.sum(over) if over else x), [n for n in labels if n in wanted]


def _laid(x: Tensor, labels: list[str], order: list[str]) -> Tensor:
    """With the axes of `order`, which `labels` has, in that order."""
    return x.permute(*(labels.index(n) for n in order)) if order != labels else x


def _contract(
    a: tuple[Tensor, list[str]], b: tuple[Tensor, list[str]], later: set[str]
) -> tuple[Tensor, list[str]]:
    """Two operands as one: a product of matrices for each index that both have and later ones
    want."""
    (x, xs), (y, ys) = a, b
    x, xs = _summed(x, xs, {*ys, *later})
    y, ys = _summed(y, ys, {*xs, *later})
    shared = [n for n in xs if n in ys]
    size = {n: max(x.shape[xs.index(n)], y.shape[ys.index(n)]) for n in shared}
    x = broadcast_to(x, [size.get(n, x.shape[i]) for i, n in enumerate(xs)])
    y = broadcast_to(y, [size.get(n, y.shape[i]) for i, n in enumerate(ys)])
    batch = [n for n in shared if n in later]
    inner = [n for n in shared if n not in later]
    rows, columns = [n for n in xs if n not in shared], [n for n in ys if n not in shared]
    lengths = {
        **dict(zip(xs, x.shape, strict=True)), **dict(zip(ys, y.shape, strict=True))
    }  # fmt: skip

    def count(names: list[str]) -> int:
        return math.prod(lengths[n] for n in names)

    left = _laid(x, xs, batch + rows + inner).reshape(count(batch), count(rows), count(inner))
    right = _laid(y, ys, batch + inner + columns).reshape(
        count(batch), count(inner), count(columns)
    )
    names = batch + rows + columns
    # One term a sum needs no matrix product, whose rounding an integer's or a bool's would differ.
    product = bmm(left, right) if inner else left * right
    return product.reshape([lengths[n] for n in names]), names


@widening
def einsum(equation: Any, *operands: Any) -> Tensor:
    """The sums of products that an equation names: "ij,jk->ik" is a matrix product.

    A letter is an axis; those that the right side lacks are summed over; without an arrow it has
    those that stand once, in the order of the alphabet. "..." stands for the other axes, which
    broadcast, as axes of length 1 do. Operands may come as a list, or as
    einsum(x, [0, 1], y, [1, 2], [0, 2]). They are multiplied from left to right. ValueError where
    letters and shapes disagree.

    >>> tw.einsum("bij,bjk->bik", tw.ones(2, 3, 4), tw.ones(2, 4, 5)).shape
    (2, 3, 5)
    """
    if not isinstance(equation, str):
        equation, operands = _from_lists(equation, operands)
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    tensors = [operand(t, "einsum", f"operand {i}") for i, t in enumerate(operands)]
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(tensors):
        raise error(
            ValueError, "einsum", f"{len(parts)} operands for {equation!r}", len(tensors),
            "give one for each part",
        )  # fmt: skip
    named = [(t, _labels(p, t)) for t, p in zip(tensors, parts, strict=True)]
    hidden = sorted({n for _, ls in named for n in ls if n.isdigit()}, key=int, reverse=True)
    every = [n for _, ls in named for n in ls]
    if arrow:
        before, dots, after = right.partition("...")
        wanted = [*before, *(hidden if dots else []), *after]
    else:
        wanted = hidden + sorted(n for n in set(every) if every.count(n) == 1 and n.isalpha())
    if len(set(wanted)) != len(wanted) or not set(wanted) <= set(every):
        raise error(
            ValueError, "einsum", "letters of the operands on the right, each once", equation,
            "mend the right side",
        )  # fmt: skip
    _check_lengths(named, equation)
    held = [_once(t, ls) for t, ls in named]
    result = held[0]
    for i in range(1, len(held)):
        later = {*wanted, *(n for _, ls in held[i + 1 :] for n in ls)}
        result = _contract(result, held[i], later)
    x, labels = _summed(*result, wanted)
    return _laid(x, labels, wanted)


def _check_lengths(named: list[tuple[Tensor, list[str]]], equation: str) -> None:
    lengths: dict[str, int] = {}
    for t, labels in named:
        for name, n in zip(labels, t.shape, strict=True):
            if lengths.get(name, 1) not in (1, n) and n != 1:
                raise error(
                    ValueError, "einsum", f"one length for each letter of {equation!r}",
                    [tuple(t.shape) for t, _ in named], "check the letters",
                )  # fmt: skip
            lengths[name] = max(n, lengths.get(name, 1)) if n else 0


def _from_lists(first: Any, rest: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """einsum(x, [0, 1], ..., [0, 2]) as an equation."""
    given = [first, *rest]
    output = given.pop() if len(given) % 2 else None
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

    def text(places: Any) -> str:
        return "".join("..." if p is Ellipsis else alphabet[p] for p in places)

    equation = ",".join(text(places) for places in given[1::2])
    return equation + ("" if output is None else f"->{text(output)}"), tuple(given[::2])
