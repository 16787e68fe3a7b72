"""The glossary knows the words of the code, and the code those of the glossary."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.generated import PAGES, ROOT
from tests.shape import ALLOCATION, files

GLOSSARY = ROOT / "docs" / "glossary.md"
ROWS = re.findall(
    r"^\| \*?([^|*]+?)\*? \| ([^|]+) \| ([^|]+) \| ([^|]*\[`[^|]*) \|$",
    GLOSSARY.read_text(),
    re.MULTILINE,
)


def links() -> Iterator[tuple[Path, str]]:
    """Yield each file that the glossary names, with each name it says is there."""
    for _, _, _, where in ROWS:
        for names, file in re.findall(r"\[([^]]+)\]\(([^)]+)\)", where):
            for name in re.findall(r"`(\w+)`", names):
                yield (GLOSSARY.parent / file).resolve(), name


def defined(file: Path) -> set[str]:
    """Return the names of the classes, functions, fields and constants that a file defines."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def words(text: str) -> str:
    """Return a text in lower case, with one space between its words: `UserProjection` has two."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", text)
    return f" {parted} ".lower()


def test_every_row_is_a_term_with_its_place() -> None:
    """Or it would be looked for nowhere."""
    rows = [line for line in GLOSSARY.read_text().splitlines() if re.match(r"\| (?!term )", line)]

    assert len(ROWS) == len(rows) > 40
    assert len({term for term, *_ in ROWS}) == len(ROWS)


def test_what_the_glossary_names_is_there() -> None:
    """The link is how a reader gets from the word to the thing."""
    assert [f"{file.name}: {name}" for file, name in links() if name not in defined(file)] == []


def test_every_term_is_in_use() -> None:
    """A word that only the glossary knows need not be learned."""
    texts = [page.read_text() for page in PAGES if page != GLOSSARY]
    used = words(" ".join([*texts, *(file.read_text() for file in files(ALLOCATION))]))

    unused = [term for term, *_ in ROWS if not re.search(f" {words(term).strip()}(s|ed)? ", used)]
    assert unused == []


EXPLAINED_ELSEWHERE = {"Command", "Event", "InvalidInput", "RuleViolation", "InvalidValue"}


def test_every_class_of_the_inner_layers_is_explained() -> None:
    """Whoever reads them meets it. Errors and messages have a page each: errors.md, asyncapi."""
    named = {name for _, name in links()}
    unknown = [
        f"{file.relative_to(ALLOCATION)}: {node.name}"
        for layer in ("domain", "service_layer")
        for file in files(ALLOCATION / layer)
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if file.name not in ("exceptions.py", "error_kinds.py")
        and not (EXPLAINED_ELSEWHERE & _bases(node))
        if node.name not in named
    ]

    assert unknown == []  # explain them in docs/glossary.md, or use a word that is there


def _bases(node: ast.ClassDef) -> set[str]:
    return {base.id for base in node.bases if isinstance(base, ast.Name)}
