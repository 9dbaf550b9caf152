"""Recipes by name: each is a file here, or in a folder of your own, with one RECIPE.

They are found, not listed; and none is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path

from tilework.errors import error
from tilework.train.recipe import Recipe


def names() -> list[str]:
    """The names of all recipes. A name begins with a letter: other files are helpers.

    >>> "mlp" in recipes.names()
    True
    """
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in found if name[0].isalpha())


def get(name: str) -> Recipe:
    """A recipe by its name. ValueError where there is none.

    >>> recipes.get("mlp").batch_size
    32
    """
    if name not in names():
        raise error(
            ValueError, "train", f"a recipe of {', '.join(names())}", repr(name), "name one"
        )
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise error(
            TypeError, "train", "RECIPE = Recipe(...) in the file",
            f"{'none' if recipe is None else type(recipe).__name__} in {module.__file__}",
            "write it as tilework/train/recipes/lenet.py has it",
        )  # fmt: skip
    return recipe


def add_folder(folder: str | os.PathLike[str]) -> None:
    """Lets recipes be found in `folder`/recipes, and their models in `folder`/models, too.

    ValueError where one of these is missing, and where a file has the name of one that is here.
    """
    from tilework import models

    root = Path(folder)
    for path, part in ((__path__, "recipes"), (models.__path__, "models")):
        if not (root / part).is_dir():
            raise error(
                ValueError, "train", f"a folder with {part}", f"no {root / part}", "make it first"
            )
        if str(root / part) in path:
            continue
        known = {module.name for module in pkgutil.iter_modules(path)}
        for file in sorted((root / part).glob("[a-zA-Z]*.py")):
            if file.stem in known:
                raise error(
                    ValueError, "train", f"{part} under names of their own", file,
                    f"rename it: {file.stem} is here already",
                )  # fmt: skip
        path.append(str(root / part))
    importlib.invalidate_caches()
