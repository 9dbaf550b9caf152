"""`tilework train`."""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tilework.io.files import replacing

_WIDEST = 1000  # characters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="NAME", help="one that --list shows")
    parser.add_argument("--list", action="store_true", help="show every recipe, and end")
    parser.add_argument("--epochs", type=int, help="passes over the data (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where to train: cpu (the default) or cuda")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where the weights go, as safetensors"
    )
    parser.add_argument(
        "--engine", choices=("native", "numba"), help="default: native if installed"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint beside --output"
    )
    parser.add_argument(
        "--folder", type=Path, help="one with recipes/ and models/ of your own, besides ours"
    )


def run(args: argparse.Namespace) -> int:
    """Trains, and prints how good the model is on held-out data, beside something simpler."""
    import tilework as tw
    from tilework.errors import error
    from tilework.train import recipes

    console = Console()
    if args.folder is not None:
        recipes.add_folder(args.folder)
    if args.list:
        found = table()  # whole, however narrow the terminal
        wide = Console(width=_WIDEST).measure(found).maximum
        Console(width=max(console.width, wide)).print(found)
        return 0
    if args.recipe is None:
        known = ", ".join(recipes.names())
        raise error(ValueError, "train", f"a recipe of {known}", "none", "name one, or pass --list")
    recipe = recipes.get(args.recipe)
    if args.engine:
        tw.use_engine(args.engine)
    output = args.output or Path(f"{args.recipe}.safetensors")
    if args.epochs is not None and args.epochs < 1:
        raise error(ValueError, "train", "epochs from 1", args.epochs, "raise --epochs")
    if not output.parent.is_dir():
        raise error(
            ValueError, "train", "a folder for --output", f"no {output.parent}", "make it first"
        )
    return _train(args, recipe, output, console)


def table() -> Table:
    """All recipes, a line each, with their last measured figures."""
    from tilework.train import recipes, runs

    found = Table(box=None, pad_edge=False)
    for heading in ("recipe", "what", "data", "goal", "measured", "without learning"):
        found.add_column(heading, no_wrap=True)
    measured = runs.measured()
    for name in recipes.names():
        figure, baseline = runs.figures(measured.get(name))
        try:
            recipe = recipes.get(name)
        except ImportError as reason:  # an extra that is absent
            found.add_row(name, f"needs {reason.name or reason}", "", "", figure, baseline)
            continue
        except Exception as reason:  # a file of one's own may fail anywhere
            line = next(iter(str(reason).splitlines()), "")
            what = escape(f"{type(reason).__name__}: {line}")
            found.add_row(name, what, "", "", figure, baseline)
            continue
        goal = runs.goal(recipe.metrics()[0], recipe.goal)
        found.add_row(name, recipe.title, recipe.data, goal, figure, baseline)
    return found


def _train(args: argparse.Namespace, recipe: Any, output: Path, console: Console) -> int:
    from tilework import data, io
    from tilework.train import Interrupted
    from tilework.train import recipe as running
    from tilework.train.callbacks import Checkpoint, ProgressBar

    checkpoint = output.with_name(output.name + ".checkpoint")
    source = data.source(recipe.data)
    try:
        outcome = running.run(
            recipe, source, args.seed, epochs=args.epochs,
            watchers=[ProgressBar(console), Checkpoint(checkpoint)],
            resume=checkpoint if args.resume else None, device=args.device,
        )  # fmt: skip
    except Interrupted as stop:
        console.print(f"{stop}: saved to {checkpoint}", highlight=False, soft_wrap=True)
        console.print(f"go on with: {_again(args, output)}", highlight=False, soft_wrap=True)
        return 130
    io.save(outcome.model.state_dict(), output)
    written = f"weights in {output}, the run in {_write_run(args, recipe, outcome, output)}"
    if recipe.picture is not None:
        recipe.picture(outcome, source, output.with_suffix(".png"))
        written += f", a picture in {output.with_suffix('.png')}"
    if recipe.sample is not None:
        output.with_suffix(".txt").write_text(recipe.sample(outcome, source), encoding="utf-8")
        written += f", a sample in {output.with_suffix('.txt')}"
    checkpoint.unlink()
    line = f"{args.recipe}: {outcome}, {outcome.seconds:.1f} s, {written}"
    console.print(line, highlight=False, soft_wrap=True)
    return 0


def _write_run(args: argparse.Namespace, recipe: Any, outcome: Any, output: Path) -> Path:
    """What the run came to, as JSON beside the weights: what `tilework.train.runs` reads."""
    import tilework as tw
    from tilework import hardware
    from tilework._version import __version__

    path = output.with_suffix(".json")
    found = {
        "recipe": args.recipe,
        "title": recipe.title,
        "data": recipe.data,
        "version": __version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": hardware.cpu()["model"],
        "threads": tw.get_num_threads(),
        "seed": args.seed,
        "epochs": recipe.epochs if args.epochs is None else args.epochs,
        "figure": outcome.name,
        "value": outcome.value,
        "interval": outcome.interval,
        "goal": recipe.goal,
        "baseline": {"name": outcome.baseline.name, "value": outcome.baseline.value},
        "samples": outcome.samples,
        "parameters": recipe.parameters,
        "seconds": round(outcome.seconds, 2),
        "history": outcome.trainer.history.rows,
    }
    with replacing(path, "train") as file:
        file.write((json.dumps(found, indent=1) + "\n").encode())
    return path


def _again(args: argparse.Namespace, output: Path) -> str:
    words = ["tilework train", args.recipe, "--seed", str(args.seed), "--output", str(output)]
    words.append("--resume")
    if args.epochs is not None:
        words += ["--epochs", str(args.epochs)]
    if args.engine:
        words += ["--engine", args.engine]
    if args.device != "cpu":
        words += ["--device", args.device]
    if args.folder is not None:
        words += ["--folder", str(args.folder)]
    return " ".join(words)
