"""`tilework train`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

_DATA = ("digits", "fashion-mnist")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", choices=("mlp",))
    parser.add_argument("--data", choices=_DATA, default="digits")
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
    """Trains, and prints the held-out accuracy beside the majority class's."""
    import tilework as tw
    from tilework import io
    from tilework.errors import error
    from tilework.train import mlp
    from tilework.train.fit import Interrupted
    from tilework.train.progress import watching

    console = Console()
    if args.engine:
        tw.use_engine(args.engine)
    output = args.output or Path(f"mlp-{args.data}.safetensors")
    checkpoint = output.with_name(output.name + ".checkpoint")
    recipe, images = mlp.RECIPES[args.data], mlp.SOURCES[args.data]()
    epochs = recipe.epochs if args.epochs is None else args.epochs
    if epochs < 1:
        raise error(ValueError, "train", "epochs from 1", epochs, "raise --epochs")
    if not output.parent.is_dir():
        raise error(
            ValueError, "train", "a folder for --output", f"no {output.parent}", "make it first"
        )
    start = time.perf_counter()
    try:
        with watching(console, epochs) as watcher:
            outcome = mlp.train_mlp(
                images, recipe, args.seed, epochs, checkpoint, args.resume,
                watcher.on_batch, watcher.on_epoch,
            )  # fmt: skip
    except Interrupted as stop:
        console.print(f"{stop}: saved to {checkpoint}", highlight=False, soft_wrap=True)
        console.print(f"go on with: {_again(args, output)}", highlight=False, soft_wrap=True)
        return 130
    io.save(outcome.model.state_dict(), output)
    checkpoint.unlink()
    seconds = time.perf_counter() - start
    console.print(
        f"{args.data}: held-out accuracy {outcome.accuracy:.2%}, {len(images.test_labels)} images "
        f"({outcome.majority:.2%} by the majority class), {seconds:.1f} s, weights in {output}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _again(args: argparse.Namespace, output: Path) -> str:
    words = ["tilework train", args.model, "--data", args.data, "--seed", str(args.seed)]
    words += ["--output", str(output), "--resume"]
    if args.epochs is not None:
        words += ["--epochs", str(args.epochs)]
    if args.engine:
        words += ["--engine", args.engine]
    return " ".join(words)
