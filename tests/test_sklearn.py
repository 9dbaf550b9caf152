"""Networks as scikit-learn's estimators pass its own checks, and serve its tools."""

import numpy as np
import pytest

import tilework as tw
from tilework import nn

pytest.importorskip("sklearn", minversion="1.6", reason="scikit-learn 1.6 is not installed")

from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tilework.sklearn import Classifier, Regressor


@parametrize_with_checks([Classifier(epochs=30), Regressor(epochs=30)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_a_split_too_small_for_all_classes_is_drawn_by_chance():
    x, y = np.arange(20.0)[:, None], np.array([0] * 9 + [1] * 10 + [2])
    model = Classifier(epochs=2, patience=1, random_state=0).fit(x, y)
    assert model.classes_.tolist() == [0, 1, 2]


def test_no_batch_of_one_row():
    """33 rows are a batch of 32, and one that batch norm could not use."""

    def network(inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))

    x, y = np.arange(33.0)[:, None], np.arange(33) % 2
    assert Classifier(network, epochs=2, random_state=0).fit(x, y).predict(x).shape == (33,)


def test_cross_validation_of_a_pipeline():
    x, y = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), Classifier(epochs=30, random_state=0))
    found = cross_val_score(model, x, y, cv=3).mean()
    assert found > 0.95 > cross_val_score(DummyClassifier(), x, y, cv=3).mean()


def test_searches():
    x, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), Classifier(epochs=5, random_state=0))
    grid = GridSearchCV(model, {"classifier__hidden": [(4,), (16, 8)]}, cv=2).fit(x, y)
    assert grid.best_score_ > 0.93
    rates = {"classifier__lr": [1e-5, 1e-2]}
    drawn = RandomizedSearchCV(model, rates, n_iter=2, cv=2, random_state=0).fit(x, y)
    assert drawn.best_params_["classifier__lr"] == 1e-2


def test_regression_beside_a_linear_model():
    x, y = load_diabetes(return_X_y=True)
    ours = make_pipeline(
        StandardScaler(), Regressor(hidden=(16,), patience=10, weight_decay=1.0, random_state=0)
    )
    found = cross_val_score(ours, x, y, cv=3).mean()
    linear = cross_val_score(LinearRegression(), x, y, cv=3).mean()
    assert found > linear - 0.1 > 0.3
    both = Regressor(epochs=20, random_state=0).fit(x, np.stack([y, -y], 1)).predict(x)
    assert both.shape == (442, 2)
    assert np.corrcoef(both.T)[0, 1] < -0.9


def test_early_stopping_gives_the_best_weights():
    x, y = load_diabetes(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    model = Regressor(hidden=(256,), epochs=500, lr=0.01, patience=5, random_state=1).fit(x, y)
    losses = model.history_["val_loss"]
    assert len(losses) == model.n_iter_ == losses.index(min(losses)) + 1 + 5 < 500
    assert model.score(x, y) > 0.3


def test_a_network_of_ones_own():
    x, y = load_wine(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    seen = []

    def network(inputs, outputs):
        seen.append((inputs, outputs))
        return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))

    model = Classifier(network, lr=0.02, random_state=1).fit(x, y)
    assert seen == [(13, 3)]
    assert model.score(x, y) > 0.95
    np.testing.assert_allclose(model.predict_proba(x).sum(1), 1.0, rtol=1e-12)


def test_the_users_numbers_are_left_alone():
    tw.manual_seed(3)
    first = tw.rand(2).tolist()
    tw.manual_seed(3)
    Regressor(epochs=1).fit(np.ones((4, 2)), np.arange(4.0))
    assert tw.rand(2).tolist() == first
