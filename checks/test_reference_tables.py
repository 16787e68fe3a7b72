"""What is looked up is right: columns, states, steps and settings of the pages are the code's."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import Field, fields
from inspect import get_annotations
from typing import Any, get_type_hints

import pytest
import sqlalchemy as sa
from aftercommit import EngineSettings
from aftercommit.deliveries.history import ENGINE as ENGINE_HISTORY
from aftercommit.deliveries.states import delivery_state
from aftercommit_tests.transitions import BY_OWNERS, TRANSITIONS, State, Step
from msgspec import Meta

from allocation.config import Settings
from allocation.entrypoints.app import APP
from checks.russian_steps import BY_TIME_IN_RUSSIAN, IN_RUSSIAN
from tools.repository import ROOT

DOCS = ROOT / "docs"
ENGINE_DOCS = ROOT / "packages" / "aftercommit" / "docs"
RUSSIAN_PAGE = DOCS / "life-of-a-delivery.ru.md"
ENGINE = ROOT / "packages" / "aftercommit" / "src" / "aftercommit"
WORDS = ENGINE / "extensions" / "page" / "assets" / "words.js"
MODELLED = {state.value: state for state in State} | {"[*]": State.NONE}
BY_TIME = {"the lease is over", "its pause is over", "its delay is over"}


def rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of all tables, without headings."""
    found = re.findall(r"^\| (`?\w.*) \|$", text, re.MULTILINE)
    cells = [re.split(r" \| ", row) for row in found]
    return [row for row in cells if row[0] not in ("column", "state", "variable")]


def test_every_column_of_the_engine_has_a_row_with_its_type() -> None:
    """Anyone who writes a query at night looks there."""
    sections = (ENGINE_DOCS / "tables.md").read_text().split("\n## ")
    shown = {
        text.partition("\n")[0]: [row[:2] for row in rows(text)]
        for text in sections
        if text.startswith("aftercommit_")
    }

    assert shown == {
        name: [[f"`{column.name}`", type_of(column)] for column in table.columns]
        for name, table in sorted(ENGINE_HISTORY.metadata.tables.items())
    }


def type_of(column: "sa.Column[object]") -> str:
    kind = column.type.impl if isinstance(column.type, sa.TypeDecorator) else column.type
    marks = ["key"] * column.primary_key + ["may be empty"] * bool(column.nullable)
    return ", ".join([type(kind).__name__.lower(), *marks])


def test_every_state_of_a_delivery_has_a_row_in_the_order_in_which_they_count() -> None:
    """The first that fits is the state."""
    section = (ENGINE_DOCS / "tables.md").read_text().partition("\n## aftercommit_")[0]
    states = [str(then.effective_value) for _, then in delivery_state(sa.literal(0.0)).whens]

    assert [row[0] for row in rows(section)] == [*states, "due"]


ENGLISH = {step: step.text for step in Step}
DIAGRAMS = [
    ("life-of-a-delivery.md", ENGLISH, BY_TIME),
    ("life-of-a-delivery.ru.md", IN_RUSSIAN, BY_TIME_IN_RUSSIAN),
]


@pytest.mark.parametrize(("page", "texts", "by_time"), DIAGRAMS)
def test_every_step_of_the_model_is_in_the_diagram(
    page: str, texts: dict[Step, str], by_time: set[str]
) -> None:
    """What the model test walks, a reader sees."""
    assert {*texts} == {*Step}
    assert {step for _, _, step in arrows(page)} == {*texts.values(), *by_time}


@pytest.mark.parametrize(("page", "texts", "by_time"), DIAGRAMS)
def test_every_arrow_of_the_diagram_is_one_of_the_model(
    page: str, texts: dict[Step, str], by_time: set[str]
) -> None:
    """Its ends, too: an arrow that leads elsewhere is worse than none."""
    steps = {text: step for step, text in texts.items()}
    drawn = {
        (MODELLED[before], steps[label], MODELLED[after])
        for before, after, label in arrows(page)
        if label not in by_time
    }

    assert drawn - TRANSITIONS == set()
    assert [each for each in TRANSITIONS - drawn if not is_in_words(*each)] == []


def test_the_russian_diagrams_name_states_as_the_page_in_the_browser_does() -> None:
    """Anyone who reads about a delivery finds it there by the same word."""
    russian = WORDS.read_text().partition("const RUSSIAN")[2]
    words = dict(re.findall(r'\b(\w+): "([^"]*)"', russian))
    diagrams = re.findall(r"^stateDiagram-v2\n(.*?)^```", RUSSIAN_PAGE.read_text(), re.M | re.S)

    assert len(diagrams) == 4
    for diagram in diagrams:
        named = re.findall(r'^    state "(.*)" as (\w+)$', diagram, re.MULTILINE)
        drawn = re.findall(r"^    (\S+) --> (\w+): ", diagram, re.MULTILINE)
        states = {state for ends in drawn for state in ends if state != "[*]"}
        assert {state: name for name, state in named} == {state: words[state] for state in states}


def arrows(page: str) -> list[tuple[str, str, str]]:
    """Return the arrows of the diagram: from where, to where, and what happens."""
    text = (DOCS / page).read_text()
    return re.findall(r"^    (\S+) --> (\w+): (.*)$", text, re.MULTILINE)


def is_in_words(before: State, step: Step, after: State) -> bool:
    """Tell whether the text below the diagram has this step in place of an arrow."""
    decided = step in (Step.RETRY, Step.DISCARD) and before is not State.PARKED
    is_late = before is State.LEASE_EXPIRED and step in BY_OWNERS | {Step.REVOKE}
    return decided or is_late or step is Step.BLOCK or before is after


def test_every_setting_has_a_row_with_default_unit_and_reason() -> None:
    """The application's, the engine's, and those of each extension, in this order."""
    kinds: list[Any] = [Settings, EngineSettings, *APP.parts.settings()]

    assert [
        [variable, *cells] for variable, _, *cells in rows((DOCS / "settings.md").read_text())
    ] == [row for kind in kinds for row in settings_of(kind)]


def settings_of(kind: Any) -> Iterator[Sequence[str]]:
    """Yield the settings of one class that say why they have their default."""
    known = {setting.name: setting for setting in fields(kind)}
    hints = get_type_hints(kind, include_extras=True)
    for name in get_annotations(kind):
        if said := getattr(hints[name], "__metadata__", ()):
            unit = "".join(str(each.description) for each in said if isinstance(each, Meta))
            yield [f"`{Settings.variable(name)}`", default_of(known[name]), unit, said[-1]]


def default_of(setting: "Field[Any]") -> str:
    if setting.default is None:
        return "–"
    number = isinstance(setting.default, float)
    return f"`{setting.default:.10g}`" if number else f"`{setting.default}`"
