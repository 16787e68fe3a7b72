"""What the page is made of: one file for all applications, its assets, and the map of handlers.

Nothing in its files makes markup of text, or asks anybody else.
"""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from aftercommit_tests.extensions.web.running import Web
from aftercommit_tests.things import handlers

HANDLERS = Path(handlers.__file__).read_text("utf-8").splitlines()
FILES = {
    file.name: file.read_text("utf-8")
    for file in files("aftercommit.extensions.page").joinpath("assets").iterdir()
}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}
MARKUP = (
    r"(inner|outer|insertAdjacent)HTML|document\.write|\beval\b|Function\(|srcdoc|DOMParser"
    r"|<script>|<style|\sstyle=\"|\son\w+=\""
)
APPLICATIONS = "allocation|coupon|e-?mail|register|welcome|things"


@pytest.mark.anyio
async def test_the_page_has_the_name_of_the_application_and_takes_its_scripts(web: Web) -> None:
    """As modules of this server, whose addresses are only addresses."""
    assert "<!-- panels -->" not in (await web.client.get("/")).text
    web.app.state.panels.append('/panel.js?a="&b')

    page = (await web.client.get("/")).text

    assert "<title>things</title>" in page
    assert "THINGS_OPERATOR_TOKEN" in page
    assert "<title>things</title>" in (await web.client.get("/docs")).text
    assert '<script type="module" src="/panel.js?a=&quot;&amp;b"></script>' in page
    assert '<aside id="panel" hidden>' in page


@pytest.mark.anyio
async def test_the_map_is_the_wiring_of_the_running_program(web: Web) -> None:
    """With the words and the place of each handler in the source."""
    wiring = (await web.get("/page/handler-map")).json()

    assert wiring["commands"]["make_thing"] == ["make_thing"]
    assert "announce" in wiring["events"]["thing_made"]
    announce = wiring["handlers"]["announce"]
    assert (announce["uow"], announce["outside"]) == (False, ["bell"])
    assert announce["about"] == (handlers.announce.__doc__ or "")
    file, _, line = announce["place"].partition(":")
    assert file == "aftercommit_tests/things/handlers.py"
    assert announce["source"].splitlines()[0] == HANDLERS[int(line) - 1] == "async def announce("
    assert wiring["handlers"].keys() >= {"make_thing", *web.application.bus.registry.events}
    assert wiring["sources"] == {"from.catalogue": ["make_thing"]}
    catalogue = wiring["handlers"]["from.catalogue"]
    assert catalogue["origin"] == (
        "exchange catalogue.events (item.listed, item.relisted), topic catalogue"
    )
    assert catalogue["source"].startswith("def item_listed(")


@pytest.mark.parametrize("name", FILES)
def test_nothing_becomes_markup_and_nobody_else_is_asked_or_named(name: str) -> None:
    """What an operator typed is shown as text, and the policy forbids scripts in the page itself.

    There is no script, font or picture of another server. The page is that of all applications.
    """
    addresses = re.findall(r"\w+://[\w.]+", FILES[name])

    assert not re.search(MARKUP, FILES[name])
    assert {*addresses} <= {"http://www.w3.org"}  # names of XML
    assert not re.search(APPLICATIONS, FILES[name], re.IGNORECASE)


def words(language: str) -> dict[str, str]:
    """Return the words of a language, by their names; each with the values it needs."""
    text = SCRIPTS["words.js"].partition(f"const {language} = {{")[2].partition("\n};")[0]
    found = re.findall(r'(\w+): ("[^"]*"|\{[^}]*\}\s*)', re.sub(r"\{(\d)\}", r"<\1>", text))
    return {name: "".join(sorted({*re.findall(r"<\d>", value)})) for name, value in found}


def test_every_language_has_all_words() -> None:
    """With the same values in them."""
    english, russian = words("ENGLISH"), words("RUSSIAN")
    of_plurals = {"one", "few", "many", "other"}

    assert len(english) > 80
    assert {k: v for k, v in english.items() if k not in of_plurals} == {
        k: v for k, v in russian.items() if k not in of_plurals
    }


def test_every_word_that_is_said_is_there_and_every_other_is_gone() -> None:
    """A word that nobody has written would be an error in the middle of the page."""
    others = {name: text for name, text in FILES.items() if name != "words.js"}
    said = {w for text in others.values() for w in re.findall(r'\bsay\("(\w+)"', text)}
    said |= {*re.findall(r'data-(?:word|label|hint)="(\w+)"', FILES["page.html"])}
    quoted = {w for text in FILES.values() for w in re.findall(r'"(\w+)"', text)}

    assert said - words("ENGLISH").keys() == set()
    built = {"deliveries"}
    assert words("ENGLISH").keys() - said - quoted - built == set()
