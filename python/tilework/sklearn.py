"""Networks as scikit-learn's estimators: for its pipelines, cross validation and searches.

Needs scikit-learn (`pip install 'tilework[sklearn]'`). What it has is taken from there: scaling,
one-hot encoding, imputing, splitting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework import functional as F
from tilework import optim
from tilework.data import DataLoader, TensorDataset
from tilework.errors import error
from tilework.models import MLP
from tilework.nn import Module
from tilework.train import History, Supervised, Trainer, callbacks
from tilework.train.judge import predict

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as reason:
    raise error(
        ImportError, "tilework.sklearn", "scikit-learn 1.6 or newer", "none installed",
        "pip install 'tilework[sklearn]'",
    ) from reason  # fmt: skip

Network = Callable[[int, int], Module]
Array = NDArray[Any]
_SEEDS = 2**31 - 1


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: the network, and how it is fitted."""

    network_: Module
    history_: History

    def __init__(
        self,
        network: Network | None = None,
        *,
        hidden: Sequence[int] | int = (64,),
        epochs: int = 100,
        batch_size: int = 32,
        lr: float = 3e-3,
        weight_decay: float = 0.0,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.network = network
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, x: Array, y: Array, outputs: int, loss: Any, classes: Array | None) -> None:
        """Trains a new network; where `patience` says so, until a part that is held out, of each
        class its share where there are enough, has not improved for so many epochs, and by then
        with the best weights."""
        seed = int(check_random_state(self.random_state).randint(_SEEDS))
        with _seeded(seed):
            build = self.network or self._perceptron
            self.network_ = network = build(x.shape[1], outputs)
            watchers: list[callbacks.Callback] = []
            if self.verbose:
                watchers.append(callbacks.ProgressBar())
            held_out = None
            if self.patience is not None:
                watchers.append(callbacks.EarlyStopping("val_loss", self.patience))
                x, x_held_out, y, y_held_out = train_test_split(
                    x, y, test_size=self.validation_fraction, random_state=seed,
                    stratify=_divided(classes, self.validation_fraction),
                )  # fmt: skip
                held_out = DataLoader(TensorDataset(x_held_out, y_held_out), 1024)
            optimizer = optim.AdamW(
                network.parameters(), lr=self.lr, weight_decay=self.weight_decay
            )
            trainer = Trainer(Supervised(network, loss), optimizer, watchers)
            # A batch of one row has no statistics for batch norm: it waits for another epoch.
            alone = self.batch_size > 1 and len(x) > 1 and len(x) % self.batch_size == 1
            loader = DataLoader(TensorDataset(x, y), self.batch_size, shuffle=True, drop_last=alone)
            self.history_ = trainer.fit(loader, held_out, epochs=self.epochs)
        self.n_iter_ = len(self.history_)

    def _perceptron(self, inputs: int, outputs: int) -> Module:
        hidden = (self.hidden,) if isinstance(self.hidden, int) else self.hidden
        return MLP([inputs, *hidden, outputs])

    def _outputs(self, x: Any) -> Array:
        check_is_fitted(self)
        x = validate_data(self, x, dtype=np.float32, reset=False)
        outputs = predict(Supervised(self.network_, F.mse_loss), x)
        found: Array = outputs.numpy().astype(np.float64)
        return found


def _divided(classes: Array | None, fraction: float) -> Array | None:
    """The classes, where both parts of a split are large enough to have all of them."""
    if classes is None:
        return None
    counts = np.bincount(classes)
    held_out = int(np.ceil(fraction * len(classes)))
    parts = min(held_out, len(classes) - held_out)
    return classes if counts.min() > 1 and parts >= len(counts) else None


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """tilework's random numbers from a seed, and as they were after."""
    before = F.get_rng_state()
    F.manual_seed(seed)
    try:
        yield
    finally:
        F.set_rng_state(before)


class Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A network that classifies rows of a table, by the cross entropy and AdamW.

    Args:
        network: From the numbers of features and of classes to a module, (N, features) to scores
            (N, classes); by default a multilayer perceptron with ReLU.
        hidden: That one's width between, or widths.
        epochs, batch_size, lr, weight_decay: How it is trained.
        patience: Epochs without a lower loss on `validation_fraction` of the data, after which
            training ends, with the best epoch's weights; None trains through.
        random_state: A seed, or NumPy's RandomState: initialisation, order and split follow it.
        verbose: Whether a bar is shown.

    Attributes: classes_, network_, history_, n_iter_, n_features_in_. Networks want features of one
    scale: put a StandardScaler before it.

    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> x = np.array([[0.0], [10.0], [20.0], [30.0]] * 8)
    >>> labels = ["low", "low", "high", "high"] * 8
    >>> model = make_pipeline(StandardScaler(), Classifier(epochs=60, random_state=0))
    >>> model.fit(x, labels).predict([[1.0], [29.0]]).tolist()
    ['low', 'high']
    """

    classes_: Array

    def fit(self, X: Any, y: Any) -> Classifier:
        """Rows X (N, features) and their labels y (N,), of any kind. ValueError on one class."""
        x, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise error(
                ValueError, "Classifier", "samples of at least two classes", "one class",
                "add the others",
            )  # fmt: skip
        self._fit(x, codes.astype(np.int64), len(self.classes_), F.cross_entropy, codes)
        return self

    def decision_function(self, X: Any) -> Array:
        """Scores (N, classes); of two classes (N,), above zero for the second."""
        scores = self._outputs(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, classes), in the order of `classes_`."""
        scores = self._outputs(X)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        found: Array = weights / weights.sum(1, keepdims=True)
        return found

    def predict(self, X: Any) -> Array:
        """The likeliest class of each row."""
        scores = self._outputs(X)
        found: Array = self.classes_[scores.argmax(1)]
        return found


class Regressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A network that foretells numbers from rows of a table, by the mean squared error and AdamW.

    Arguments and attributes as Classifier's; the network has an output for each target. Targets are
    scaled to be standard while it is trained.

    >>> x = np.linspace(-1.0, 1.0, 64)[:, None]
    >>> model = Regressor(epochs=200, random_state=0).fit(x, 3.0 * x[:, 0] + 1.0)
    >>> bool(abs(model.predict([[0.5]])[0] - 2.5) < 0.1)
    True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Regressor:
        """Rows X (N, features) and numbers y (N,) or (N, targets)."""
        x, y = validate_data(self, X, y, dtype=np.float32, multi_output=True, y_numeric=True)
        targets = np.asarray(y, np.float64)
        self._one = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        self._mean, spread = targets.mean(0), targets.std(0)
        self._spread = np.where(spread > 0, spread, 1.0)
        standard = ((targets - self._mean) / self._spread).astype(np.float32)
        self._fit(x, standard, targets.shape[1], F.mse_loss, None)
        return self

    def predict(self, X: Any) -> Array:
        """The numbers of each row: (N,) or (N, targets), as they were given."""
        found: Array = self._outputs(X) * self._spread + self._mean
        return found[:, 0] if self._one else found
