"""The charts of docs/performance.md: SVG in plain text, readable on light and on dark pages.

A bar is a ratio, ours ÷ the other one. The dashed line is the other one, at 1; the thin line is the
spread.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks import results
from benchmarks.measuring import Row, as_shown

FOLDER = Path(__file__).parents[1] / "docs" / "performance"

WIDTH, LEFT, RIGHT = 760, 10, 190
ROW, TOP, BAR = 44, 10, 12
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .ratio { fill: #2f7ed8 }
    .spread, .other { stroke: #24292f } .other { stroke-dasharray: 4 3 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .ratio { fill: #58a6ff }
      .spread, .other { stroke: #e6edf3 }
    }
"""


def write_all() -> None:
    """Write the chart of every topic, and remove the others."""
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.glob("*.svg"):
        file.unlink()
    for name, text in charts().items():
        (FOLDER / f"{name}.svg").write_text(text)


def charts() -> dict[str, str]:
    """Return the charts, by topic."""
    return {name: chart(measured.rows) for name, measured in results.read().items()}


def chart(rows: Sequence[Row]) -> str:
    """Return the SVG of a topic."""
    height = TOP + ROW * len(rows) + 8
    scale = (WIDTH - LEFT - RIGHT) / max(1, *(row.highest for row in rows))
    body = "".join(_row(row, TOP + ROW * number, scale) for number, row in enumerate(rows))
    other = f"{LEFT + scale:.1f}"
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"\
 width="{WIDTH}" height="{height}" role="img">
  <style>{STYLE}  </style>
  <line class="other" x1="{other}" x2="{other}" y1="{TOP}" y2="{height}"/>
{body}</svg>
"""


def _row(row: Row, top: int, scale: float) -> str:
    bar, middle = top + 18, top + 18 + BAR // 2
    ratio, low, high = (r * scale for r in (row.ratio, row.lowest, row.highest))
    end = LEFT + max(ratio, high) + 8
    return f"""\
  <text x="{LEFT}" y="{top + 12}">{escape(f"{row.what} ÷ {row.other}")}</text>
  <rect class="ratio" x="{LEFT}" y="{bar}" width="{ratio:.1f}" height="{BAR}" rx="2"/>
  <line class="spread" x1="{LEFT + low:.1f}" x2="{LEFT + high:.1f}" y1="{middle}" y2="{middle}"/>
  <text x="{end:.1f}" y="{bar + BAR - 1}">{as_shown(row.ratio):g}</text>
"""
