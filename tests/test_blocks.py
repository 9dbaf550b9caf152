"""What holds parameters, and initialisers of whole matrices."""

import numpy as np
import pytest

import tilework as tw
from tilework import nn


def test_parameter_lists():
    held = nn.ParameterList([tw.ones(2), nn.Parameter(tw.zeros(3))])
    held.append(tw.full((1,), 5.0))
    assert [n for n, _ in held.named_parameters()] == ["0", "1", "2"]
    assert all(isinstance(p, nn.Parameter) for p in held)
    assert held[-1].tolist() == [5.0]
    held[0] = tw.zeros(4)
    held += [tw.ones(1)]
    assert list(held.state_dict()) == ["0", "1", "2", "3"]
    assert held[0].shape == (4,)
    assert len(held[1:3]) == 2
    with pytest.raises(IndexError, match=r"^\[ParameterList\] expected an index within 4"):
        held[4]
    with pytest.raises(TypeError, match=r"^\[ParameterList\]"):
        held.append(1.0)


def test_parameter_dicts():
    held = nn.ParameterDict({"scale": tw.ones(2)})
    held.update([("shift", nn.Parameter(tw.zeros(2)))])
    assert list(held.state_dict()) == ["scale", "shift"]
    assert list(held.keys()) == ["scale", "shift"]
    assert len(held.values()) == 2
    assert held.get("none") is None
    assert held.pop("scale").tolist() == [1.0, 1.0]
    assert "scale" not in held
    del held["shift"]
    assert len(held) == 0
    with pytest.raises(KeyError, match="ParameterDict"):
        held["shift"]


def test_named_lookups():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert model.get_parameter("0.weight") is model[0].weight
    assert model.get_buffer("1.running_mean") is model[1].running_mean
    with pytest.raises(AttributeError, match=r"^\[get_parameter\]"):
        model.get_parameter("0.missing")


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (6, 2, 3, 1)])
def test_orthogonal(shape):
    tw.manual_seed(3)
    w = nn.init.orthogonal_(tw.zeros(*shape, dtype=tw.float64), gain=2.0).reshape(shape[0], -1)
    small = w if w.shape[0] <= w.shape[1] else w.t()
    found = (small @ small.t()).numpy()
    np.testing.assert_allclose(found, 4.0 * np.eye(len(found)), atol=1e-13)
    with pytest.raises(ValueError, match="two axes"):
        nn.init.orthogonal_(tw.zeros(3))


def test_orthogonal_turns_every_way():
    """A 1 x 1 matrix is 1 or -1, as often."""
    tw.manual_seed(4)
    signs = [nn.init.orthogonal_(tw.zeros(1, 1)).item() for _ in range(200)]
    assert set(signs) == {-1.0, 1.0}
    assert abs(sum(signs)) < 5 * np.sqrt(200)


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_passes_channels_on(groups):
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False, groups=groups)
    nn.init.dirac_(conv.weight, groups)
    x = tw.randn(2, 4, 5, 5)
    assert tw.equal(conv(x), x)
    with pytest.raises(ValueError, match="groups that divide"):
        nn.init.dirac_(conv.weight, 3)


def test_sparse():
    w = nn.init.sparse_(tw.ones(10, 7), 0.25, std=0.5).numpy()
    assert ((w == 0).sum(0) == 3).all()
    assert 0.2 < w[w != 0].std() < 1.0
