"""The panel has words for all that it may have to say, in each language, and makes no markup."""

import re
from importlib.resources import files

import pytest

from playground.experiments import EXPERIMENTS

EXTENSION = files("playground")
SCRIPTS = {
    name: EXTENSION.joinpath("static", name).read_text() for name in ("panel.js", "words.js")
}
FACTS = {
    fact
    for source in ("experiment_run.py", "experiments.py")
    for fact in re.findall(r'\.check\(\s*"(\w+)"', EXTENSION.joinpath(source).read_text())
}
LANGUAGES = ("ENGLISH", "RUSSIAN")


def words(language: str) -> dict[str, set[str]]:
    """Return the words of a language, each with the names of the values in it."""
    text = SCRIPTS["words.js"].partition(f"const {language} = {{")[2].partition("\n};")[0]
    found = re.findall(r'([\w.]+|"[\w.]+"): "([^"]*)"', text)
    return {name.strip('"'): {*re.findall(r"\{(\w+)\}", value)} for name, value in found}


def test_each_language_says_the_same() -> None:
    """With the same values."""
    english, russian = map(words, LANGUAGES)

    assert english == russian
    assert len(english) > 80


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_told_whole(name: str) -> None:
    """What it is, what to look at, and each of its steps."""
    known = words("ENGLISH")
    steps = [*EXPERIMENTS[name].steps, "restore"]

    assert {f"{name}.{part}" for part in ("title", "what", "look")} <= known.keys()
    assert [step for step in steps if not {step, f"{name}.{step}"} & known.keys()] == []


def test_what_an_experiment_is_has_two_sentences() -> None:
    """Who has to read more, does not press the button."""
    told = re.findall(r'"\w+\.what": "([^"]+)"', SCRIPTS["words.js"])

    assert len(told) == len(LANGUAGES) * len(EXPERIMENTS)
    assert [text for text in told if len(re.findall(r"\.(?: |$)", text)) != 2] == []


def test_each_fact_can_be_told() -> None:
    """Also those that nobody has seen so far: a promise that is broken."""
    assert len(FACTS) > 10
    assert words("ENGLISH").keys() >= FACTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_becomes_markup_and_nobody_else_is_asked(name: str) -> None:
    """The subject of an e-mail is what somebody has called himself."""
    assert not re.search(r"HTML|document\.write|\beval\b|Function\(|\w+://", SCRIPTS[name])
