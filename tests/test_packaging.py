"""What is installed: one version, the data, the types, and no dependency that is not named."""

import importlib.util
import re
from importlib import metadata, resources
from pathlib import Path

import pytest

import tilework as tw
from tilework.engines.cuda import sources

SOURCE = Path(__file__).resolve().parent.parent
installed = pytest.mark.skipif(
    not (resources.files("tilework") / "tests").is_dir()
    or importlib.util.find_spec("tilework.tests") is None
    or not any(d.metadata["Name"] == "tilework" for d in metadata.distributions()),
    reason="tilework runs from a source tree, not from an installation",
)


def test_the_version_stands_in_one_file():
    assert re.fullmatch(r"\d+\.\d+\.\d+", tw.__version__)
    if importlib.util.find_spec("tilework._native") is not None:
        from tilework import _native

        assert _native.__version__ == tw.__version__
    if (SOURCE / "pyproject.toml").is_file():
        assert tw.__version__ not in (SOURCE / "pyproject.toml").read_text()
        assert tw.__version__ in (SOURCE / "CHANGELOG.md").read_text()


@installed
def test_metadata():
    about = metadata.metadata("tilework")
    assert about["Version"] == tw.__version__
    assert about["License-Expression"] == "Apache-2.0 AND CC-BY-4.0"
    required = [r for r in metadata.requires("tilework") if "extra ==" not in r]
    names = {re.match(r"[\w-]+", r)[0] for r in required}
    assert names == {"numpy", "ml_dtypes", "safetensors", "rich"}
    every = " ".join(metadata.requires("tilework"))
    assert not re.search(r"\b(torch|jax|onnxruntime|tensorflow)\b", every)


@installed
def test_the_package_carries_what_it_needs():
    package = resources.files("tilework")
    for name in ("py.typed", "_native.pyi", "data/digits.npz", "data/digits.LICENSE"):
        assert (package / name).is_file(), name
    for name in ("tests", "benchmarks"):
        assert (package / name / "__init__.py").is_file(), name


def included_by_kernels():
    """Files that come into a kernel's source where NVRTC reads it: the simulator's do not, nor does
    what _cuda enters its kernels into."""
    named = {
        name
        for file in sources.files()
        for part in sources.included(file)
        for name in sources.INCLUDE.findall(sources.text(part))
    }
    return {n for n in named if not n.startswith("cudasim/")} - {"base/kernel_table.h"}


@pytest.mark.skipif(not (SOURCE / "pyproject.toml").is_file(), reason="of a checkout")
def test_the_wheel_takes_what_kernels_include():
    text = (SOURCE / "pyproject.toml").read_text()
    taken = set(re.findall(r'"!/tilework/csrc/([^"*]+)"', text))
    assert taken == {name for name in included_by_kernels() if not name.endswith(".cuh")}


@installed
def test_the_package_carries_the_kernels_and_what_they_include():
    package = Path(tw.__file__).parent
    assert sources.folder() == package / "csrc"
    assert "kernels/softmax/softmax.cuh" in sources.files()
    carried = {p.relative_to(package / "csrc").as_posix() for p in package.glob("csrc/**/*.*")}
    assert included_by_kernels() <= carried
    assert all(name.startswith(("kernels/", "base/")) for name in carried)
