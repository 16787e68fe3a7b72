"""Both pages show the same: a translation that lags behind tells half of its readers wrong."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.generated import PAGES
from tests.translations import CODE, ENDING, SHOWN, original, phrases
from tests.unit.test_docs import headings, prose

PAIRS = [(page, english) for page in PAGES if (english := original(page))]

MARK = re.compile(r"^(?:#+ |<!-- .* -->)", re.MULTILINE)
ROW_OR_ITEM = re.compile(r"^(?:\||[-*] |\d+\. )", re.MULTILINE)
NAME = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\]\(([^)#]*)#?([^)]*)\)")
THOUSANDS = re.compile(r"(?<=\d)[,\u00a0](?=\d{3}\b)")
LATIN, CYRILLIC = re.compile(r"[A-Za-z]{2}"), re.compile(r"[А-яё]")


def test_both_pages_have_the_same_headings() -> None:
    """In number, order and level, and between the same marks."""
    for russian, english in PAIRS:
        assert _marks(russian) == _marks(english), russian.name


def test_both_pages_show_the_same_code() -> None:
    """`make language` copies it, if there are as many blocks in both."""
    assert [page.name for page, english in PAIRS if _code(page) != _code(english)] == []


def test_both_pages_say_the_same_under_each_heading() -> None:
    """As far as it can be compared: rows, items, names, links, pictures and figures."""
    for russian, english in PAIRS:
        for ours, theirs in zip(_sections(russian), _sections(english), strict=True):
            assert ours == theirs, russian.name


def test_no_words_of_a_script_are_left_in_english() -> None:
    """What scripts write is translated by the words in tests/translations.py: add them there."""
    assert [
        f"{russian.name}: {phrase}"
        for russian, _ in PAIRS
        for part in SHOWN.findall(russian.read_text())
        for phrase in phrases(part)
        if _is_english(phrase)
    ] == []


def _marks(page: Path) -> list[str]:
    return MARK.findall(prose(page.read_text()))


def _code(page: Path) -> list[str]:
    return re.findall(CODE, page.read_text(), re.MULTILINE | re.DOTALL)


def _sections(page: Path) -> Iterator[dict[str, list[str]]]:
    for text in re.split(r"^#+ ", prose(page.read_text()), flags=re.MULTILINE):
        yield {
            "rows and items": ROW_OR_ITEM.findall(text),
            "names": sorted(NAME.findall(text)),
            "links": sorted(_target(page, *link) for link in LINK.findall(text)),
            "figures": sorted(re.findall(r"\d+", THOUSANDS.sub("", text))),
        }


def _target(page: Path, file: str, heading: str) -> str:
    """Return where a link leads, whatever the language: of a heading, its number in the page."""
    target = page.parent / file if file else page
    number = headings(target).index(heading) if heading else ""
    return f"{file.replace(ENDING, '.md')}#{number}"


def _is_english(phrase: str) -> bool:
    words = re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)", "", phrase)
    return bool(LATIN.search(words)) and not CYRILLIC.search(words)
