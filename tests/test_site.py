"""The documentation site's reference names everything public, once, and its pages load nothing."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent
PAGES = SOURCE / "docs/api"
MODULES = [
    "tilework",
    *(
        f"tilework.{name}"
        for name in (
            "functional", "nn", "nn.init", "nn.utils", "nn.utils.rnn", "optim",
            "optim.lr_scheduler", "train", "train.callbacks", "train.recipes", "data",
            "data.augment", "io", "io.onnx", "metrics", "models", "profiler", "sklearn", "autograd",
            "cuda", "amp",
        )
    ),
]  # fmt: skip
# Where a module has no __all__: what it holds that is no part of its face.
INNER = {
    "tilework.nn.init": {"drawing"},
    "tilework.autograd": {
        "Op", "enable_grad", "gradients_through", "is_grad_enabled", "mode", "no_grad", "record",
        "recorded", "set_grad_enabled", "unrecorded", "wants_grad",
    },
}  # fmt: skip

pytestmark = pytest.mark.skipif(not PAGES.is_dir(), reason="an installed package has no docs")


def public(name):
    """A module's public names but for its modules; of `tilework`, those that functional has not."""
    if name == "tilework.sklearn":
        pytest.importorskip("sklearn", minversion="1.6", reason="scikit-learn 1.6 is missing")
    module = import_module(name)
    names = getattr(module, "__all__", None) or [
        n
        for n, found in vars(module).items()
        if n[0] != "_" and getattr(found, "__module__", "") == name
        if inspect.isroutine(found) or inspect.isclass(found)
    ]
    left = {n for n in names if not inspect.ismodule(getattr(module, n))} - INNER.get(name, set())
    if name == "tilework":
        left -= {"__version__", *import_module("tilework.functional").__all__}
    return sorted(left)


def shown():
    """The names under each `::: module` of the reference's pages."""
    found = {}
    for page in PAGES.glob("*.md"):
        for module, options in re.findall(r"^::: (\S+)\n((?: +.*\n)*)", page.read_text(), re.M):
            found.setdefault(module, []).extend(re.findall(r"^ +- (\w+)$", options, re.M))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(module):
    assert sorted(shown()[module]) == public(module), f"docs/api has other names of {module}"


def test_the_reference_has_no_other_modules():
    assert set(shown()) == set(MODULES)


@pytest.mark.parametrize("page", sorted((SOURCE / "docs").rglob("*.md")), ids=lambda p: p.stem)
def test_every_page_is_in_the_navigation(page):
    name = page.relative_to(SOURCE / "docs").as_posix()
    assert f'"{name}"' in (SOURCE / "zensical.toml").read_text()


def test_docstrings_become_markdown():
    """What tools/docs_griffe.py makes of a docstring: examples in fences, names as links."""
    pytest.importorskip("griffe", reason="griffe, which reads docstrings, is not installed")
    program = (
        "import docs_griffe as d\n"
        "text = 'F.relu of a * b * c, `a * b`.\\n\\n>>> F.relu(x) * 2 * 3\\n[1]\\n\\nF.other.'\n"
        "print(d.linked(d.fenced(text), {'relu'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=SOURCE / "tools", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert " ".join(done.stdout.split()) == (
        r"[`F.relu`][tilework.functional.relu] of a \* b \* c, `a * b`. "
        "```pycon >>> F.relu(x) * 2 * 3 [1] ``` F.other."
    )
