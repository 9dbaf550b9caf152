"""`tilework summary`: the layers of a model or of a recipe's network."""

from __future__ import annotations

import argparse
from pathlib import Path

from tilework.errors import error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a recipe of `tilework train --list`, or one of tilework.models",
    )
    parser.add_argument(
        "--input", type=int, nargs="+", metavar="N", default=[1, 3, 224, 224],
        help="a model's input, the batch first (default: 1 3 224 224); a recipe knows its own",
    )  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, help="one with recipes/ and models/ of your own, besides ours"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    import tilework as tw
    from tilework import data, models
    from tilework.nn import Module
    from tilework.train import recipes

    if args.folder is not None:
        recipes.add_folder(args.folder)
    if args.name in recipes.names():
        recipe = recipes.get(args.name)
        source = data.source(recipe.data)
        batch = next(iter(recipe.batches(source, 2).train))
        inputs = [batch] if isinstance(batch, tw.Tensor) else list(batch[:-1])
        print(tw.summary(recipe.model(source), inputs))
        return 0
    maker = getattr(models, args.name, None)
    try:
        model = maker() if callable(maker) else None
    except TypeError:  # one that needs arguments, or no model
        model = None
    if not isinstance(model, Module):
        raise error(
            ValueError, "summary", "a recipe of `tilework train --list`, or a model of "
            "tilework.models that needs no arguments, like resnet18", args.name, "name one",
        )  # fmt: skip
    print(tw.summary(model, args.input))
    return 0
