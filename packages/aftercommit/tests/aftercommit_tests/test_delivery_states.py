"""What `states.py` does to a row is what the table of transitions, and the page, say."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from inspect import get_annotations, isfunction, signature
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aftercommit
import pytest
import sqlalchemy as sa

from aftercommit_tests.inside.stored import (
    deliveries,
    events,
    handler_pauses,
    metadata,
    pauses,
    states,
)
from aftercommit_tests.transitions import (
    BY_OWNERS,
    CLAIMED,
    KEEP_THE_STATE,
    TRANSITIONS,
    State,
    Step,
)

NOW, LEASE = 1_000_000.0, 30.0
CLOCK: sa.ColumnElement[float] = sa.literal_column(str(NOW), sa.Double())
STORED = {Step.COMMIT, *(step for step in Step if step.function == "new")}
OF_PAUSED = [
    s for s in Step if s not in STORED | BY_OWNERS and s.function not in ("held", "resumed")
]
LATER, BEFORE = NOW + 10, NOW - 10
CLAIM = {"owner": "worker@host:1", "attempts": 1, "token": 1}
NEVER: sa.ColumnElement[Any] = sa.literal(None, sa.String())
WHY = "refused:refused:1"
ROWS: dict[State, dict[str, Any]] = {
    State.SCHEDULED: {"available_at": LATER},
    State.DUE: {"available_at": BEFORE},
    State.RUNNING: {"available_at": LATER, **CLAIM},
    State.LEASE_EXPIRED: {"available_at": BEFORE, **CLAIM},
    State.RETRYING: {"available_at": LATER, "attempts": 1},
    State.BLOCKED: {"available_at": BEFORE, "blocked": True},
    State.PARKED: {"available_at": BEFORE, "parked_at": BEFORE, "attempts": 1},
    State.DONE: {"completed_at": BEFORE, **CLAIM},
    State.DISCARDED: {"completed_at": BEFORE, "discarded_at": BEFORE},
    State.GIVEN_UP: {"completed_at": BEFORE, "given_up": WHY, **CLAIM},
}
STARTS: dict[Step, dict[str, Any]] = {
    Step.PLACE: {"position": None},
    Step.SUCCEED_INSTEAD: {"given_up": WHY},
}
THIS = deliveries.c.handler == "announce"


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_the_module_has_the_functions_that_the_table_names() -> None:
    """What is in one of the two only would be a step that nobody has drawn, or cannot happen."""
    returned = (states.Transition, dict[str, Any])
    functions = {
        name: function
        for name, function in vars(states).items()
        if isfunction(function) and not name.startswith("_")
    }
    found = {
        name for name, each in functions.items() if get_annotations(each).get("return") in returned
    }

    assert found == {step.function for step in Step} | KEEP_THE_STATE


@pytest.mark.parametrize("state", ROWS, ids=lambda state: state.name)
def test_each_step_leads_from_a_state_to_that_of_the_table(
    state: State, connection: sa.Connection
) -> None:
    """From all other states, it hits no row."""
    row = ROWS[state]
    found = set[tuple[State, Step, State]]()
    for step in [each for each in Step if is_tried(state, each)]:
        store(connection, row | STARTS.get(step, {}))
        assert state_of(connection) is state
        if (after := state_after(connection, transition(step), step)) is not None:
            found.add((state, step, after))
        connection.rollback()

    assert found == {each for each in TRANSITIONS if each[0] is state}


@pytest.mark.parametrize("state", ["SCHEDULED", "DUE", "RETRYING", "BLOCKED", "LEASE_EXPIRED"])
def test_what_is_paused_becomes_what_it_was(state: str, connection: sa.Connection) -> None:
    """Somebody who pauses a handler over a night has lost nothing, and hurried nothing."""
    before = State[state]
    store(connection, ROWS[before])

    paused = state_after(connection, states.held(), Step.PAUSE)
    resumed = state_after(connection, states.resumed(), Step.RESUME)

    assert (paused, resumed) == (State.PAUSED, before)
    resume = Step.RESUME_BEFORE if before is State.SCHEDULED else Step.RESUME
    assert (State.PAUSED, resume, resumed) in TRANSITIONS


@pytest.mark.parametrize("step", OF_PAUSED, ids=lambda step: step.name)
def test_what_is_paused_stays_so_or_ends(step: Step, connection: sa.Connection) -> None:
    """Operators decide about it as about all else; nobody claims it."""
    held = {"available_at": BEFORE + pauses.PAUSE}
    store(connection, held)
    connection.execute(sa.insert(handler_pauses), PAUSED_BY)

    after = state_after(connection, transition(step), step)

    assert {each[2] for each in TRANSITIONS if each[:2] == (State.PAUSED, step)} == {after} - {None}


@pytest.mark.parametrize("step", sorted(STORED, key=str), ids=lambda step: step.name)
def test_a_new_delivery_is_in_the_state_of_the_table(step: Step, connection: sa.Connection) -> None:
    """It is claimed at once, or left to workers."""
    columns = {"blocked": True} if step is Step.COMMIT_BEHIND else {}
    due = CLOCK + 10 if step is Step.COMMIT_FOR_LATER else CLOCK
    values = states.new(due, **columns)
    if step is Step.COMMIT:
        values = states.new(CLOCK + LEASE) | states.new_and_claimed("a@host:1")

    store(connection, values)

    assert (State.NONE, step, state_of(connection)) in TRANSITIONS


def test_what_is_redacted_stays_in_its_state(connection: sa.Connection) -> None:
    """To erase somebody starts nothing again."""
    for state, row in ROWS.items():
        store(connection, row | {"last_error": "ivan@example.com is no address"})
        redact = [states.redacted("erased", kept="no"), states.event_redacted()]

        hit = [connection.execute(each.update(THIS)).rowcount for each in redact]

        assert (hit, state_of(connection)) == ([1, 1], state)
        connection.rollback()


def test_the_statements_of_asyncpg_set_what_all_others_set() -> None:
    """There, a claim and a completion are text."""
    text = (
        Path(aftercommit.__file__).with_name("extensions")
        / "postgresql"
        / "asyncpg_delivery_store.sql"
    )
    parts = dict(part.split("\n", 1) for part in text.read_text().split("-- name: ")[1:])
    claim = states.claimed(CLOCK, "worker@host:1", LEASE)
    transitions = {
        "claim": states.claimed_or_parked(claim, CLOCK, sa.literal("no"), NEVER),
        "complete": states.done(CLOCK, LEASE),
    }

    for name, each in transitions.items():
        [change] = re.findall(r"^ *SET (.*?)^ *FROM", parts[name], re.DOTALL | re.MULTILINE)
        assert {*re.findall(r"^ *(\w+) = ", change, re.MULTILINE)} == {*each.values}, name


def test_no_other_module_says_what_is_set() -> None:
    """Anyone who looks for what can happen to a delivery finds all of it in one place."""
    root = Path(aftercommit.__file__).parent
    change, new = re.compile(r"update\((tables\.)?deliveries\)"), re.compile("insert.deliveries")
    files = {
        file.relative_to(root).as_posix(): file.read_text()
        for file in root.rglob("*.py")
        if "migrations" not in file.parts
    }

    assert {name for name, text in files.items() if change.search(text)} == {
        "deliveries/states.py",
        "extensions/operations/cli_check.py",  # asks whether it could write
    }
    stored = [text for text in files.values() if new.search(text)]
    assert [text for text in stored if not re.search(r"\bstates\b", text)] == []


def is_tried(state: State, step: Step) -> bool:
    """Tell whether the table is about this: a claim that has failed can still be made up for.

    That goes by its token alone, as long as nobody has claimed the delivery since then.
    """
    if step is Step.PLACE:  # what has no place is blocked
        return state is State.BLOCKED
    if step is Step.SUCCEED_INSTEAD:
        return state in CLAIMED
    has_ended = state in (State.DUE, State.SCHEDULED, State.RETRYING, State.BLOCKED)
    return step not in STORED and not (step in BY_OWNERS and has_ended)


def transition(step: Step) -> states.Transition:
    """Return what a step does, with arguments as an attempt would give them."""
    known: dict[str, Any] = {
        "now": CLOCK,
        "process": "other@host:2",
        "lease_seconds": LEASE,
        "error": "ValueError: no",
        "seconds": 10.0,
        "handler": deliveries.c.handler,
        "claim": states.claimed(CLOCK, "other@host:2", LEASE),
        "problem": sa.literal("it can never be handled"),
        "given_up": NEVER,
        "why": WHY,
        "position": sa.literal(3),
        "is_blocked": sa.false(),
    }
    function = getattr(states, step.function)
    asked = [
        known[name]
        for name, each in signature(function).parameters.items()
        if each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    found: states.Transition = function(*asked)
    return found


PAUSED_BY = {"handler": "announce", "paused_at": BEFORE, "paused_by": "ivan"}


def store(connection: sa.Connection, row: dict[str, Any]) -> None:
    """Store a delivery, second in its lane."""
    ids = [uuid4(), uuid4()]
    connection.execute(sa.insert(events), [an_event(each) for each in ids])
    lane = {"lane": "announce:1"}
    first = {"event_id": ids[0], "handler": "before", "position": 1, "schema_version": 1}
    first |= states.new(CLOCK)
    second = {"event_id": ids[1], "handler": "announce", "position": 2}
    connection.execute(sa.insert(deliveries).values(first | lane))
    connection.execute(
        sa.insert(deliveries).values(
            {"attempts": 0, "token": 1, "schema_version": 1} | second | lane | row
        )
    )


def an_event(event_id: UUID) -> dict[str, Any]:
    texts = dict.fromkeys(("source", "type", "subject", "data"), "x")
    ids = dict.fromkeys(("correlation_id", "causation_id"), event_id)
    return {
        "id": event_id,
        "recorded_at": 0.0,
        "time": datetime.fromtimestamp(0, UTC),
        **texts,
        **ids,
    }


def state_of(connection: sa.Connection) -> State:
    """Return the state of the delivery."""
    return State(connection.scalar(sa.select(states.delivery_state(CLOCK)).where(THIS)))


def state_after(connection: sa.Connection, change: states.Transition, step: Step) -> State | None:
    """Return the state of the delivery when this has happened; None: it cannot."""
    before = state_of(connection)
    hit = connection.execute(change.update(THIS)).rowcount
    if step is Step.PAUSE:
        connection.execute(sa.insert(handler_pauses), PAUSED_BY)
    if step is Step.RESUME:
        connection.execute(sa.delete(handler_pauses))
    after = state_of(connection)
    return after if hit or after is not before else None
