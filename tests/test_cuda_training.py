"""Networks train on the simulated device, through the public API, to the CPU's losses."""

import numpy as np
import pytest

import tilework as tw
from tilework import data, io, nn, optim
from tilework import functional as F
from tilework.models import GPT2Config, GPT2LMHeadModel
from tilework.testing import simulated
from tilework.train import recipe as running
from tilework.train import recipes

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())

STEPS = 3


def mlp():
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((9, 13), np.float32), rng.integers(0, 5, 9)
    layers = nn.Linear(13, 33), nn.GELU(), nn.Dropout(0.2), nn.LayerNorm(33), nn.Linear(33, 5)
    return nn.Sequential(*layers), x, target, lambda y, t: F.cross_entropy(y, t)


def gpt():
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 37, (2, 10))
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=37, n_positions=16, n_embd=24, n_layer=2, n_head=3)
    )
    return (
        model,
        tokens[:, :-1],
        tokens[:, 1:],
        lambda y, t: F.cross_entropy(y.reshape(-1, 37), t.reshape(-1)),
    )


def losses(device, build):
    tw.manual_seed(3)
    model, x, target, loss = build()
    model.to(device)
    optimiser = optim.AdamW(model.parameters(), lr=1e-2)
    given = tw.tensor(x, device=device), tw.tensor(target, device=device)
    found = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        now = loss(model(given[0]), given[1])
        now.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        found.append(now.item())
    return found


def test_a_frozen_network_of_a_device_is_not_trained():
    """A device's arrays have no flag that says so (CuPy's)."""
    with simulated.device(), tw.device("cuda"):
        model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
        step = optim.SGD(model.parameters(), lr=0.1).step
        model(tw.ones(1, 3)).sum().backward()
        step()
        nn.utils.freeze(model)
        with pytest.raises(ValueError, match="expected writable parameters; got a read-only one"):
            step()
        nn.utils.unfreeze(model)
        step()


@pytest.mark.parametrize("build", [mlp, gpt])
@pytest.mark.parametrize("order", simulated.ORDERS)
def test_a_network_trains_to_the_cpus_losses(build, order):
    """A step's rounding is a few hundred eps of the loss, and Adam spreads it as steps go by."""
    right = losses("cpu", build)
    with simulated.device(order) as served:
        found = losses("cuda", build)
    assert {"gemm", "attention" if build is gpt else "dropout", "cross_entropy", "adam"} <= {
        part for name in served.launched for part in ("gemm", "attention", "dropout",
                                                      "cross_entropy", "adam") if part in name
    }, sorted(served.launched)  # fmt: skip
    assert right[-1] < right[0]
    eps = np.finfo(np.float32).eps
    for step, (a, b) in enumerate(zip(found, right, strict=True), 1):
        assert abs(a - b) <= 300 * eps * step * abs(b)


def test_a_recipe_trains_there_and_its_run_goes_on(tmp_path):
    """The Trainer takes batches to where the task's model lives; its files know no device."""
    recipe = recipes.get("mlp")
    digits = recipe.few(data.source("digits"), 60)
    figures = []
    for device in ("cpu", "cuda"):
        with simulated.device():
            outcome = running.run(recipe, digits, epochs=1, device=device)
            assert next(outcome.model.parameters()).device.type == device
            figures.append(outcome.trainer.history["loss"] + [outcome.value])
            io.save(outcome.model.state_dict(), tmp_path / f"{device}.safetensors")
    eps = np.finfo(np.float32).eps
    assert np.allclose(*figures, rtol=300 * eps * 60, atol=0)
    weights = [io.load(tmp_path / f"{device}.safetensors") for device in ("cpu", "cuda")]
    assert weights[0].keys() == weights[1].keys()
