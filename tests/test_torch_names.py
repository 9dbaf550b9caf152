"""What of PyTorch's names is not here: the list, held against both libraries."""

import fnmatch
import inspect
from pathlib import Path

import pytest

import tilework as tw
from tilework import nn, optim
from tilework.utils import data

PAGE = Path(__file__).resolve().parent.parent / "docs/coming-from-pytorch.md"
LIST = Path(__file__).with_name("torch_absent.txt")
PLACES = {  # of the list, and what stands there in tilework
    "torch": (tw,),
    "Tensor": (tw.Tensor,),
    "nn": (nn,),
    "F": (nn.functional,),
    "nn.utils": (nn.utils,),
    "optim": (optim,),
    "utils.data": (data,),
    "autograd": (tw.autograd,),
    "cuda": (tw.cuda,),
    "nn.Module": (nn.Module,),
    "optim.Optimizer": (optim.Optimizer,),
}


def rows():
    """(place, names, what to write instead) a line."""
    for line in LIST.read_text().splitlines():
        if line and not line.startswith("#"):
            what, instead = line.split(" -> ")
            place, names = what.split(": ")
            yield place, names.split(), instead


def table():
    """The list as the page shows it."""
    titles = {"torch": "torch, torch.Tensor", "F": "torch.nn.functional"}
    lines = ["| where | not here | instead |", "|---|---|---|"]
    for place, names, instead in rows():
        shown = ", ".join(f"`{name}`" for name in names)
        title = titles.get(place, f"torch.{place}")
        lines.append(f"| {title} | {shown} | {instead.replace('*', chr(92) + '*')} |")
    return "\n".join(lines)


def names_of(place):
    return [name for _place, names, _ in rows() if _place == place for name in names]


@pytest.mark.parametrize("place", PLACES)
def test_what_is_called_absent_is_absent(place):
    here = {
        name
        for space in PLACES[place]
        for name in dir(space)
        if name[0] != "_" and not (space is tw and inspect.ismodule(getattr(tw, name)))
    }
    whole = [name for name in names_of(place) if "*" not in name]
    assert whole
    assert not here & set(whole)
    assert len(set(whole)) == len(whole)


def theirs(place):
    """PyTorch's public names there: functions for `torch`, methods and properties for Tensor."""
    import torch
    from torch.overrides import get_overridable_functions

    if place == "torch":
        return {f.__name__ for f in get_overridable_functions()[torch]} & set(dir(torch))
    there = {"Tensor": torch.Tensor, "F": torch.nn.functional}.get(place) or torch
    for part in place.split(".") if there is torch else ():
        there = getattr(there, part)
    if place in ("nn.utils", "utils.data", "autograd", "cuda"):
        return set(there.__all__)
    wanted = {"F": inspect.isroutine, "nn": inspect.isclass, "optim": inspect.isclass}.get(
        place, lambda _: True
    )
    return {
        name
        for name in dir(there)
        if wanted(found := getattr(there, name, None)) and not added_by_others(found)
    }


def added_by_others(found):
    """Whether it is a function that another library has put there, once imported."""
    module = getattr(found, "__module__", None)
    return inspect.isfunction(found) and not str(module).startswith("torch")


@pytest.mark.parametrize("place", PLACES)
def test_what_pytorch_has_besides_is_listed(place):
    pytest.importorskip("torch", reason="PyTorch, whose names they are, is not installed")
    patterns = names_of(place) + (names_of("torch") if place == "Tensor" else [])
    missing = {
        name
        for name in theirs(place)
        if name[0] != "_" and not any(hasattr(space, name) for space in PLACES[place])
    }
    assert not [n for n in missing if not any(fnmatch.fnmatchcase(n, p) for p in patterns)]


@pytest.mark.skipif(not PAGE.is_file(), reason="an installed package has no docs")
def test_the_page_shows_the_list():
    assert table() in PAGE.read_text(), "python tests/test_torch_names.py writes it"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition("| where |")
    PAGE.write_text(before + table() + "\n\n" + rest.partition("\n\n")[2])
