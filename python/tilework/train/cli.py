"""`tilework train`."""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

from rich.console import Console

# The modules of recipes, each with RECIPES and SOURCES by the name of the data, and train().
_MODELS = ("mlp", "lenet", "resnet", "unet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", choices=_MODELS)
    parser.add_argument("--data", metavar="NAME", help="default: the first that the model has")
    parser.add_argument("--epochs", type=int, help="passes over the data (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where the weights go, as safetensors"
    )
    parser.add_argument(
        "--engine", choices=("native", "numba"), help="default: native if installed"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint beside --output"
    )


def run(args: argparse.Namespace) -> int:
    """Trains, and prints how good the model is on held-out data, beside something simpler."""
    import tilework as tw
    from tilework import io
    from tilework.errors import error
    from tilework.train import Interrupted
    from tilework.train.callbacks import Checkpoint, ProgressBar

    console = Console()
    if args.engine:
        tw.use_engine(args.engine)
    recipes = importlib.import_module(f"tilework.train.{args.model}")
    name = args.data or next(iter(recipes.RECIPES))
    if name not in recipes.RECIPES:
        known = ", ".join(recipes.RECIPES)
        raise error(ValueError, "train", f"--data of {known}", repr(name), "name one of them")
    output = args.output or Path(f"{args.model}-{name}.safetensors")
    checkpoint = output.with_name(output.name + ".checkpoint")
    recipe, source = recipes.RECIPES[name], recipes.SOURCES[name]()
    epochs = recipe.epochs if args.epochs is None else args.epochs
    if epochs < 1:
        raise error(ValueError, "train", "epochs from 1", epochs, "raise --epochs")
    if not output.parent.is_dir():
        raise error(
            ValueError, "train", "a folder for --output", f"no {output.parent}", "make it first"
        )
    start = time.perf_counter()
    try:
        outcome = recipes.train(
            source, recipe, args.seed, epochs=epochs,
            watchers=[ProgressBar(console), Checkpoint(checkpoint)],
            resume=checkpoint if args.resume else None,
        )  # fmt: skip
    except Interrupted as stop:
        console.print(f"{stop}: saved to {checkpoint}", highlight=False, soft_wrap=True)
        console.print(f"go on with: {_again(args, name, output)}", highlight=False, soft_wrap=True)
        return 130
    io.save(outcome.model.state_dict(), output)
    written = f"weights in {output}"
    if args.model == "unet":
        outcome.save_picture(output.with_suffix(".png"))
        written += f", a picture in {output.with_suffix('.png')}"
    checkpoint.unlink()
    seconds = time.perf_counter() - start
    console.print(f"{name}: {outcome}, {seconds:.1f} s, {written}", highlight=False, soft_wrap=True)
    return 0


def _again(args: argparse.Namespace, data: str, output: Path) -> str:
    words = ["tilework train", args.model, "--data", data, "--seed", str(args.seed)]
    words += ["--output", str(output), "--resume"]
    if args.epochs is not None:
        words += ["--epochs", str(args.epochs)]
    if args.engine:
        words += ["--engine", args.engine]
    return " ".join(words)
