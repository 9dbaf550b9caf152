"""The examples in the docstrings run, and every public function has one."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import tilework as tw
from tilework import data, io, metrics, models, nn, optim, testing, train
from tilework import functional as F

MODULES = [
    "tilework",
    *(
        f"tilework.{name}"
        for name in ("autograd", "config", "dtypes", "errors", "tensor", "engines", "sklearn")
    ),
    *(
        module.name
        for package in (F, nn, optim, data, io, metrics, models, train, testing)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, request):
    if name.endswith(("torch_models", "over_torch")):
        pytest.importorskip("torch", reason="PyTorch, whose side it is, is not installed")
    if name == "tilework.sklearn":
        pytest.importorskip("sklearn", minversion="1.6", reason="scikit-learn 1.6 is missing")
    if name.endswith("data.speech"):
        pytest.importorskip("scipy", reason="SciPy, whose FFT the features take, is not installed")
    importlib.import_module(name)
    module = importlib.sys.modules[name]
    names = {"tw": tw, "F": F, "nn": nn, "optim": optim, "np": np, "data": data}
    names |= {"metrics": metrics, **{name: getattr(train, name) for name in train.__all__}}
    names |= vars(module)
    names["getfixture"] = request.getfixturevalue  # as pytest's own doctests have it
    failed, _ = doctest.testmod(module, globs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not failed


@pytest.mark.parametrize("name", F.__all__)
def test_every_function_has_an_example(name):
    text = inspect.getdoc(getattr(F, name))
    assert text
    assert ">>>" in text


@pytest.mark.parametrize("name", [n for n in nn.__all__ if inspect.isclass(getattr(nn, n))])
def test_every_layer_says_what_it_computes(name):
    """In words of its own, not by the name of its function alone."""
    words, example, _ = (getattr(nn, name).__doc__ or "").partition(">>>")
    assert example
    assert len(words.split()) >= 10, words
