"""The script that puts a form to register users into the page: it keeps the page's rules."""

import re

from allocation.entrypoints.http.routes import FORM

MARKUP = r"(inner|outer|insertAdjacent)HTML|document\.write|\beval\b|Function\(|srcdoc|DOMParser"


def test_no_text_becomes_markup_and_nobody_else_is_asked() -> None:
    """As in the page's own scripts."""
    assert not re.search(MARKUP, FORM)
    assert re.findall(r"\w+://", FORM) == []


def test_it_speaks_the_languages_of_the_page_with_all_words() -> None:
    """A word that nobody has written would be an error in the middle of the page."""
    english, russian = (
        {*re.findall(r"(\w+): \"", found)} for found in re.findall(r"  (?:en|ru): \{(.*)\}", FORM)
    )

    used = {*re.findall(r"words\.(?!js)(\w+)", FORM), *re.findall(r'field\("(\w+)"', FORM)}
    assert english == russian == used
