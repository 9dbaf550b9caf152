"""Whole graphs of the onnx wheel, image networks without weights: what is wired as they are, and
computed as ONNX Runtime computes, where that is installed."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

import tilework as tw
from tilework import models

pytest.importorskip("onnx", reason="the onnx wheel, which brings the graphs, is not installed")

import onnx
from onnx import numpy_helper

from .onnx_runner import run

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
# The others of the wheel have linear layers of a hundred million weights, and nothing else new.
NAMES = ("densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet")


def with_weights(model, weight_of):
    """The model with weight_of(name, shape) for each weight, which the file makes of one number;
    None leaves it."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    blanks = [node for node in model.graph.node if node.op_type == "ConstantOfShape"]
    shapes = {node.output[0]: tuple(stored[node.input[0]]) for node in blanks}
    shapes |= {name: x.shape for name, x in stored.items() if x.dtype == np.float32}
    made = {name: weight_of(name, shape) for name, shape in shapes.items()}
    for node in blanks:
        if made[node.output[0]] is not None:
            model.graph.node.remove(node)
    kept = {name: x for name, x in stored.items() if made.get(name) is None}
    del model.graph.initializer[:]
    for name, x in (kept | {name: x for name, x in made.items() if x is not None}).items():
        model.graph.initializer.append(numpy_helper.from_array(x, name))
    weights = {t.name for t in model.graph.initializer}
    inputs = sorted(model.graph.input, key=lambda i: i.name in weights)  # the image first
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def image_of(model, rng):
    """A random image of the shape that the graph asks for."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return rng.standard_normal(shape).astype(np.float32)


def our_name(name):
    """Of resnet50's weight in the graph: its name in our state_dict."""
    kinds = {"w": "weight", "s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
    if found := re.fullmatch(r"gpu_0/(?:res_)?(conv1|pred)_(bn_)?(\w+)_0", name):
        layer = {"conv1": "bn1" if found[2] else "conv1", "pred": "fc"}[found[1]]
        return f"{layer}.{kinds[found[3]]}"
    found = re.fullmatch(r"gpu_0/res(\d)_(\d+)_branch(1|2[abc])_(bn_)?(\w+)_0", name)
    at = f"layer{int(found[1]) - 1}.{found[2]}"
    if found[3] == "1":
        return f"{at}.downsample.{int(bool(found[4]))}.{kinds[found[5]]}"
    number = "abc".index(found[3][1]) + 1
    return f"{at}.{'bn' if found[4] else 'conv'}{number}.{kinds[found[5]]}"


def test_resnet50_is_the_graphs():
    """Every weight of the graph has its place in our model, and the answers are the same."""
    rng = np.random.default_rng(0)
    tw.manual_seed(0)
    model = models.resnet50().eval()
    for name, value in model.state_dict().items():
        if name.endswith(("running_var", "bn3.weight")):
            value.uniform_(0.25, 0.75)
    state = {name: x.numpy() for name, x in model.state_dict().items()}
    used = set()

    def weight_of(name, shape):
        if not shape or "queue" in name:
            return None
        used.add(our_name(name))
        assert state[our_name(name)].shape == shape
        return np.ascontiguousarray(state[our_name(name)])

    graph = with_weights(onnx.load(LIGHT / "light_resnet50.onnx"), weight_of)
    assert used == {name for name in state if not name.endswith("num_batches_tracked")}
    image = image_of(graph, rng)
    (theirs,) = run(graph, [image])
    with tw.no_grad():
        ours = tw.softmax(model(tw.from_numpy(image)), 1).numpy()
    assert ours.std() > 1e-5  # classes differ, so that a comparison says something
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-3)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_graph_as_onnx_runtime(name):
    ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime, the judge, is not installed")
    rng = np.random.default_rng(0)

    def weight_of(name, shape):
        if len(shape) < 2 or "queue" in name:
            return None
        spread = math.sqrt(2.0 / math.prod(shape[1:]))
        return (rng.standard_normal(shape) * spread).astype(np.float32)

    graph = with_weights(onnx.load(LIGHT / f"light_{name}.onnx"), weight_of)
    image = image_of(graph, rng)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {graph.graph.input[0].name: image})
    (ours,) = run(graph, [image])
    assert theirs.std() > 1e-6
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-3, atol=1e-7)
