"""The ONNX standard's own tests, for the operators that we have: an independent judge.

Those of single nodes are made in memory; the wheel brings others, of PyTorch's layers, on disk.
onnx_known_failures.txt names those that fail, each with the reason. It only shrinks: a test in it
that passes fails the suite until its line is taken out.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the onnx wheel, which makes the node tests, is not installed")

import onnx

from tilework.dtypes import finfo, is_float

from .onnx_runner import DTYPES, OPS, array, run, runnable

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
LINES = Path(__file__).with_name("onnx_known_failures.txt").read_text().splitlines()
KNOWN_FAILURES = dict(line.split(": ", 1) for line in LINES if line and not line.startswith("#"))


# What images need, of one and two axes; the standard has them of three axes too, which also count.
IMAGE_FAMILIES = {
    "AveragePool",
    "BatchNormalization",
    "Col2Im",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "MaxPool",
    "Pad",
    "RMSNormalization",
    "Resize",
    "SpaceToDepth",
    "Upsample",
}


# What transformers need: every test of these runs but those of a dtype that we do not have.
SEQUENCE_FAMILIES = {
    "Attention",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "LayerNormalization",
    "RMSNormalization",
    "RotaryEmbedding",
    "Scatter",
    "ScatterElements",
    "ScatterND",
    "SwiGLU",
    "Swish",
    "TopK",
}


def operator_of(case):
    """A graph of several nodes goes by its last."""
    return case.model.graph.node[-1].op_type


@pytest.fixture(scope="module")
def every_test():
    """All that the standard makes."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference implementations divide by zero on purpose
        return collect_testcases(None)


@pytest.fixture(scope="module")
def node_tests(every_test):
    """{operator: its node tests}."""
    found = {}
    for case in every_test:
        if runnable(case.model):
            found.setdefault(operator_of(case), []).append(case)
    return found


class Stored:
    """A test of the wheel's data folder: model.onnx, and input_*.pb and output_*.pb beside it."""

    def __init__(self, folder):
        self.name = folder.name
        self.model = onnx.load(folder / "model.onnx")
        self.data_sets = [
            tuple(
                [onnx.load_tensor(path) for path in sorted(data.glob(f"{which}_*.pb"))]
                for which in ("input", "output")
            )
            for data in sorted(folder.glob("test_data_set_*"))
        ]


def stored_tests(kind):
    """Those of one kind that we have the operators for."""
    folders = sorted((DATA / kind).iterdir())
    return [case for case in map(Stored, folders) if runnable(case.model)]


def check(case):
    """Raises where an output differs from the standard's.

    Those are computed in float32 as well: both may be off by some eps of the largest element, for
    each of the sums of at most a few dozen terms that these tests make.
    """
    for inputs, outputs in case.data_sets:
        for found, wanted in zip(run(case.model, inputs), outputs, strict=True):
            actual, expected = found.detach().numpy(), array(wanted)
            assert actual.dtype == expected.dtype, f"{actual.dtype}, expected {expected.dtype}"
            assert actual.shape == expected.shape, f"{actual.shape}, expected {expected.shape}"
            if not is_float(expected.dtype):
                np.testing.assert_array_equal(actual, expected)
                continue
            bound = 16 * float(finfo(expected.dtype).eps)
            actual, expected = actual.astype(np.float64), expected.astype(np.float64)
            finite = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
            np.testing.assert_allclose(actual, expected, rtol=bound, atol=bound * finite)


def verdict(case):
    """Why the case counts against us; empty where it passes, or fails as known."""
    try:
        check(case)
    except Exception as failure:
        line = " ".join(str(failure).split())
        return (
            ""
            if case.name in KNOWN_FAILURES
            else f"{case.name}: {type(failure).__name__}: {line[:200]}"
        )
    if case.name in KNOWN_FAILURES:
        return f"{case.name} passes: take it out of onnx_known_failures.txt"
    return ""


@pytest.mark.parametrize("operator", sorted(OPS))
def test_node(operator, node_tests):
    failures = [verdict(case) for case in node_tests.get(operator, [])]
    assert not any(failures), "\n".join(filter(None, failures))


@pytest.mark.parametrize(("kind", "least"), [("pytorch-converted", 82), ("pytorch-operator", 30)])
def test_stored(kind, least):
    cases = stored_tests(kind)
    assert len(cases) >= least
    failures = [verdict(case) for case in cases]
    assert not any(failures), "\n".join(filter(None, failures))


def test_known_failures_name_tests(node_tests):
    names = {case.name for cases in node_tests.values() for case in cases}
    names |= {
        case.name
        for kind in ("pytorch-converted", "pytorch-operator")
        for case in stored_tests(kind)
    }
    assert set(KNOWN_FAILURES) <= names
    assert len(names) > 400  # what the wheel makes for our operators: a judge that is still there


def test_of_the_sequence_families_all_run(every_test):
    for case in every_test:
        node = case.model.graph.node
        if len(node) > 1 or node[0].op_type not in SEQUENCE_FAMILIES or runnable(case.model):
            continue
        values = (*case.model.graph.input, *case.model.graph.output)
        kinds = {value.type.tensor_type.elem_type for value in values}
        assert kinds - set(DTYPES), case.name  # float16, unsigned numbers


def test_of_the_image_families_95_percent_pass(node_tests):
    """Bicubic and antialiased resizing do not count: interpolate does not have them."""

    def concerns(case):
        node = case.model.graph.node[-1]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        return attributes.get("mode") != b"cubic" and not attributes.get("antialias")

    cases = [case for name in IMAGE_FAMILIES for case in node_tests[name] if concerns(case)]
    cases += [
        case for case in stored_tests("pytorch-converted") if operator_of(case) in IMAGE_FAMILIES
    ]
    passed = [case for case in cases if case.name not in KNOWN_FAILURES]
    assert len(cases) > 150
    assert len(passed) >= 0.95 * len(cases), f"{len(passed)} of {len(cases)}"
