"""Array ops take the namespace of their array: they run on a stand-in that never becomes NumPy's.

What an engine serves is served there by the engine in use, taken apart and put together: so every
family's cases run, but for what is named below. The answers are those on NumPy's arrays, bit for
bit.
"""

import ast
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework.arrays import as_array, is_array, namespace
from tilework.testing.cases import FAMILIES, of_family
from tilework.testing.runner import cotangent, failure, to_tensors
from tilework.testing.stand_in import StandIn, serving

LEAST = 390  # ops that run: it only grows
MOST = 8  # cases of one op, but with --full

# What runs on no stand-in, and why.
MAKES_ITS_OWN = "takes no array: it makes one, in the CPU's memory"
IS_THE_HOSTS = "goes over to the host, which is what it is for"
NO_KERNEL = "no kernel yet, and what it is written in the standard has not"
ITS_TABLES = "its tables are made in the CPU's memory"
ON_THE_CPU = "its state is made on the CPU, and no module moves yet"
LEFT_OUT = {
    MAKES_ITS_OWN: {
        *(f"creation/{name}" for name in (
            "zeros", "ones", "full", "empty", "eye", "arange", "linspace", "new_zeros", "new_ones",
            "new_full", "new_empty", "new_tensor", "tensor",
        )),
        *(f"random/{name}" for name in (
            "rand", "randn", "rand_like", "randn_like", "randint", "randperm", "bernoulli",
            "normal", "uniform_", "normal_", "get_rng_state", "set_rng_state", "initial_seed",
            "random_seed",
        )),
        "grids/tril_indices", "grids/triu_indices", "grids/combinations", "grids/block_diag",
        "activations/gumbel_softmax", "activations/RReLU", "activations/PReLU",
        *(f"schedules/{name}" for name in (
            "StepLR", "CosineAnnealingLR", "LambdaLR", "LRScheduler", "MultiStepLR",
            "ExponentialLR", "MultiplicativeLR", "ConstantLR", "LinearLR", "PolynomialLR",
            "CosineAnnealingWarmRestarts", "SequentialLR", "ChainedScheduler", "CyclicLR",
            "OneCycleLR", "ReduceLROnPlateau",
        )),
    },
    IS_THE_HOSTS: {
        "creation/from_numpy", "creation/from_dlpack",
        "sequence/ctc_beam_search_decode", "sequence/ctc_greedy_decode",
        *(f"tensor/{name}" for name in (
            "numpy", "__array__", "__dlpack__", "__dlpack_device__", "__init__", "cpu", "device",
            "get_device", "is_cpu", "is_cuda",
        )),
    },
    ON_THE_CPU: {
        "layers/BatchNorm1d", "layers/BatchNorm2d", "step/dqn", "step/q_learning",
        "step/mlp", "networks/lenet",
        *(f"models/{name}" for name in (
            "MLP", "LeNet5", "UNet", "CifarResNet", "ResNet", "FCN", "resnet20", "Seq2Seq",
            "BahdanauAttention", "LuongAttention", "SileroVAD", "LSTMLanguageModel", "SpeakerLSTM",
            "LSTMForecaster", "ESPCN", "ConvEmbedding", "AlexNet", "GoogLeNet", "MobileNetV2",
            "EfficientNet", "VGG",
            "Autoencoder", "SparseAutoencoder", "ConvAutoencoder",
            "AnomalyDetector", "VAE", "Perceptron", "MLPForecaster",
        )),
    },
    NO_KERNEL: {
        *(f"rearrange/{name}" for name in (
            "multinomial",
        )),
    },
    ITS_TABLES: {
        "embedding/rotary_embedding",
        *(f"models/{name}" for name in (
            "BertModel", "GPT2LMHeadModel", "GPT2Model", "LlamaForCausalLM", "LlamaModel",
            "T5ForConditionalGeneration", "ViTForImageClassification",
        )),
    },
}  # fmt: skip
# Whose answer is Python's, of which the case makes a tensor; the rest of the family tensor too.
SAYS = {"compare/allclose", "compare/allclose,", "compare/equal", "indexing/__contains__",
        "creation/as_tensor", "sequence/crf_decode"}  # fmt: skip
WHERE = {op: reason for reason, ops in LEFT_OUT.items() for op in ops}

# Modules that name NumPy, and why.
NAMES_NUMPY = {
    "functional/creation.py": MAKES_ITS_OWN,
    "functional/multinomial.py": NO_KERNEL,
    "functional/rearrange.py": NO_KERNEL,
    "functional/random.py": MAKES_ITS_OWN,
    "functional/truncated.py": MAKES_ITS_OWN,
    "functional/windows.py": "tables of shapes, which engines bring over",
    "functional/decoding.py": IS_THE_HOSTS,
    "functional/interpolate.py": "tables of shapes, which engines bring over",
    "nn/fuse.py": "a conversion, made once",
    "nn/init.py": MAKES_ITS_OWN,
    "nn/module.py": IS_THE_HOSTS,
    "nn/parameter.py": MAKES_ITS_OWN,
    "nn/utils/__init__.py": "numbers of norms",
    "nn/utils/rnn.py": "lengths are the host's",
    "optim/optimizer.py": IS_THE_HOSTS,
    "tensor.py": IS_THE_HOSTS,
    "printing.py": IS_THE_HOSTS,
    "sklearn.py": IS_THE_HOSTS,
    "dtypes.py": "dtypes are NumPy's, CuPy's too",
    "arrays.py": "the one place that knows NumPy's arrays by name",
}


def ops_of(family):
    cases = sorted((c for c in of_family(family) if c.quick), key=lambda c: c.op)
    return {op: list(found) for op, found in groupby(cases, key=lambda c: c.op)}


def stand_ins(tensors):
    for t in tensors:
        if isinstance(t, tw.Tensor):
            t._array = StandIn(t._array)
    return tensors


def held(x, family, op):
    """The elements of an answer, which is a stand-in but where Python's numbers are asked for."""
    if isinstance(x._array, StandIn):
        return x._array._held
    assert family == "tensor" or f"{family}/{op}" in SAYS, "the answer is NumPy's"
    return x._array


def answer(case, tensors):
    tw.manual_seed(0)
    return case.bind(tw, F, tensors)()


def check(case):
    dtype = case.dtypes[0]
    right = answer(case, to_tensors(case.make_inputs(dtype))).detach()._array
    with serving():
        found = answer(case, stand_ins(to_tensors(case.make_inputs(dtype)))).detach()
    np.testing.assert_array_equal(held(found, case.family, case.op), right)
    if not case.differentiable:
        return
    flowing, both = cotangent(case, right), []
    for dress in (tuple, stand_ins):
        tensors = dress(to_tensors(case.make_inputs(dtype), case.differentiable))
        with serving():
            answer(case, tensors).backward(dress((tw.from_numpy(flowing),))[0])
        both.append([tensors[i].grad for i in case.differentiable])
    for plain, grad in zip(*both, strict=True):
        assert isinstance(grad._array, StandIn)
        np.testing.assert_array_equal(grad._array._held, plain._array)


@pytest.mark.parametrize("family", FAMILIES)
def test_cases_run_on_arrays_that_are_not_numpys(family, request):
    most = None if request.config.getoption("--full") else MOST
    failures = []
    for op, cases in ops_of(family).items():
        for case in cases[:most] if f"{family}/{op}" not in WHERE else ():
            try:
                check(case)
            except Exception as found:
                failures.append(f"{case}: {type(found).__name__}: {found}"[:300])
    assert not failures, "\n".join(failures[:20])


def test_no_fewer_ops_run():
    ops = {f"{family}/{op}" for family in FAMILIES for op in ops_of(family)}
    assert set(WHERE) <= ops, "what is left out is named as it is called"
    assert len(ops - set(WHERE)) >= LEAST


def test_what_is_left_out_cannot_run():
    """An op that has learnt to run is taken off the list."""
    for name in WHERE:
        family, op = name.split("/")
        if WHERE[name] is MAKES_ITS_OWN:
            continue
        assert any(failure(check, case) for case in ops_of(family)[op]), name


def test_no_other_module_names_numpy():
    root = Path(tw.__file__).parent
    looked_at = [
        *root.glob("*.py"),
        *(f for d in ("functional", "nn", "optim") for f in (root / d).rglob("*.py")),
    ]
    naming = {
        str(file.relative_to(root))
        for file in looked_at
        for node in ast.walk(ast.parse(file.read_text()))
        if (
            isinstance(node, ast.Import)
            and any(a.name.split(".")[0] == "numpy" for a in node.names)
        )
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numpy")
    }
    assert naming == set(NAMES_NUMPY)


def test_a_stand_in_never_becomes_numpys_by_itself():
    x, plain = StandIn(np.ones(2)), np.ones(2)
    for convert in (
        lambda: np.asarray(x), lambda: np.isnan(x), lambda: np.add(x, 1.0), lambda: plain + x,
        lambda: x + plain, lambda: np.concatenate([x, x]), lambda: np.copyto(plain, x),
        lambda: namespace(x).add(x, plain), lambda: x[np.array([0])],
    ):  # fmt: skip
        with pytest.raises(TypeError):
            convert()
    assert isinstance(np.float32(2) * x, StandIn)
    assert float(x.sum()) == 2.0
    assert isinstance(x.sum(), StandIn)  # no number


def test_a_namespace_is_its_arrays():
    x = StandIn(np.ones(2))
    assert namespace(x) is x.__array_namespace__()
    for numpys in (np.ones(2), np.float32(1.0), np.ones(()), 2.0):
        assert namespace(numpys) is np
    assert is_array(x) and is_array(np.ones(()))  # noqa: PT018
    assert not any(map(is_array, (np.float32(1), 1.0, [1], tw.ones(1))))
    assert as_array(x) is not None and as_array(np.float32(1)).shape == ()  # noqa: PT018
    assert as_array(np.ones(1), tw.float32).dtype == tw.float32
