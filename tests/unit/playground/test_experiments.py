"""Each experiment shows a promise that is made, and comes to a verdict that may be bad."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from allocation.adapters.playground.views import DeliveryRow
from allocation.entrypoints.playground import proofs
from allocation.entrypoints.playground.courses import Course
from allocation.entrypoints.playground.experiments import EXPERIMENTS
from allocation.entrypoints.playground.mail import Received
from allocation.service_layer.envelopes import EventId

GUARANTEES = (Path(__file__).parents[3] / "docs" / "guarantees.md").read_text()
BEFORE = DeliveryRow(
    event_id=EventId(UUID(int=1)),
    handler="send_welcome_email",
    attempts=1,
    token=2,
    process="worker-1@host:1",
    parked_at=None,
    finished_at=None,
)
AFTER = replace(BEFORE, attempts=2, token=3, process="worker-2@host:2", finished_at=1.0)
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
    promise = proofs.section(GUARANTEES, EXPERIMENTS[name].promise)
    file, _, test = EXPERIMENTS[name].proof.partition("::")

    assert "*Not" in promise
    assert file in promise
    assert f"::{test}`" in promise


def test_a_section_ends_where_the_next_begins() -> None:
    """And what is not there is empty: an installation has no documentation."""
    text = "## Promises\n\n### One\n\nIt is.\n\n### Two\n\nIt is not.\n"

    assert proofs.section(text, "One") == "It is."
    assert proofs.section(text, "Two") == "It is not."
    assert proofs.section("", "One") == ""


def test_a_function_is_shown_with_its_decorators() -> None:
    """They say how it is run."""
    source = "import x\n\n@x.mark\nasync def test_it() -> None:\n    assert x\n\nrest = 1\n"

    assert proofs.function(source, "test_it") == (
        "@x.mark\nasync def test_it() -> None:\n    assert x"
    )
    assert proofs.function("", "test_it") == ""


def test_what_was_promised_and_is_so_is_kept() -> None:
    """The course of things as they should be."""
    course = Course()

    course.found_another_owner(BEFORE, AFTER)
    course.found_one_email([EMAIL], AFTER)
    course.found_one_each([1, 1, 1])
    course.end()

    assert [fact["is_so"] for fact in course.facts] == [True, True, True]
    assert course.state == "kept"


@pytest.mark.parametrize(
    "found",
    [
        lambda course: course.found_another_owner(BEFORE, replace(AFTER, process=BEFORE.process)),
        lambda course: course.found_another_owner(BEFORE, replace(AFTER, token=2)),
        lambda course: course.found_one_email([], AFTER),
        lambda course: course.found_one_email([EMAIL, EMAIL], AFTER),
        lambda course: course.found_one_email([replace(EMAIL, message_id="<another>")], AFTER),
        lambda course: course.found_one_each([1, 2, 1]),
        lambda course: course.found_one_each([1, 0, 1]),
    ],
)
def test_what_was_promised_and_is_not_so_is_broken(found: object) -> None:
    """One bad fact is enough."""
    course = Course()
    course.found("works_on", is_so=True)

    found(course)  # type: ignore[operator]
    course.end()

    assert course.state == "broken"
