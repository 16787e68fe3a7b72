"""Each experiment shows a promise that is made, and comes to a verdict that may be bad."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from aftercommit.extensions.operations.causation_tree import Node

from playground import guarantee_page
from playground.experiment_run import ExperimentRun
from playground.experiments import EXPERIMENTS
from playground.mail import Received

GUARANTEES = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text()
BEFORE = Node(
    kind="delivery",
    id=f"{UUID(int=1)}:send_welcome_email",
    parent=str(UUID(int=1)),
    correlation_id=UUID(int=2),
    name="send_welcome_email",
    state="running",
    token=2,
    owner="worker-1@host:1",
    failures=(),
)
AFTER = replace(BEFORE, state="done", token=3, owner="worker-2@host:2")
EMAIL = Received(
    number=1,
    at=datetime(2026, 1, 1, tzinfo=UTC),
    recipient="ivan@example.com",
    subject="Welcome, Иван",
    message_id=f"<{UUID(int=1)}.send_welcome_email@allocation>",
    is_repeated=False,
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_shows_a_promise_and_its_proof(name: str) -> None:
    """They are those of the documentation."""
    promise = guarantee_page.section(GUARANTEES, EXPERIMENTS[name].promise)
    file, _, test = EXPERIMENTS[name].proof.partition("::")

    assert "*Not" in promise
    assert file in promise
    assert f"::{test}`" in promise


def test_a_section_ends_where_the_next_begins() -> None:
    """And what is not there is empty: an installation has no documentation."""
    text = "## Promises\n\n### One\n\nIt is.\n\n### Two\n\nIt is not.\n"

    assert guarantee_page.section(text, "One") == "It is."
    assert guarantee_page.section(text, "Two") == "It is not."
    assert guarantee_page.section("", "One") == ""


def test_a_function_is_shown_with_its_decorators() -> None:
    """They say how it is run."""
    source = "import x\n\n@x.mark\nasync def test_it() -> None:\n    assert x\n\nrest = 1\n"

    assert guarantee_page.function(source, "test_it") == (
        "@x.mark\nasync def test_it() -> None:\n    assert x"
    )
    assert guarantee_page.function("", "test_it") == ""


def test_what_was_promised_and_is_so_is_kept() -> None:
    """The run of things as they should be."""
    run = ExperimentRun()

    run.check_another_owner(BEFORE, AFTER)
    run.check_one_email([EMAIL], AFTER)
    run.check_one_each([1, 1, 1])
    run.end()

    assert [fact["is_so"] for fact in run.facts] == [True, True, True]
    assert run.state == "kept"


@pytest.mark.parametrize(
    "found",
    [
        lambda run: run.check_another_owner(BEFORE, replace(AFTER, owner=BEFORE.owner)),
        lambda run: run.check_another_owner(BEFORE, replace(AFTER, token=2)),
        lambda run: run.check_one_email([], AFTER),
        lambda run: run.check_one_email([EMAIL, EMAIL], AFTER),
        lambda run: run.check_one_email([replace(EMAIL, message_id="<another>")], AFTER),
        lambda run: run.check_one_each([1, 2, 1]),
        lambda run: run.check_one_each([1, 0, 1]),
    ],
)
def test_what_was_promised_and_is_not_so_is_broken(found: object) -> None:
    """One bad fact is enough."""
    run = ExperimentRun()
    run.check("works_on", is_so=True)

    found(run)  # type: ignore[operator]
    run.end()

    assert run.state == "broken"
