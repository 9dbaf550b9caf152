"""Random numbers: bounds that rounding must not reach, one event a call, tails that end."""

import math
import pickle
import sys
import threading

import numpy as np
import pytest

import tilework as tw
from tilework import data, nn
from tilework import functional as F

DTYPES = [tw.bfloat16, tw.float32, tw.float64]
RANGES = [(0, 1), (-1, 1), (1e8, 1e8 + 8), (256, 258), (-5, -4.999), (1, 1 + 1e-7), (3, 3), (-8, 0)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_uniform_numbers_stay_below_their_bound(dtype, low, high):
    first, end = dtype.type(low), dtype.type(high)
    x = tw.empty(20000, dtype=dtype).uniform_(low, high).numpy()
    assert x.dtype == dtype
    assert (x >= first).all()
    assert (x < end).all() if first < end else (x == first).all()
    wide = x.astype(np.float64)
    middle, spread = (low + high) / 2, (high - low) / math.sqrt(12)
    rounding = float(np.spacing(np.abs(end)))
    assert abs(wide.mean() - middle) <= 5 * spread / math.sqrt(len(x)) + rounding


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rand_is_below_one(dtype):
    x = tw.rand(200000, dtype=dtype)
    assert (x < 1).all()
    assert (x >= 0).all()
    assert x.double().mean().item() == pytest.approx(0.5, abs=4e-3)
    assert tw.bernoulli(tw.ones(100000, dtype=dtype)).all()
    assert not tw.bernoulli(tw.zeros(100000, dtype=dtype)).any()


@pytest.mark.parametrize("p", [2.0**-33, 1e-7, 0.3, 1 - 1e-7, 1 - 2.0**-40])
def test_dropout_near_the_ends(p):
    y = F.dropout(tw.ones(10000), p)
    kept = y[y != 0]
    assert tw.isfinite(y).all()
    assert len(kept) / 10000 == pytest.approx(1 - p, abs=0.03)
    if len(kept) > 5000:
        assert kept.double().mean().item() == pytest.approx(1 / (1 - p), rel=1e-6)


def test_uniform_refuses_what_it_cannot_hold():
    for low, high in ((1, 0), (-math.inf, 0), (math.nan, 1), (-3e38, 3e38)):
        with pytest.raises(ValueError, match=r"\[uniform_\] expected low <= high"):
            tw.zeros(2).uniform_(low, high)
    with pytest.raises(ValueError, match=r"\[bernoulli\] expected probabilities"):
        tw.bernoulli(tw.tensor([1.5]))


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(tw.uint8, 0, 257), (tw.uint8, -1, 3), (tw.bfloat16, 0, 258), (tw.float32, 0, 2**24 + 2)],
)
def test_randint_refuses_what_its_dtype_does_not_hold(dtype, low, high):
    with pytest.raises(ValueError, match=r"\[randint\] expected a range within"):
        tw.randint(low, high, (3,), dtype=dtype)
    held = tw.randint(max(low, 0), high - 1, (3000,), dtype=dtype).numpy().astype(np.float64)
    assert held.max() < high - 1


BOUNDS = [
    (0, 1, -2, 2), (0, 1, 5, 6), (0, 1, 5, math.inf), (0, 1, 100, math.inf), (0, 1, -1e10, -1e9),
    (0, 1, 1e30, math.inf), (0, 1, 0.99, 1.3), (0, 1, -math.inf, math.inf), (3, 0, 0, 1),
    (0, 1e-3, 1, 2), (0, 1, -0.1, 0.1), (0, 1, -math.inf, -3), (2, 3, 2, 2), (1, 5e-324, 0.5, 4),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("mean", "std", "a", "b"), BOUNDS)
def test_truncated_normals_end_and_stay_inside(dtype, mean, std, a, b):
    tw.manual_seed(3)
    x = nn.init.trunc_normal_(tw.empty(4000, dtype=dtype), mean, std, a, b).numpy()
    with np.errstate(over="ignore"):
        assert (x >= dtype.type(a)).all()
        assert (x <= dtype.type(b)).all()


@pytest.mark.parametrize(("a", "b"), [(-2, 2), (0.5, 0.6), (0.9, 3), (2, 2.5), (5, math.inf)])
def test_truncated_normals_have_the_moments(a, b):
    """Beside the density's own, by a fine sum."""
    tw.manual_seed(5)
    x = nn.init.trunc_normal_(tw.empty(200000, dtype=tw.float64), 0.0, 1.0, a, b).numpy()
    grid = np.linspace(a, min(b, a + 12), 200001)
    weight = np.exp(-(grid**2 - grid[0] ** 2) / 2)
    mean = (weight * grid).sum() / weight.sum()
    std = math.sqrt((weight * (grid - mean) ** 2).sum() / weight.sum())
    assert abs(x.mean() - mean) <= 5 * std / math.sqrt(len(x)) + 1e-4 * std
    assert abs(x.std() / std - 1) <= 5 / math.sqrt(len(x)) + 1e-3


def test_truncated_normals_refuse_what_has_no_answer():
    for args in ((0, 1, 2, 1), (0, -1, 0, 1), (math.nan, 1, 0, 1), (0, math.inf, 0, 1)):
        with pytest.raises(ValueError, match=r"\[trunc_normal_\]"):
            nn.init.trunc_normal_(tw.zeros(2), *args)


# --- threads ---


@pytest.fixture
def short_switches():
    """Threads change places all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


LOOKS = {
    "get_rng_state": tw.get_rng_state,
    "initial_seed": tw.initial_seed,
    "dropout": lambda: F.dropout(tw.ones(4)),
    "randperm": lambda: tw.randperm(2),
    "random_seed": tw.random_seed,
}


@pytest.mark.parametrize("name", LOOKS)
def test_no_numbers_repeat_under_threads(short_switches, name):
    """Two threads draw while two look: every draw is of its own call."""
    tw.manual_seed(11)
    stop, drawn = threading.Event(), [[], []]

    def look():
        while not stop.is_set():
            LOOKS[name]()

    def draw(into):
        for _ in range(4000):
            into.append(tuple(tw.rand(2, dtype=tw.float64).tolist()))

    looking = [threading.Thread(target=look) for _ in range(2)]
    drawing = [threading.Thread(target=draw, args=(into,)) for into in drawn]
    for t in (*looking, *drawing):
        t.start()
    for t in drawing:
        t.join()
    stop.set()
    for t in looking:
        t.join()
    assert len(set(drawn[0] + drawn[1])) == 8000


def test_a_look_at_the_state_draws_nothing():
    tw.manual_seed(4)
    state = tw.get_rng_state()
    assert tw.equal(state, tw.get_rng_state())
    first = tw.rand(3)
    tw.set_rng_state(state)
    assert tw.equal(first, tw.rand(3))


def test_seeds_set_by_threads_are_whole(short_switches):
    """A seed and its count change together: what follows a seed is of that seed."""
    wanted = {}
    for seed in (1, 2):
        tw.manual_seed(seed)
        wanted[seed] = [tuple(tw.rand(2).tolist()) for _ in range(400)]
    known = {numbers for stream in wanted.values() for numbers in stream}

    def work(seed, seen):
        for _ in range(100):
            tw.manual_seed(seed)
            seen.append(tuple(tw.rand(2).tolist()))

    seen = []
    threads = [threading.Thread(target=work, args=(seed, seen)) for seed in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 200
    assert set(seen) <= known


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial_draws_by_weight(replacement):
    weights = np.array([0.1, 0.0, 0.6, 0.3])
    tw.manual_seed(2)
    many = tw.multinomial(tw.from_numpy(np.tile(weights * 7, (8000, 1))), 2, replacement).numpy()
    assert many.shape == (8000, 2)
    second = weights
    if not replacement:
        assert (many[:, 0] != many[:, 1]).all()
        both = weights[:, None] * weights / (1 - weights[:, None])
        second = both.sum(0) - np.diag(both)
    for column, chances in ((0, weights), (1, second)):
        found = np.bincount(many[:, column], minlength=4) / 8000
        # Five standard deviations of a share of 8,000 draws.
        assert (np.abs(found - chances) <= 5 * np.sqrt(chances * (1 - chances) / 8000)).all()


def test_multinomial_refuses_what_is_no_weight():
    for weights in ([-1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0]):
        with pytest.raises(ValueError, match="finite weights from 0"):
            tw.multinomial(tw.tensor(weights), 1)
    with pytest.raises(ValueError, match=r"num_samples from 1 to 1.*replacement"):
        tw.multinomial(tw.tensor([0.0, 1.0]), 2)
    for count in (0, 1):
        with pytest.raises(ValueError, match="num_samples from 1"):
            tw.multinomial(tw.tensor([0.0, float(count == 0)]), count, replacement=True)
    with pytest.raises(TypeError, match="float"):
        tw.multinomial(tw.tensor([1, 2]), 1)


# --- dropouts of channels, and draws of activations ---


@pytest.mark.parametrize(
    ("name", "shape"),
    [("dropout1d", (50, 40, 3)), ("dropout2d", (50, 40, 2, 2)), ("dropout3d", (50, 40, 2, 1, 2))],
)
def test_whole_channels_are_dropped(name, shape):
    tw.manual_seed(5)
    x = tw.ones(shape, requires_grad=True)
    y = getattr(F, name)(x, 0.25)
    y.sum().backward()
    found = y.detach().numpy().reshape(2000, -1)
    assert (found == found[:, :1]).all()
    assert set(np.unique(found)) == {0.0, np.float32(1 / 0.75)}
    assert np.array_equal(x.grad.numpy(), y.detach().numpy())
    spread = np.sqrt(0.25 * 0.75 / 2000)  # of the share of zeros
    assert abs((found[:, 0] == 0).mean() - 0.25) < 5 * spread
    alone = getattr(F, name)(tw.ones(shape[1:]), 0.5).numpy()
    assert alone.shape == shape[1:]
    with pytest.raises(ValueError, match=rf"^\[{name}\] expected p in"):
        getattr(F, name)(x, 1.5)


@pytest.mark.parametrize(("name", "parts"), [("alpha_dropout", 5), ("feature_alpha_dropout", 1)])
def test_alpha_dropout_keeps_mean_and_variance(name, parts):
    tw.manual_seed(6)
    x = tw.tensor(np.random.default_rng(1).standard_normal((400, 100, 5)))
    y = getattr(F, name)(x, 0.3, training=True).numpy()
    draws = 400 * 100 * parts
    # the lowest value weighs 0.3 * 1.76^2; a variance of squares that are at most some 30
    assert abs(y.mean()) < 5 * np.sqrt(1.0 / draws)
    assert abs(y.var() - 1.0) < 5 * np.sqrt(30.0 / draws)
    dropped = -1.7580993408473766 * 0.7 / np.sqrt((1.7580993408473766**2 * 0.3 + 1.0) * 0.7)
    low = np.isclose(y, dropped, atol=1e-12)
    assert abs(low.mean() - 0.3) < 5 * np.sqrt(0.21 / draws)


def test_slopes_and_gumbels_are_drawn():
    tw.manual_seed(7)
    slopes = -F.rrelu(tw.full((2000,), -1.0), 0.2, 0.4, training=True).numpy()
    assert slopes.min() >= 0.2
    assert slopes.max() <= 0.4
    assert abs(slopes.mean() - 0.3) < 5 * 0.2 / np.sqrt(12 * 2000)
    weights = np.array([0.5, 0.3, 0.2])
    logits = tw.tensor(np.log(weights)).expand(4000, 3).clone().requires_grad_()
    hard = F.gumbel_softmax(logits, 0.7, hard=True)
    shares = hard.detach().numpy().mean(0)
    assert (abs(shares - weights) < 5 * np.sqrt(weights * (1 - weights) / 4000)).all()
    (hard * tw.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert np.isfinite(logits.grad.numpy()).all()
    assert abs(logits.grad.numpy()).max() > 0.1


# --- generators ---

DRAWINGS = {
    "rand": lambda g: tw.rand(3, generator=g),
    "randn": lambda g: tw.randn(3, generator=g),
    "randint": lambda g: tw.randint(9, (3,), generator=g),
    "randperm": lambda g: tw.randperm(9, generator=g),
    "normal": lambda g: tw.normal(0.0, 2.0, (3,), generator=g),
    "bernoulli": lambda g: tw.bernoulli(tw.full((30,), 0.5), generator=g),
    "multinomial": lambda g: tw.multinomial(tw.ones(30), 5, generator=g),
    "uniform_": lambda g: tw.empty(3).uniform_(generator=g),
    "normal_": lambda g: tw.empty(3).normal_(generator=g),
    **{
        name: lambda g, name=name: getattr(nn.init, name)(tw.empty(3, 4), generator=g)
        for name in ("uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_",
                     "kaiming_uniform_", "kaiming_normal_", "orthogonal_")
    },
    "sparse_": lambda g: nn.init.sparse_(tw.empty(3, 4), 0.3, generator=g),
    "random_split": lambda g: tw.tensor(data.random_split(range(9), [4, 5], g)[0].indices),
    "DataLoader": lambda g: tw.cat(
        [b[0] for b in data.DataLoader(data.TensorDataset(tw.arange(9)), 3, True, generator=g)]
    ),
    "RandomSampler": lambda g: tw.tensor(list(data.RandomSampler(range(9), generator=g))),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_generator_has_numbers_of_its_own(name):
    draw, generator = DRAWINGS[name], tw.Generator().manual_seed(5)
    tw.manual_seed(1)
    state = tw.get_rng_state()
    first, second = draw(generator), draw(generator)
    assert tw.equal(tw.get_rng_state(), state)  # the process's own stands still
    assert not tw.equal(first, second)
    again = tw.Generator().manual_seed(5)
    assert tw.equal(draw(again), first)
    assert tw.equal(draw(again), second)


def test_its_numbers_are_those_of_manual_seed():
    tw.manual_seed(5)
    expected = tw.rand(3), tw.randperm(9)
    generator = tw.Generator().manual_seed(5)
    assert generator.initial_seed() == 5
    assert tw.equal(tw.rand(3, generator=generator), expected[0])
    state = generator.get_state()
    kept = pickle.loads(pickle.dumps(generator))
    for g in (generator, kept):
        assert tw.equal(tw.randperm(9, generator=g), expected[1])
    generator.set_state(state)
    assert tw.equal(tw.randperm(9, generator=generator), expected[1])
    assert generator.seed() == generator.initial_seed()
    tw.default_generator.manual_seed(5)
    assert tw.equal(tw.rand(3), expected[0])
    assert generator.device == tw.device("cpu")


def test_a_generator_is_left_where_a_call_fails():
    generator = tw.Generator().manual_seed(5)
    with pytest.raises(ValueError, match="randint"):
        tw.randint(5, 2, (3,), generator=generator)
    tw.manual_seed(1)
    first = tw.rand(2)
    tw.manual_seed(1)
    assert tw.equal(tw.rand(2), first)
    with pytest.raises(TypeError, match=r"^\[rand\] expected generator a tilework.Generator"):
        tw.rand(2, generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^\[manual_seed\]"):
        generator.manual_seed(2**64)
