"""Exported models give their own answers in onnxruntime, or in ONNX's reference evaluator."""

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import models, nn
from tilework.nested import tensors_in

onnx = pytest.importorskip("onnx", reason="onnx is missing: pip install 'tilework[onnx]'")
from tilework.io import onnx as ours  # noqa: E402


def ids(*shape):
    return tw.randint(0, 50, shape)


class Masked(nn.Module):
    """Attention with a row that nothing is left of, by either kind of mask, and by causes."""

    def forward(self, x):
        allowed = tw.tensor([[True, False, True], [False, False, False], [True, True, True]])
        added = tw.zeros(3, 3).masked_fill(~allowed, float("-inf"))
        attend = F.scaled_dot_product_attention
        late = attend(x, x[:, :, :2], x[:, :, :2], is_causal=True, causal_alignment="bottom_right")
        return attend(x, x, x, allowed), attend(x, x, x, added), late


class Shuffled(nn.Module):
    """Views, joins and picks of every kind."""

    def forward(self, x):
        a, b = x.chunk(2, 1)
        y = tw.cat([a.transpose(1, 2), b.permute(0, 2, 1)], -1).unsqueeze(0)[0]
        y = tw.stack([y, y.flip(1)], 1)[:, -1].narrow(1, 0, 3)
        y = F.pad(y, (1, 2), value=3.0)[..., 1:] * 2 - 1 / (y[:, :, :1].abs() + 1)
        z = y.mean(-1, keepdim=True) + y.amax((1, 2), keepdim=True)
        return (
            tw.where(y > z, y, z).clamp(-1, 4),
            y.argmax(-1),
            tw.index_select(y, 2, tw.tensor([2, 0])),
        )


def activations():
    layers = [
        nn.SiLU(), nn.ReLU6(), nn.Hardswish(), nn.LeakyReLU(0.1), nn.ELU(), nn.GELU("tanh"),
        nn.GELU(), nn.Softplus(2.0), nn.Hardsigmoid(), nn.Hardtanh(), nn.PReLU(3), nn.Mish(),
        nn.Tanh(), nn.Sigmoid(), nn.LogSoftmax(1),
    ]  # fmt: skip
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding="same"), nn.BatchNorm2d(3), *layers)


def decoder():
    return nn.Sequential(
        nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
        nn.GroupNorm(2, 4), nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Upsample(scale_factor=2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    )  # fmt: skip


SMALL = {
    "lenet": (models.LeNet5, lambda: (tw.randn(2, 1, 28, 28),)),
    "mlp": (lambda: models.MLP([12, 7, 3], 0.1), lambda: (tw.randn(2, 3, 4),)),
    "resnet18": (lambda: models.resnet18(10, small_images=True), lambda: (tw.randn(2, 3, 16, 16),)),
    "resnet20": (models.resnet20, lambda: (tw.randn(2, 3, 16, 16),)),
    "unet": (lambda: models.UNet(2, 3, 4, 2), lambda: (tw.randn(2, 2, 16, 24),)),
    "espcn": (lambda: models.ESPCN(3), lambda: (tw.randn(2, 1, 8, 8),)),
    "embedding": (lambda: models.ConvEmbedding(28), lambda: (tw.randn(2, 1, 28, 28),)),
    "forecaster": (models.LSTMForecaster, lambda: (tw.randn(2, 12),)),
    "lstm-lm": (lambda: models.LSTMLanguageModel(50, 8, 16), lambda: (ids(2, 5),)),
    "bert": (
        lambda: models.BertModel(models.BertConfig(50, 16, 2, 2, 32, max_position_embeddings=16)),
        lambda: (ids(2, 6),),
    ),
    "gpt2": (
        lambda: models.GPT2LMHeadModel(models.GPT2Config(50, 16, 16, 2, 2)), lambda: (ids(2, 6),)
    ),
    "llama": (
        lambda: models.LlamaForCausalLM(models.LlamaConfig(50, 16, 32, 2, 4, 2)),
        lambda: (ids(2, 6),),
    ),
    "t5": (
        lambda: models.T5ForConditionalGeneration(models.T5Config(50, 16, 8, 32, 2, num_heads=2)),
        lambda: (ids(2, 6), ids(2, 4)),
    ),
    "vit": (
        lambda: models.ViTForImageClassification(
            models.ViTConfig(16, 2, 2, 32, image_size=28, patch_size=7, num_channels=1)
        ),
        lambda: (tw.randn(2, 1, 28, 28),),
    ),
    "transformer": (
        lambda: nn.Transformer(16, 2, 1, 1, 32, batch_first=True),
        lambda: (tw.randn(2, 5, 16), tw.randn(2, 4, 16)),
    ),
    "gru": (
        lambda: nn.GRU(4, 6, 2, batch_first=True, bidirectional=True), lambda: (tw.randn(2, 5, 4),)
    ),
    "lstm": (lambda: nn.LSTM(4, 6, 2), lambda: (tw.randn(5, 2, 4),)),
    "rnn": (lambda: nn.RNN(4, 6, nonlinearity="relu"), lambda: (tw.randn(5, 2, 4),)),
    "activations": (activations, lambda: (tw.randn(2, 3, 6, 6),)),
    "decoder": (decoder, lambda: (tw.randn(2, 3, 5, 5),)),
    "uneven": (lambda: nn.AdaptiveAvgPool2d((6, 2)), lambda: (tw.randn(2, 3, 9, 5),)),
    "uneven row": (lambda: nn.AdaptiveAvgPool1d(4), lambda: (tw.randn(2, 3, 7),)),
    "masked": (Masked, lambda: (tw.randn(2, 2, 3, 4),)),
    "views": (Shuffled, lambda: (tw.randn(2, 4, 3),)),
}  # fmt: skip
SMALL |= {
    "autoencoder": (lambda: models.Autoencoder([64, 8, 3]), lambda: (tw.rand(2, 1, 8, 8),)),
    "convolutional": (lambda: models.ConvAutoencoder(8, 3, 4), lambda: (tw.rand(2, 1, 8, 8),)),
    "sparse": (lambda: models.SparseAutoencoder([64, 8, 3]), lambda: (tw.rand(2, 1, 8, 8),)),
    "vae": (lambda: models.VAE([64, 8, 3]), lambda: (tw.rand(2, 1, 8, 8),)),
    "anomaly": (lambda: models.AnomalyDetector([64, 8, 3]), lambda: (tw.rand(2, 1, 8, 8),)),
    "mlp-forecaster": (lambda: models.MLPForecaster(12), lambda: (tw.randn(2, 12),)),
    "perceptron": (lambda: models.Perceptron(5), lambda: (tw.randn(2, 5),)),
    "seq2seq": (
        lambda: models.Seq2Seq(models.Seq2SeqConfig(50, 50, 4, 8)), lambda: (ids(2, 4), ids(2, 3))
    ),
    "luong": (
        lambda: models.Seq2Seq(models.Seq2SeqConfig(50, 50, 4, 8, attention="general")),
        lambda: (ids(2, 4), ids(2, 3)),
    ),
    "silero": (models.SileroVAD, lambda: (tw.randn(2, 576),)),
    "vgg": (
        lambda: models.VGG([1] * 5, 4, width=1 / 16, in_channels=1, pooled=1),
        lambda: (tw.randn(2, 1, 32, 32),),
    ),
}  # fmt: skip
IMAGES = {"num_classes": 10, "in_channels": 1}
SMALL |= {
    "alexnet": (lambda: models.AlexNet(width=1 / 8, **IMAGES), lambda: (tw.randn(2, 1, 64, 64),)),
    "googlenet": (
        lambda: models.GoogLeNet(width=1 / 8, **IMAGES), lambda: (tw.randn(2, 1, 32, 32),)
    ),
    "mobilenet": (
        lambda: models.MobileNetV2(width_mult=0.25, **IMAGES), lambda: (tw.randn(2, 1, 32, 32),)
    ),
    "efficientnet": (
        lambda: models.EfficientNet(0.25, 0.4, **IMAGES), lambda: (tw.randn(2, 1, 32, 32),)
    ),
}  # fmt: skip
NOT_FIRST = ("rnn", "lstm")  # whose batch axis is the second


# What onnx's own evaluator, the judge where there is no onnxruntime, does not know.
BEYOND_REFERENCE = {
    "rnn": "it has no Relu in an RNN",
    "googlenet": "it rounds the size of a MaxPool with ceil_mode otherwise than the standard",
}


def judged(proto, inputs, name=None):
    arrays = {x.name: a.numpy() for x, a in zip(proto.graph.input, inputs, strict=True)}
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        if name in BEYOND_REFERENCE:
            pytest.skip(f"onnxruntime is missing, and onnx's evaluator: {BEYOND_REFERENCE[name]}")
        return ReferenceEvaluator(proto).run(None, arrays)
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=providers).run(
        None, arrays
    )


def assert_alike(found, model, inputs):
    model.eval()
    with tw.no_grad():
        wanted = list(tensors_in(model(*inputs)))
    assert len(found) == len(wanted)
    for mine, theirs in zip(wanted, found, strict=True):
        mine = mine.numpy()
        assert (theirs.shape, theirs.dtype) == (mine.shape, mine.dtype)
        # Sums of some hundred products through some twenty layers.
        scale = np.abs(mine).max(initial=1.0)
        away = np.abs(np.subtract(mine, theirs, dtype=np.float64))
        assert away.max(initial=0) <= 512 * np.finfo(np.float32).eps * scale


@pytest.mark.parametrize("name", SMALL)
def test_the_same_answers(name):
    tw.manual_seed(0)
    make, draw = SMALL[name]
    model, inputs = make(), draw()
    training = model.training
    proto = ours.export(model, inputs)
    assert model.training == training
    assert_alike(judged(proto, inputs, name), model, inputs)
    again = draw()  # nothing of the example itself is in it
    assert_alike(judged(proto, again, name), model, again)


@pytest.mark.parametrize("name", [n for n in SMALL if n not in NOT_FIRST])
def test_a_batch_of_any_size(name):
    tw.manual_seed(0)
    make, draw = SMALL[name]
    model, inputs = make(), draw()
    names = ["input"] if len(inputs) == 1 else [f"input_{i}" for i in range(len(inputs))]
    proto = ours.export(model, inputs, dynamic_axes={n: {0: "batch"} for n in names})
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    more = tuple(tw.cat([a, b, a[:1]]) for a, b in zip(inputs, draw(), strict=True))
    assert_alike(judged(proto, more, name), model, more)


def test_names(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    path = tmp_path / "model.onnx"
    proto = ours.export(
        model, tw.ones(2, 3), path, input_names=["features"], output_names=["scores"]
    )
    assert onnx.load(path) == proto
    assert [x.name for x in proto.graph.initializer] == ["0.weight", "0.bias"]
    assert (proto.graph.input[0].name, proto.graph.output[0].name) == ("features", "scores")
    assert [node.op_type for node in proto.graph.node] == ["Gemm", "Relu"]


def test_outputs_that_are_inputs_or_constants():
    class Odd(nn.Module):
        def forward(self, x):
            y = x + 1
            return x, y, y, tw.arange(3)

    x = tw.ones(2)
    assert_alike(judged(ours.export(Odd(), x), (x,)), Odd(), (x,))


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


def grown(x):
    y = x * 1
    z = y
    y += 1
    return nn.ReLU(inplace=True)(y) + z.mul_(2)


def filled_constant(x):
    mask = tw.zeros(3)
    mask[1] = 1.0
    return x + mask


@pytest.mark.parametrize("function", [grown, filled_constant])
def test_writes_that_have_a_form(function):
    x = tw.randn(2, 3)
    assert_alike(judged(ours.export(Does(function), x), (x,)), Does(function), (x,))


def set_by_index(x):
    y = x.clone()
    y[:, 0] = 0.0
    return y


def written_through_a_view(x):
    y = x * 1
    y.view(-1).mul_(2)
    return y


def shown_by_a_view(x):
    y = x * 1
    view = y[:, :2]
    y.add_(1)
    return view


def constant_given_an_input(x):
    y = tw.zeros(2, 3)
    y.copy_(x)
    return y


def constant_written_after_its_use(x):
    mask = tw.zeros(3)
    y = x + mask
    mask[1] = 1.0
    return y


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (set_by_index, "__setitem__"),
        (written_through_a_view, "mul_"),
        (shown_by_a_view, "add_"),
        (constant_given_an_input, "copy_"),
        (constant_written_after_its_use, "__setitem__"),
        (lambda x: (x * 1).index_fill_(1, tw.tensor([0]), 0.0), "index_fill_"),
    ],
)
def test_writes_without_a_form_are_errors(function, name):
    with pytest.raises(NotImplementedError, match=rf"\[onnx.export\] .* got {name}"):
        ours.export(Does(function), tw.randn(2, 3))


class Packed(nn.Module):
    def forward(self, x):
        return nn.utils.rnn.pack_padded_sequence(x, [2, 1])


class Windowed(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, window=(2, 2))


class Hidden(nn.Module):
    def forward(self, x):
        return tw.from_numpy(x.numpy() * 2)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: ours.export(Windowed(), tw.ones(1, 1, 4, 2)), NotImplementedError, "scaled_dot"),
        (lambda: ours.export(Packed(), tw.ones(2, 2, 3)), NotImplementedError, "pack_padded"),
        (lambda: ours.export(nn.ReLU(), [1.0]), TypeError, "float"),
        (lambda: ours.export(nn.ReLU(), ()), TypeError, "none"),
        (lambda: ours.export(nn.ReLU(), tw.ones(2), input_names=[]), ValueError, "1 input_names"),
        (
            lambda: ours.export(nn.ReLU(), tw.ones(2, 2), dynamic_axes={"input": {1: "n"}}),
            ValueError,
            "first axes",
        ),
    ],
)
def test_errors(call, kind, words):
    with pytest.raises(kind, match=r"\[onnx.export\]") as found:
        call()
    assert words in str(found.value)
