"""What the documents say is so: the README's code runs, its commands and links are there."""

import doctest
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import tilework as tw
from tilework import cli

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/performance.md",
    "docs/training.md",
    "docs/building.md",
    "docs/environment.md",
    "docs/layout.md",
    "docs/inplace.md",
    "docs/language-models.md",
    "docs/sequences.md",
    "docs/export.md",
    "docs/gpu.md",
    "docs/numbers.md",
    "docs/index.md",
    "docs/your-own-data.md",
    "docs/coming-from-pytorch.md",
    "docs/architecture.md",
]
# Those of them whose examples in fences are programs.
PROGRAMS = ["training.md", "export.md", "index.md", "your-own-data.md", "coming-from-pytorch.md"]
SOURCE = Path(__file__).resolve().parent.parent  # the checkout, where that is what is tested


def text():
    """The README: the checkout's, else the one that the installed package carries."""
    if (SOURCE / "README.md").is_file():
        return (SOURCE / "README.md").read_text()
    return metadata.metadata("tilework").get_payload()


def blocks(language, page=None):
    return re.findall(rf"```{language}\n(.*?)```", text() if page is None else page, re.S)


def programs():
    """The README's, and the pages' that are not the same: each once."""
    pages = [SOURCE / "docs" / page for page in PROGRAMS]
    found = [p for page in pages if page.is_file() for p in blocks("python", page.read_text())]
    return list(dict.fromkeys(blocks("python") + found))


def photos(folder):
    """Pictures of two classes in folders: what the README's example finds in its own."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(0, 200, (24, 40, 3), np.uint8)
            pixels[..., channel] += 40
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


EXTRAS = {"PIL": "pillow", "optuna": "optuna", "sklearn": "scikit-learn"}  # by what they import


@pytest.mark.parametrize("number", range(len(programs())))
def test_python_runs(number, tmp_path):
    program = programs()[number]
    if '"photos"' in program:
        pytest.importorskip("PIL", reason="Pillow is not installed")
        photos(tmp_path / "photos")
    for module in set(EXTRAS) & set(re.findall(r"^(?:from|import) (\w+)", program, re.M)):
        pytest.importorskip(module, reason=f"{EXTRAS[module]} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "nan" not in done.stdout
    if '"photos"' in program:
        assert float(re.search(r"'accuracy': ([0-9.]+)", done.stdout)[1]) > 0.9


def test_a_network_on_a_folder_of_images_takes_fifteen_lines():
    (program,) = (p for p in blocks("python") if '"photos"' in p)
    assert len([line for line in program.splitlines() if line.strip()]) <= 15


def test_there_are_two_commands_of_set_up():
    assert len(blocks("bash")) == 2
    assert len(blocks("python")) >= 1


def test_commands_exist():
    for command in set(re.findall(r"tilework (\w+)", text())) & set(cli._COMMANDS):
        done = subprocess.run(
            [sys.executable, "-m", "tilework", command, "--help"], capture_output=True, timeout=60
        )
        assert done.returncode == 0


@pytest.mark.skipif(not (SOURCE / "README.md").is_file(), reason="an installed package has no docs")
@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = SOURCE / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.skipif(not (SOURCE / "README.md").is_file(), reason="an installed package has no docs")
def test_examples_of_the_pages_are_right():
    tried = [doctest.testfile(str(SOURCE / page), module_relative=False) for page in PAGES]
    assert not any(result.failed for result in tried)
    assert sum(result.attempted for result in tried) >= 5


@pytest.mark.skipif(not (SOURCE / "README.md").is_file(), reason="an installed package has no docs")
def test_the_environment_page_names_what_config_reads():
    page = (SOURCE / "docs/environment.md").read_text()
    assert set(re.findall(r"`(TILEWORK_\w+)`", page)) == set(tw.config.ENVIRONMENT)
