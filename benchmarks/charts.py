"""The charts of docs/performance.md: SVG in plain text, readable on light and on dark pages.

A bar is a ratio, a thin line its spread, a tick its goal. A bar that misses its goal has another
colour and says so, for those who see no colours.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks import results
from benchmarks.measuring import Row, as_shown
from benchmarks.topics import TOPICS

FOLDER = Path(__file__).parents[1] / "docs" / "performance"

WIDTH, LEFT, RIGHT = 760, 10, 150
ROW, TOP, BAR = 44, 10, 12
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .met { fill: #2f7ed8 } .missed { fill: #d9822b } .free { fill: #8c959f }
    .spread, .goal { stroke: #24292f } .goal { stroke-width: 3 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .met { fill: #58a6ff } .missed { fill: #f0a34a } .free { fill: #7d8590 }
      .spread, .goal { stroke: #e6edf3 }
    }
"""


def write_all() -> None:
    """Write the chart of every topic that has one."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in charts().items():
        (FOLDER / f"{name}.svg").write_text(text)


def charts() -> dict[str, str]:
    """Return the charts, by topic; those without a ratio have none."""
    measured = results.read()
    rows = {t.name: shown(measured[t.name].rows) for t in TOPICS if t.name in measured}
    return {name: chart(of_topic) for name, of_topic in rows.items() if of_topic}


def shown(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that a chart can show: those with a ratio."""
    return [row for row in rows if row.ratio is not None]


def chart(rows: Sequence[Row]) -> str:
    """Return the SVG of a topic."""
    height = TOP + ROW * len(rows) + 8
    body = "\n".join(line for n, row in enumerate(rows) for line in _row(row, n, _scale(rows)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img">\n'
        f"  <style>{STYLE}  </style>\n{body}\n</svg>\n"
    )


def limit_of(row: Row) -> float | None:
    """Return the number in a goal."""
    return float(row.goal.split()[-1]) if row.goal else None


def _scale(rows: Sequence[Row]) -> float:
    """Return how many points a ratio of 1 is."""
    longest = max(max(row.highest or 0, limit_of(row) or 0) for row in rows)
    return (WIDTH - LEFT - RIGHT) / longest


def _row(row: Row, number: int, scale: float) -> Iterator[str]:
    top = TOP + ROW * number
    bar, middle = top + 18, top + 18 + BAR / 2
    ratio, low, high = row.ratio or 0, row.lowest or 0, row.highest or 0
    kind = {True: "met", False: "missed", None: "free"}[row.is_met]
    yield f'  <text x="{LEFT}" y="{top + 12}">{escape(f"{row.what} ÷ {row.other}")}</text>'
    size = f'width="{ratio * scale:.1f}" height="{BAR}"'
    yield f'  <rect class="{kind}" x="{LEFT}" y="{bar}" {size} rx="2"/>'
    ends = f'x1="{LEFT + low * scale:.1f}" x2="{LEFT + high * scale:.1f}"'
    yield f'  <line class="spread" {ends} y1="{middle}" y2="{middle}"/>'
    end = max(ratio, high)
    if limit := limit_of(row):
        at = f"{LEFT + limit * scale:.1f}"
        yield f'  <line class="goal" x1="{at}" x2="{at}" y1="{bar - 3}" y2="{bar + BAR + 3}"/>'
        end = max(end, limit)
    missed = f", goal {row.goal} missed" if row.is_met is False else ""
    words = escape(f"{as_shown(ratio):g}{missed}")
    yield f'  <text x="{LEFT + end * scale + 8:.1f}" y="{bar + BAR - 1}">{words}</text>'
