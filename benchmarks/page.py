"""`tilework bench --html`: a run as one page that needs nothing else.

The table is sorted by a click on a heading, a bar shows how far the best peer is behind or ahead,
and colours follow the reader's light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from tilework.benchmarks.compare import Change, Comparison, lines
from tilework.benchmarks.machine import gpu, heading
from tilework.benchmarks.report import cell, rates, ratio
from tilework.benchmarks.results import Row, Run, Times, headline, names, rate

# A bar is full at this ratio, in either direction.
_FULL = 8.0

_LEGEND = (
    "A peer's column is its time over our best: above 1 tilework is faster. The bar is the best "
    "peer's, to the right where tilework is faster. Times are medians taken in turns; a click on a "
    "heading sorts. Soft figures are even: the quartiles of both overlap."
)

_STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fcfcfb; --text: #1d1f21; --soft: #62676d; --line: #dfe2e5; --band: #f1f3f4;
  --good: #2a78d6; --bad: #c7601a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #17181a; --text: #e8e9ea; --soft: #a0a6ad; --line: #33373b; --band: #202225;
    --good: #5a9ff0; --bad: #e8935a;
  }
}
* { box-sizing: border-box }
body {
  margin: 0 auto; padding: 1.5rem clamp(.75rem, 3vw, 2.5rem) 3rem; max-width: 100rem;
  background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.1rem; font-weight: 600; margin: 0 }
h2 { font-size: 1rem; margin: 2rem 0 .5rem }
.figure { font-size: 2.6rem; font-weight: 650; line-height: 1.2; margin: .6rem 0 0 }
p { margin: .2rem 0; max-width: 60rem }
.above { margin-top: 1.5rem }
.soft { color: var(--soft) }
.alarm { color: var(--bad); font-weight: 600 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
.scroll { overflow-x: auto; margin-top: .5rem; border: 1px solid var(--line); border-radius: 6px }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: 14px }
th, td { padding: .28rem .6rem; white-space: nowrap; border-bottom: 1px solid var(--line) }
tbody tr:last-child > * { border-bottom: 0 }
thead th { background: var(--band); font-weight: 600; vertical-align: bottom; padding: 0 }
thead button {
  all: unset; box-sizing: border-box; display: block; width: 100%; padding: .45rem .6rem;
  cursor: pointer; text-align: inherit; white-space: normal; min-width: 4.2rem;
}
thead button:focus-visible { outline: 2px solid var(--good); outline-offset: -2px }
th[aria-sort] button::after { content: " \\2193" }
th[aria-sort="ascending"] button::after { content: " \\2191" }
td, thead th { text-align: right; font-variant-numeric: tabular-nums }
th:first-child {
  text-align: left; font-weight: 400; position: sticky; left: 0; background: var(--ground);
}
thead th:first-child { background: var(--band); font-weight: 600 }
tbody tr:hover > * { background: var(--band) }
.bar { min-width: 11.5rem }
.bar div { display: grid; grid-template-columns: 1fr 1fr 4rem; align-items: center }
.bar i { height: .8rem; border-radius: 0 3px 3px 0; background: var(--good); grid-column: 2 }
.bar i.bad {
  border-radius: 3px 0 0 3px; background: var(--bad); grid-column: 1; justify-self: end;
}
.bar i, .bar b { grid-row: 1 }
.bar b { grid-column: 3; font-weight: 600 }
.bar .even { color: var(--soft); font-weight: 400 }
.bar div::before {
  content: ""; grid-column: 2; grid-row: 1; height: 1.25rem; border-left: 1px solid var(--soft);
}
.noise > * { color: var(--soft) }
.slower b { color: var(--bad) }
.faster b { color: var(--good) }
@media (max-width: 40rem) {
  body { font-size: 14px }
  table { font-size: 12.5px }
  th, td { padding: .25rem .45rem }
  th:first-child { white-space: normal; min-width: 9.5rem; max-width: 10.5rem }
  thead button { padding: .4rem .45rem }
  .bar { min-width: 8.5rem }
  dl { grid-template-columns: 1fr }
  dd { margin-bottom: .3rem }
}
"""

# Numbers stand in data-v, since units differ from row to row; what has none goes last. The second
# click on a heading turns the order round.
_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, at) => head.firstElementChild.addEventListener("click", () => {
    const text = at === 0;
    const down = head.hasAttribute("aria-sort") ? head.ariaSort !== "descending" : !text;
    heads.forEach(h => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[at].dataset.v;
    const rows = [...body.rows].sort((a, b) => {
      const x = key(a), y = key(b);
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return (text ? x.localeCompare(y, undefined, {numeric: true}) : x - y) * (down ? -1 : 1);
    });
    body.append(...rows);
  }));
}
"""


def write_page(path: Path, run: Run, comparison: tuple[Comparison, Run] | None = None) -> None:
    """Writes a run, and how it compares with an earlier one, as HTML."""
    path.write_text(page(run, comparison))


def page(run: Run, comparison: tuple[Comparison, Run] | None = None) -> str:
    """The page's text."""
    best = headline(run.rows)
    loud = "alarm" if run.noise["reasons"] else "soft"
    parts = [
        "<h1>tilework bench</h1>",
        f'<p class="soft">{escape(heading(run.machine))}</p>',
        f'<p class="figure">{best.ratio:.2f}x</p>' if best.cases else "",
        f"<p>{escape(str(best).removeprefix(f'{best.ratio:.2f}x '))}</p>",
        f'<p class="{loud}">{escape(run.noise["text"])}</p>',
        f'<p class="soft above">{_LEGEND}</p>',
        _table(*_cases(run)),
        *(_compared(*comparison, run) if comparison else ()),
        "<h2>Machine</h2>",
        _machine(run),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>tilework bench: {escape(heading(run.machine))}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _machine(run: Run) -> str:
    about = run.machine
    facts = {
        "CPU": about["cpu"]["model"],
        "ISA": about["isa"],
        "threads": about["threads"],
        "precision": about["precision"],
        "roof": _roof(about["roof"]),
        "GPU": gpu(about),
        "Python": about["python"],
        "libraries": ", ".join(f"{name} {v}" for name, v in about["libraries"].items()),
        "measured": run.when,
        "command": run.command,
    }
    items = (f"<dt>{k}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items() if v != "")
    return f"<dl>{''.join(items)}</dl>"


def _roof(roof: dict[str, float] | None) -> str:
    if roof is None:
        return ""
    return (
        f"{roof['float32'] / 1e9:.0f} GFLOP/s of float32, {roof['float64'] / 1e9:.0f} of float64, "
        f"{roof['bandwidth'] / 1e9:.0f} GB/s"
    )


def _table(headings: list[str], rows: list[str]) -> str:
    heads = "".join(
        f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in headings
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody>\n</table></div>"
    )


def _cases(run: Run) -> tuple[list[str], list[str]]:
    """The headings and the rows of what was measured."""
    ours, peers = names(run.rows, ours=True), names(run.rows, ours=False)
    rows = [_row(row, ours, peers, run.machine["roof"]) for row in run.rows]
    return ["case", "best peer", *ours, "rate", "of roof", *peers], rows


def _row(row: Row, ours: list[str], peers: list[str], roof: dict[str, float] | None) -> str:
    mine, peer = row.best(ours=True), row.best(ours=False)
    speed, share = rates(row, mine, roof)
    figures = rate(row, mine, roof) if mine else (None, "", None)
    cells = [
        f'<th scope="row" data-v="{escape(row.label)}">{escape(row.label)}</th>',
        _bar(mine, peer),
        *(_cell(cell(t), _seconds(t), _spread(t)) for t in map(row.named, ours)),
        _cell(speed, figures[0]),
        _cell(share, figures[2]),
        *(_cell(ratio(mine, t), _over(t, mine), _spread(t)) for t in map(row.named, peers)),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(text: str, value: float | None = None, title: str = "") -> str:
    number = "" if value is None else f' data-v="{value:.6g}"'
    hint = f' title="{escape(title)}"' if title else ""
    return f"<td{number}{hint}>{escape(text)}</td>"


def _seconds(times: Times | None) -> float | None:
    return times.seconds if times and times.state == "ready" else None


def _over(times: Times | None, mine: Times | None) -> float | None:
    seconds = _seconds(times)
    return seconds / mine.seconds if seconds and mine else None


def _spread(times: Times | None) -> str:
    """Quartiles and rounds, for who points at a time."""
    if not times or times.state != "ready":
        return times.why if times else ""
    low, high = (f"{(x / times.seconds - 1.0) * 100:+.1f} %" for x in (times.low, times.high))
    return f"quartiles {low} and {high} of {times.seconds * 1e6:.4g} us, {times.rounds} rounds"


def _bar(mine: Times | None, peer: Times | None) -> str:
    """From the middle to the right where tilework is faster, to the left where it is slower; its
    figure is quiet where the quartiles of both overlap."""
    if not mine or not peer:
        return '<td class="bar"></td>'
    times_as_fast = peer.seconds / mine.seconds
    width = min(abs(math.log(times_as_fast)) / math.log(_FULL), 1.0)
    bad = ' class="bad"' if times_as_fast < 1.0 else ""
    even = "" if mine.high < peer.low or peer.high < mine.low else ' class="even"'
    return (
        f'<td class="bar" data-v="{times_as_fast:.6g}"><div><i{bad} style="width:{width:.1%}"></i>'
        f"<b{even}>{times_as_fast:.2f}x</b></div></td>"
    )


def _compared(found: Comparison, old: Run, new: Run) -> Iterator[str]:
    """The earlier run beside this one."""
    yield "<h2>Against an earlier run</h2>"
    for line in lines(found, old, new):
        yield f"<p>{escape(line)}</p>"
    rows = [_change(change) for change in found.changes]
    yield _table(["case", "old/new", "from", "to", "old", "new", "verdict"], rows)


def _change(change: Change) -> str:
    cells: list[Any] = [
        f'<th scope="row" data-v="{escape(change.label)}">{escape(change.label)}</th>',
        f'<td data-v="{change.ratio:.6g}"><b>{change.ratio:.2f}x</b></td>',
        *(_cell(f"{x:.2f}", x) for x in (change.low, change.high)),
        *(_cell(cell(t), t.seconds, _spread(t)) for t in (change.old, change.new)),
        _cell("within noise" if change.verdict == "noise" else change.verdict, change.ratio),
    ]
    return f'<tr class="{change.verdict}">{"".join(cells)}</tr>'
