"""summary: each layer's row, the sums, and a model that is left as it was."""

import pytest

import tilework as tw
from tilework import nn


class Branches(nn.Module):
    """One layer called twice, an output of several tensors, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)
        self.scale = nn.Parameter(tw.ones(4))

    def forward(self, x, y):
        return {"x": self.inner(x) * self.scale, "y": [self.inner(y)]}


def test_rows_and_sums():
    model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    found = tw.summary(model, (64, 784))
    rows = [(x.name, x.kind, x.output_shape, x.parameters, x.multiply_adds, x.activation_bytes)
            for x in found.layers]  # fmt: skip
    assert rows == [
        ("0", "Linear", (64, 100), 78500, 64 * 78400, 4 * 6400),
        ("1", "ReLU", (64, 100), 0, 0, 4 * 6400),
        ("2", "Linear", (64, 10), 1010, 64 * 1000, 4 * 640),
    ]
    assert found.parameters == found.trainable_parameters == 79510
    assert found.multiply_adds == 64 * 79400
    assert found.activation_bytes == 4 * (2 * 6400 + 640)


def test_shared_layers_and_several_inputs():
    found = tw.summary(Branches(), ((2, 4), (3, 4)))
    rows = [(x.name, x.output_shape, x.parameters, x.multiply_adds) for x in found.layers]
    assert rows == [("inner", (2, 4), 16, 32), ("inner", (3, 4), 0, 48), ("", (2, 4), 4, 0)]
    assert found.parameters == 20
    assert found.layers[2].activation_bytes == 4 * (8 + 12)


def test_recurrent_layers_meet_all_their_matrices_at_each_step():
    lstm = nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
    matrices = 2 * (20 * 3 + 20 * 2 + 2 * 5) + 2 * (20 * 4 + 20 * 2 + 2 * 5)
    assert tw.summary(lstm, (7, 2, 3)).multiply_adds == 14 * matrices
    assert tw.summary(nn.GRUCell(3, 5), (2, 3)).multiply_adds == 2 * 15 * 8


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Dropout(0.5), nn.ReLU()))
    model[1].eval()
    model[0].weight.requires_grad_(False)
    found = tw.summary(model.double(), [5, 3])
    assert [module.training for module in model.modules()] == [True, True, False, False, False]
    assert not any(module._forward_hooks for module in model.modules())
    assert found.trainable_parameters == 3
    assert found.layers[0].activation_bytes == 8 * 15
    with pytest.raises(ValueError, match="linear"):
        tw.summary(model, (5, 4))
    assert not any(module._forward_hooks for module in model.modules())


def test_table():
    text = str(tw.summary(nn.Sequential(nn.Linear(784, 100), nn.ReLU()), (64, 784)))
    head, *rows, total = text.splitlines()
    assert " ".join(head.split()) == "layer kind output parameters multiply-adds activation memory"
    assert rows[0].split() == ["0", "Linear", "64", "x", "100", "78,500", "5,017,600", "25", "KiB"]
    assert total.split() == ["total", "78,500", "5,017,600", "50", "KiB"]
    model = nn.utils.freeze(nn.Linear(2, 2))
    assert str(tw.summary(model, (1, 2))).endswith("6 parameters take no gradient")


@pytest.mark.parametrize("shape", [(), (1, 0), [(2, 4), 3], 5, ((2, 4), (-1, 4))])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match=r"\[summary\] expected .*; got .*: ."):
        tw.summary(Branches(), shape)


def test_a_tensor_is_an_input_itself():
    found = tw.summary(nn.Embedding(5, 3), tw.tensor([[1, 2]]))
    assert found.layers[0].output_shape == (1, 2, 3)
