"""A page with a guarantee and its proof, from the documentation and the tests."""

import ast
from html import escape

import anyio

from playground.experiments import Experiment

ROOT = anyio.Path(__file__).parents[1]
PROMISING = (
    "packages/aftercommit/docs/guarantees.md",
    "docs/guarantees.md",
    "docs/extensions/inspecting.md",
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><link rel="stylesheet" href="/playground/proof.css"></head>
<body><main><h1>{title}</h1><pre>{promise}</pre>
<h2><code>{proof}</code></h2><pre><code>{test}</code></pre></main></body></html>
"""


async def page(experiment: Experiment) -> str:
    """Return the page."""
    file, _, name = experiment.proof.partition("::")
    pages = "\n".join([await _text(page) for page in PROMISING])
    texts = {
        "title": experiment.promise,
        "promise": section(pages, experiment.promise),
        "proof": experiment.proof,
        "test": function(await _text(file), name),
    }
    return PAGE.format_map({key: escape(text) for key, text in texts.items()})


def section(text: str, heading: str) -> str:
    """Return the text under a heading."""
    found = text.partition(f"\n### {heading}\n")[2]
    return found.partition("\n### ")[0].partition("\n## ")[0].strip()


def function(source: str, name: str) -> str:
    """Return the source of a function, with its decorators."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    return ""


async def _text(name: str) -> str:
    file = ROOT / name
    return await file.read_text() if await file.is_file() else ""
