"""What a backward reads is guarded: over every case, each tensor is written between the passes, and
the backward either refuses or gives the gradients of what was there."""

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework.testing.cases import FAMILIES, of_family
from tilework.testing.runner import as_float64, cotangent, to_tensors

CASES = {
    (family, op): cases
    for family in FAMILIES
    for op in dict.fromkeys(case.op for case in of_family(family))
    if (cases := [c for c in of_family(family) if c.op == op and c.differentiable and c.quick])
}


def overwrite(t):
    """Writes other values of the same kind, indices within the same range, where `t` lies: numpy()
    might lay it elsewhere."""
    array = t.clone().numpy()
    if array.dtype == bool:
        new = ~array
    elif array.dtype.kind in "iu":
        new = np.roll(array.reshape(-1), 1).reshape(array.shape)
    else:
        new = array + 1
    with tw.no_grad():
        t.copy_(tw.tensor(new))


def gradients(case, written=None, create_graph=False, of=None):
    """The gradients of a case, of its tensors with the numbers `of`, whose tensor of a number, or
    result ("out"), was written in between; None where that was refused."""
    inputs = as_float64(case.make_inputs("float32"))
    of = case.differentiable if of is None else of
    tensors = to_tensors(tuple(x.copy() if hasattr(x, "copy") else x for x in inputs), of)
    out = case.bind(tw, F, tensors)()
    seed = tw.tensor(cotangent(case, out.detach().clone().numpy()))
    wanted = [tensors[i] for i in of]
    if written is not None:
        target = out if written == "out" else tensors[written]
        if not target._array.flags.writeable:  # an expanded one, which nobody can write to
            return None
        overwrite(target.detach())
    try:
        found = tw.autograd.grad(out, wanted, seed, create_graph=create_graph, allow_unused=True)
    except RuntimeError as reason:
        if written is not None and "in-place operation has modified" in str(reason):
            return None
        if create_graph and "create_graph=True" in str(reason):
            return None
        raise
    return [None if g is None else g.detach().numpy() for g in found]


def unguarded(case, create_graph=False, of=None):
    """The writes that went into a gradient unseen."""
    found = []
    inputs = case.make_inputs("float32")
    places = [i for i, x in enumerate(inputs) if isinstance(x, np.ndarray) and x.size]
    right = gradients(case, create_graph=create_graph, of=of)
    if right is None:
        return []
    for place in (*places, "out"):
        got = gradients(case, place, create_graph, of)
        if got is not None and not all(
            a is b or np.array_equal(a, b, equal_nan=True) for a, b in zip(got, right, strict=True)
        ):
            by = "" if of is None else f", by {of[0]} alone"
            found.append(f"{case}: {place}{by}{', recorded' if create_graph else ''}")
    return found


@pytest.mark.parametrize(("family", "op"), CASES)
def test_writes_are_seen(family, op):
    found = [
        line
        for case in CASES[family, op]
        for create_graph in (False, True)
        for line in unguarded(case, create_graph)
    ]
    assert not found, "\n".join(found)


def spread(cases, most):
    """So many of the cases, from the first to the last."""
    return [cases[i * len(cases) // most] for i in range(most)] if len(cases) > most else cases


@pytest.mark.parametrize(("family", "op"), CASES)
def test_writes_to_constants_are_seen(family, op):
    """One operand at a time requires grad: what is kept of the others is guarded as well."""
    found = [
        line
        for case in spread(CASES[family, op], 8)
        if len(case.differentiable) > 1
        for i in case.differentiable
        for line in unguarded(case, of=(i,))
    ]
    assert not found, "\n".join(found)
