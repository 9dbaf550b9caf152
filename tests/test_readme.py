"""What the documents say is so: the README's code runs, its commands and links are there."""

import doctest
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

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
]
SOURCE = Path(__file__).resolve().parent.parent  # the checkout, where that is what is tested


def text():
    """The README: the checkout's, else the one that the installed package carries."""
    if (SOURCE / "README.md").is_file():
        return (SOURCE / "README.md").read_text()
    return metadata.metadata("tilework").get_payload()


def blocks(language, page=None):
    return re.findall(rf"```{language}\n(.*?)```", text() if page is None else page, re.S)


def programs():
    """The README's, and those of the pages whose examples need nothing but the package."""
    training = SOURCE / "docs/training.md"
    return blocks("python") + (blocks("python", training.read_text()) if training.is_file() else [])


@pytest.mark.parametrize("number", range(len(programs())))
def test_python_runs(number):
    done = subprocess.run(
        [sys.executable, "-c", programs()[number]],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "nan" not in done.stdout


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
