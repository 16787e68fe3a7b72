"""The charts of docs/performance.md: SVG in plain text, readable on light and on dark pages.

A bar is a ratio, as long as the part of its goal that it is, and the goal of all is one vertical
line; what has no goal is shown as part of 1. The thin line is the spread. A bar that misses its
goal has another colour and says so, for those who see no colours.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks import results
from benchmarks.measuring import Row, as_shown
from benchmarks.topics import TOPICS

FOLDER = Path(__file__).parents[1] / "docs" / "performance"

WIDTH, LEFT, RIGHT = 760, 10, 190
ROW, TOP, BAR = 44, 10, 12
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .met { fill: #2f7ed8 } .missed { fill: #d9822b } .free { fill: #8c959f }
    .spread, .goal { stroke: #24292f } .goal { stroke-dasharray: 4 3 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .met { fill: #58a6ff } .missed { fill: #f0a34a } .free { fill: #7d8590 }
      .spread, .goal { stroke: #e6edf3 }
    }
"""


def write_all() -> None:
    """Write the chart of every topic that has one, and remove the others."""
    FOLDER.mkdir(exist_ok=True)
    drawn = charts()
    for file in FOLDER.glob("*.svg"):
        if file.stem not in drawn:
            file.unlink()
    for name, text in drawn.items():
        (FOLDER / f"{name}.svg").write_text(text)


def charts() -> dict[str, str]:
    """Return the charts, by topic; those without a ratio have none."""
    measured = results.read()
    rows = {t.name: shown(measured[t.name].rows) for t in TOPICS if t.name in measured}
    return {name: chart(of_topic) for name, of_topic in rows.items() if of_topic}


def shown(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that a chart can show: those with a ratio, if one of them has a goal."""
    with_ratio = [row for row in rows if row.ratio is not None]
    return with_ratio if any(row.goal for row in with_ratio) else []


def chart(rows: Sequence[Row]) -> str:
    """Return the SVG of a topic."""
    height = TOP + ROW * len(rows) + 8
    scale = (WIDTH - LEFT - RIGHT) / max(1, *(_of_goal(row, row.highest) for row in rows))
    body = "\n".join(line for n, row in enumerate(rows) for line in _row(row, n, scale))
    goal = f"{LEFT + scale:.1f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img">\n'
        f"  <style>{STYLE}  </style>\n"
        f'  <line class="goal" x1="{goal}" x2="{goal}" y1="{TOP}" y2="{height}"/>\n'
        f"{body}\n</svg>\n"
    )


def _of_goal(row: Row, ratio: float | None) -> float:
    """Return how much of its goal a ratio is; without a goal, of 1."""
    return (ratio or 0) / (float(row.goal.split()[-1]) if row.goal else 1)


def _row(row: Row, number: int, scale: float) -> Iterator[str]:
    top = TOP + ROW * number
    bar, middle = top + 18, top + 18 + BAR // 2
    length, low, high = (_of_goal(row, r) * scale for r in (row.ratio, row.lowest, row.highest))
    kind = {True: "met", False: "missed", None: "free"}[row.is_met]
    yield f'  <text x="{LEFT}" y="{top + 12}">{escape(f"{row.what} ÷ {row.other}")}</text>'
    size = f'width="{length:.1f}" height="{BAR}"'
    yield f'  <rect class="{kind}" x="{LEFT}" y="{bar}" {size} rx="2"/>'
    ends = f'x1="{LEFT + low:.1f}" x2="{LEFT + high:.1f}"'
    yield f'  <line class="spread" {ends} y1="{middle}" y2="{middle}"/>'
    end = LEFT + max(length, high) + 8
    yield f'  <text x="{end:.1f}" y="{bar + BAR - 1}">{escape(_words(row))}</text>'


def _words(row: Row) -> str:
    missed = ", missed" if row.is_met is False else ""
    goal = f" (goal {row.goal}{missed})" if row.goal else ""
    return f"{as_shown(row.ratio or 0):g}{goal}"
