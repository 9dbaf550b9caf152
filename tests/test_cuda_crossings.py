"""What waits for the device, or copies to it or from it, in each op's forward and backward: the ops
of one list, for the reasons that stand there, and no other."""

import fnmatch
import random

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework.engines import device
from tilework.testing import simulated
from tilework.testing.cases import FAMILIES, of_family
from tilework.testing.runner import DEVICES, cotangent, running_on, to_tensors

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())

LARGEST = 512  # elements of an input
# Whole networks, whose ops are the others'; what is made of what the host has, or is for the host.
LEFT_OUT = {"blocks", "creation", "models", "networks", "schedules", "step", "tensor"}
CROSS = {
    "tables of positions, which are of shapes alone": """
        pool/* interpolate/interpolate norm/local_response_norm layers/LocalResponseNorm
        layers/MaxPool* layers/AvgPool* layers/Adaptive* layers/Upsample embedding/rotary_embedding
        grids/combinations""",
    "the table of the parameters' addresses": "optim/SGD optim/Adam optim/AdamW",
    "what the host asked for": """
        compare/equal compare/allclose* indexing/__contains__ sequence/ctc_*_decode
        sequence/crf_decode""",
    "the program's own list": "indexing/getitem rearrange/multinomial",
    "sizes depend on values": """
        indexing/one_hot rearrange/repeat_interleave numbers/bincount numbers/histc recurrent/*
        varlen/varlen_attn""",
    "the way depends on values": """
        numbers/prod numbers/cumprod numbers/var_mean numbers/std_mean statistics/var statistics/std
        scatter/scatter_reduce losses/xlogy sequence/ctc_loss sequence/CTCLoss
        sequence/crf_log_likelihood sequence/CRF""",
    "values are looked at, and refused": """
        losses/binary_cross_entropy losses/BCELoss losses/gaussian_nll_loss losses/GaussianNLLLoss
        inplace/index_put_ layers/max_unpool2d layers/MaxUnpool2d embedding/embedding_bag
        random/bernoulli""",
    "the norm is compared on the host": "optim/clip_grad_norm_",
}
PATTERNS = [pattern for names in CROSS.values() for pattern in names.split()]


# Written over the array namespace, where a wait is soon written, and soon run.
QUICK = (
    "activations", "compare", "grids", "indexing", "inplace", "losses", "numbers", "operators",
    "pointwise", "random", "reduce", "statistics", "views",
)  # fmt: skip


def cases(families, most):
    """(family/op, case): a few small ones of each op."""
    for family in families:
        found = [c for c in of_family(family) if c.quick]
        for op in dict.fromkeys(c.op for c in found):
            small = [c for c in found if c.op == op and size(c) <= LARGEST]
            few = random.Random(op).sample(small, min(most, len(small)))
            yield from ((f"{family}/{op}", case) for case in few)


def size(case):
    return max((getattr(x, "size", 0) for x in case.make_inputs(case.dtypes[0])), default=0)


def crosses(case, served):
    """Whether anything goes over in the forward, or in the backward."""
    dtype = "float32" if "float32" in case.dtypes else case.dtypes[0]
    call = case.bind(tw, F, to_tensors(case.make_inputs(dtype), case.differentiable))
    served.crossings.clear()
    out = call()
    found = bool(served.crossings)
    if case.differentiable:
        flowing = tw.from_numpy(cotangent(case, out.detach().cpu().numpy())).to(out.device)
        served.crossings.clear()
        out.backward(flowing)
        found |= bool(served.crossings)
    return found


def crossing(families, most):
    with running_on(DEVICES[0]):
        return {op for op, case in cases(families, most) if crosses(case, device.provider)}


def test_what_crosses_is_known():
    found = crossing(QUICK, 2)
    assert {op for op in found if not any(fnmatch.fnmatchcase(op, p) for p in PATTERNS)} == set()


@pytest.mark.full
def test_what_crosses_is_all_that_is_listed():
    found = crossing([family for family in FAMILIES if family not in LEFT_OUT], 6)
    assert {op for op in found if not any(fnmatch.fnmatchcase(op, p) for p in PATTERNS)} == set()
    assert [p for p in PATTERNS if not fnmatch.filter(found, p)] == []


def test_what_is_not_asked_for_is_right_all_the_same(cuda):
    """Masks that hold nowhere, somewhere and everywhere: the device takes the long way always."""
    inf, nan = float("inf"), float("nan")
    for values in ([1.0, 2.0, 3.0], [0.0, -1.0, inf], [nan, 0.0, -inf], [0.0] * 3, [inf] * 3):
        for other in ([1.0, 5.0, 3.0], [0.0, inf, -inf], [inf] * 3):
            for name, op in WAYS.items():
                found = []
                for where in ("cpu", "cuda"):
                    x, y = (tw.tensor(v, device=where, requires_grad=True) for v in (values, other))
                    out = op(x, y)
                    out.sum().backward()
                    found.append([t.tolist() for t in (out, x.grad, y.grad) if t is not None])
                for a, b in zip(*found, strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=f"{name} {values} {other}")


WAYS = {
    "maximum": tw.maximum,
    "minimum": tw.minimum,
    "pow": tw.pow,
    "hypot": tw.hypot,
    "logaddexp": tw.logaddexp,
    "xlogy": tw.xlogy,
    "amax": lambda x, y: (x * y).amax(),
    "std": lambda x, y: (x * y).std(),
    "norm": lambda x, y: (x + y).norm(),
    "logsumexp": lambda x, y: (x - y).logsumexp(0),
    "nan_to_num": lambda x, y: (x * y).nan_to_num(),
    "median": lambda x, y: (x * y).median(),
    "with logits": lambda x, y: F.binary_cross_entropy_with_logits(x, y),
}


@pytest.fixture
def cuda():
    with simulated.device() as served:
        yield served


def test_a_number_alone_is_refused_as_a_divisor(cuda):
    x = tw.tensor([7, 8], device="cuda")
    cuda.crossings.clear()
    for divide in (lambda: x // 0, lambda: x % 0):
        with pytest.raises(ValueError, match="divisors other than 0"):
            divide()
    x // 2, x % x
    assert not cuda.crossings
