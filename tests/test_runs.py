"""Measured runs: where the figures of `tilework train --list` and of docs/training.md come from."""

import json
import math
import re

import numpy as np
import pytest

from tilework import metrics
from tilework.testing.tolerance import eps
from tilework.train import recipes, runs
from tilework.train.interval import InParts

from .recipe_checks import MISSED

of_a_checkout = pytest.mark.skipif(
    not runs.PAGE.is_file(), reason="an installed package has no docs"
)


# --- the store and the table ---


@of_a_checkout
def test_the_table_of_the_page_is_what_was_measured():
    page = runs.PAGE.read_text()
    assert runs.page_with(runs.table(), page) == page, "python -m tilework.train.runs writes it"


@pytest.mark.parametrize("name", recipes.names())
def test_runs_are_of_the_recipes_as_they_are(name):
    try:
        recipe = recipes.get(name)
    except ImportError as reason:
        pytest.skip(f"needs {reason.name}")
    if name not in runs.measured():
        pytest.skip("was not run yet")
    run = runs.measured()[name]
    assert not runs.differences(run, recipe), "train it, and python -m tilework.train.runs RUN.json"
    assert (run["title"], run["goal"]) == (recipe.title, recipe.goal), (
        "python -m tilework.train.runs"
    )
    sign = 1 if recipe.metrics()[0].higher_is_better else -1
    assert (sign * run["value"] >= sign * run["goal"]) == (name not in MISSED)
    assert sign * run["value"] > sign * run["baseline"]["value"]
    assert run["version"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", run["date"])
    assert run["threads"] == 1
    assert run["seed"] == 0


def test_no_run_is_of_a_recipe_that_is_gone():
    assert set(runs.measured()) <= set(recipes.names())


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store and a page of their own, and a run to take into them."""
    monkeypatch.setattr(runs, "STORE", tmp_path / "runs.json")
    monkeypatch.setattr(runs, "PAGE", tmp_path / "page.md")
    runs.STORE.write_text("{}")
    runs.PAGE.write_text(f"before\n{runs.BEGIN}old\n{runs.END}after\n")
    runs.measured.cache_clear()
    run = {
        "recipe": "mlp", "title": "?", "data": "digits", "version": "1.2.3", "date": "2031-02-03",
        "threads": 1, "seed": 7, "epochs": 40, "figure": "accuracy", "value": 0.97654,
        "interval": [0.96, 0.99], "goal": 0.1, "samples": 360, "parameters": 50_826,
        "baseline": {"name": "a guess", "value": 0.1}, "seconds": 12.34, "history": [1, 2],
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(run))
    yield tmp_path / "run.json"
    runs.measured.cache_clear()


def test_a_run_is_taken_into_store_and_page(store, monkeypatch):
    monkeypatch.setattr("sys.argv", ["runs", str(store)])
    runs.main()
    run = runs.measured()["mlp"]
    assert run["title"] == recipes.get("mlp").title
    assert "history" not in run
    text = runs.PAGE.read_text()
    assert re.fullmatch(f"before\n{runs.BEGIN}\n.*\n{runs.END}after\n", text, re.S)
    (row,) = (line for line in text.splitlines() if line.startswith("| mlp"))
    for part in (
        recipes.get("mlp").title, "digits", "50,826", "accuracy ≥ 0.97", "0.977 ± 0.015",
        "0.1 (a guess)", "12.3", "7", "1.2.3, 2031-02-03",
    ):  # fmt: skip
        assert f"| {part} |" in row
    monkeypatch.setattr("sys.argv", ["runs"])
    runs.main()
    assert runs.PAGE.read_text() == text


def test_a_run_of_another_recipe_is_refused(store):
    run = json.loads(store.read_text())
    store.write_text(json.dumps(run | {"epochs": 1}))
    with pytest.raises(ValueError, match=r"\[train.runs\] .*mlp.*epochs 1, now 40: train it again"):
        runs.record([store])
    assert not runs.measured()


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match=r"\[train.runs\] expected a page with"):
        runs.page_with("", "no marks")


# --- intervals ---


def test_an_interval_of_a_mean_is_as_wide_as_its_standard_error_says():
    """Over many draws: the half's mean is Student's times the standard error, to its own error."""
    rng = np.random.default_rng(0)
    halves, hits, n, draws = [], 0, 400, 300
    for _ in range(draws):
        labels = rng.random(n) < 0.8
        figure = InParts(metrics.Accuracy(), 3)
        for part in np.split(labels, [150, 300]):  # batches need be neither equal nor parts
            figure.update(part.astype(np.int64), np.ones(len(part), np.int64))
        low, high = figure.interval()
        assert (low + high) / 2 == pytest.approx(figure.compute(), abs=4 * eps(np.float64))
        halves.append((high - low) / 2)
        hits += low <= 0.8 <= high
    expected = 2.093 * math.sqrt(0.8 * 0.2 / n)
    assert np.mean(halves) == pytest.approx(
        expected, abs=4 * np.std(halves) / math.sqrt(draws) + 0.02 * expected
    )
    assert abs(hits / draws - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / draws)


def test_parts_are_neighbours_of_all_batches():
    """What is the same within a part, and spread among parts, spreads the figure."""
    truth = np.repeat(np.arange(20.0), 10)
    for sizes in ([200], [50] * 4, [1] * 200, [7] * 28 + [4]):
        figure = InParts(metrics.MAE(), len(sizes))
        for batch in np.split(truth, np.cumsum(sizes)[:-1]):
            figure.update(batch, np.zeros_like(batch))
        low, high = figure.interval()
        if sizes != [7] * 28 + [4]:  # whose parts are not quite those
            assert (high - low) / 2 == pytest.approx(
                2.093 * np.std(np.arange(20), ddof=1) / 20**0.5
            )
        assert low < 9.5 < high


class Sum(metrics.Metric):
    """Takes what has no rows."""

    def update(self, output, target):
        self.total += output["x"]

    def reset(self):
        self.total = 0.0

    def compute(self):
        return self.total


def test_batches_without_rows_are_samples():
    figure = InParts(Sum(), 40)
    for i in range(40):
        figure.update({"x": float(i // 20)}, None)
    low, high = figure.interval()
    assert (low + high) / 2 == 20
    assert (high - low) / 2 == pytest.approx(2.093 * np.std([0, 2] * 10, ddof=1) / 20**0.5)


def test_there_is_none_of_few_samples_or_undefined_parts():
    figure = InParts(metrics.Accuracy(), 1)
    figure.update(np.arange(19), np.arange(19))
    assert figure.interval() is None
    ranking = InParts(metrics.ROCAUC(), 1)
    ranking.update(np.arange(100.0), (np.arange(100) > 50).astype(np.int64))
    assert ranking.compute() == 1.0
    assert ranking.interval() is None
    ranking.reset()
    assert math.isnan(ranking.compute()) or ranking.compute() != 1.0
