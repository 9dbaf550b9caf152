"""The recipes' measured runs: what `tilework train --list` and the table of docs/training.md show.

    python -m tilework.train.runs RUN.json...

takes runs as `tilework train` writes them into runs.json here, each in place of the recipe's last,
and writes the table anew; with no run, the table alone. No figure is typed.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tilework.errors import error
from tilework.io.files import replacing
from tilework.metrics import Metric
from tilework.train import recipes
from tilework.train.recipe import Recipe, with_interval

Run = Mapping[str, Any]
STORE = Path(__file__).with_name("runs.json")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "training.md"  # of a checkout
BEGIN, END = "<!-- runs: begin -->\n", "<!-- runs: end -->\n"
_HEADINGS = (
    "recipe", "what", "data", "parameters", "goal", "measured", "without learning",
    "seconds", "seed", "version, date",
)  # fmt: skip
_LEFT_OUT = ("history",)


@functools.cache
def measured() -> dict[str, Run]:
    """The last run of each recipe that has one, by name: figure, value, interval of 95 %, baseline,
    seed, seconds, threads, machine, version, date, and what the recipe said then.

    >>> from tilework.train import runs
    >>> runs.measured()["mlp"]["figure"]
    'accuracy'
    """
    found: dict[str, Run] = json.loads(STORE.read_text(encoding="utf-8"))
    return found


def goal(metric: Metric, value: float) -> str:
    """What is to be reached, and which way is up.

    >>> from tilework.train import runs
    >>> runs.goal(metrics.Accuracy(), 0.9), runs.goal(metrics.MSE(), 0.02)
    ('accuracy ≥ 0.9', 'mse ≤ 0.02')
    """
    return f"{metric.name.replace('_', ' ')} {'≥' if metric.higher_is_better else '≤'} {value:g}"


def figures(run: Run | None) -> tuple[str, str]:
    """What a run came to, and whether that misses the goal, and what comes without learning, as
    text."""
    if run is None:
        return "not yet", ""
    baseline = run["baseline"]
    figure = with_interval(run["value"], run["interval"])
    sign = 1 if "≥" in run["aim"] else -1
    if sign * run["value"] < sign * run["goal"]:
        figure += " (missed)"
    return figure, f"{baseline['value']:.4g} ({baseline['name']})"


def differences(run: Run, recipe: Recipe) -> list[str]:
    """In what a recipe is no longer what was run: such a figure is not the recipe's."""
    now = {name: getattr(recipe, name) for name in ("data", "epochs", "parameters")} | {
        "figure": recipe.metrics()[0].name
    }
    return [f"{name} {run[name]}, now {value}" for name, value in now.items() if run[name] != value]


def table() -> str:
    """Every recipe that was run, as a table of Markdown."""
    rows = [_HEADINGS, ("---",) * len(_HEADINGS)]
    for name, run in sorted(measured().items()):
        rows.append(
            (name, run["title"], run["data"], f"{run['parameters']:,}", run["aim"], *figures(run),
             f"{run['seconds']:.1f}", str(run["seed"]), f"{run['version']}, {run['date']}")
        )  # fmt: skip
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page_with(table: str, page: str) -> str:
    """A page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise error(
            ValueError, "train.runs", f"a page with {BEGIN.strip()} and {END.strip()}", "neither",
            "put them where the table is to be",
        )  # fmt: skip
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def record(paths: Sequence[Path]) -> None:
    """Takes runs into the store; what the recipes that can be imported say of themselves, too.

    ValueError where a run is not of the recipe as it is.
    """
    store = {name: dict(run) for name, run in measured().items()}
    for path in paths:
        run = json.loads(path.read_text(encoding="utf-8"))
        recipe = recipes.get(run["recipe"])
        if stale := differences(run, recipe):
            raise error(
                ValueError, "train.runs", f"a run of {run['recipe']} as it is",
                f"{path}: {'; '.join(stale)}", "train it again",
            )  # fmt: skip
        store[run["recipe"]] = {k: v for k, v in run.items() if k not in _LEFT_OUT}
    for name in recipes.names():
        if name in store:
            try:
                recipe = recipes.get(name)
            except ImportError:  # an extra that is absent: as it was
                continue
            aim = goal(recipe.metrics()[0], recipe.goal)
            store[name] |= {"title": recipe.title, "goal": recipe.goal, "aim": aim}
    kept = {name: store[name] for name in sorted(store)}
    with replacing(STORE, "train.runs") as file:
        file.write((json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())
    measured.cache_clear()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN.json")
    record(parser.parse_args().runs)
    text = page_with(table(), PAGE.read_text(encoding="utf-8"))
    with replacing(PAGE, "train.runs") as file:
        file.write(text.encode())


if __name__ == "__main__":
    main()
