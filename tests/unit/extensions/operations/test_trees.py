"""From rows to nodes: what hangs under what, in which order, and what state it is in."""

from collections import namedtuple
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from aftercommit.codec import Codec, Upcasters
from aftercommit.extensions.operations.causation_tree import part_of, summary, tree
from aftercommit.extensions.operations.command_history import summed_up

from allocation.domain.events import UserRegistered
from tests.builders import CODEC

COMMAND = UUID(int=1)
REGISTERED, ALLOCATED = UUID(int=2), UUID(int=3)


ACommand = namedtuple("ACommand", "id type source correlation_id accepted_at causation_id")


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def a_command(
    command_id: UUID = COMMAND,
    *,
    accepted_at: float = 100,
    source: str = "cli",
    causation_id: UUID | None = None,
) -> Any:
    return ACommand(command_id, "register_user", source, UUID(int=9), at(accepted_at), causation_id)


def a_row(event_id: UUID = REGISTERED, handler: str | None = None, **values: Any) -> Any:
    """An event, and a delivery of it that is done."""
    defaults = {
        "type": "user_registered",
        "schema_version": 2,
        "subject": "the user",
        "data": "",
        "causation_id": COMMAND,
        "correlation_id": UUID(int=9),
        "committed_by": None,
        "recorded_at": at(100),
        "attempts": 1,
        "token": 1,
        "owner": None,
        "available_at": None,
        "state": "done",
        "parked_at": None,
        "completed_at": at(101),
        "seconds": 0.5,
        "replay": False,
        "error": None,
        "attempt": None,
        "failed_at": None,
        "failed_in": None,
        "failure": None,
    }
    return SimpleNamespace(**{"id": event_id, "handler": handler, **defaults, **values})


def a_pending_row(handler: str = "b", **values: Any) -> Any:
    pending = {"state": "due", "completed_at": None, "seconds": None}
    return a_row(handler=handler, **{**pending, **values})


CAUSED: dict[str, Any] = {"causation_id": REGISTERED, "committed_by": "b", "type": "allocated"}


def test_an_event_hangs_under_the_delivery_that_caused_it() -> None:
    """Depth first, deliveries by handler: as it is read, and the same each time."""
    rows = [a_row(handler="b"), a_row(handler="a"), a_row(ALLOCATED, "c", **CAUSED)]

    nodes = tree(CODEC, [a_command()], rows)

    assert [(node.id, node.parent) for node in nodes] == [
        (str(COMMAND), None),
        (str(REGISTERED), str(COMMAND)),
        (f"{REGISTERED}:a", str(REGISTERED)),
        (f"{REGISTERED}:b", str(REGISTERED)),
        (str(ALLOCATED), f"{REGISTERED}:b"),
        (f"{ALLOCATED}:c", str(ALLOCATED)),
    ]


def test_an_event_whose_command_is_not_known_hangs_under_nothing() -> None:
    """It is older than the commands that are kept; and it is shown in its time."""
    old, new = uuid4(), uuid4()
    rows = [
        a_row(old, causation_id=uuid4(), recorded_at=at(50)),
        a_row(new, causation_id=uuid4(), recorded_at=at(150)),
    ]

    nodes = tree(CODEC, [a_command(accepted_at=100)], rows)

    assert [node.id for node in nodes] == [str(old), str(COMMAND), str(new)]
    assert {node.parent for node in nodes} == {None}


def test_of_a_tree_a_part_can_be_shown() -> None:
    """What concerns one of many users: what caused it, and what it has caused."""
    other = uuid4()
    rows = [
        a_row(handler="a"),
        a_row(handler="b"),
        a_row(ALLOCATED, "c", **CAUSED),
        a_row(other, "a"),
    ]
    nodes = tree(CODEC, [a_command()], rows)

    part = part_of(nodes, {str(REGISTERED)})

    assert [node.id for node in part] == [node.id for node in nodes if str(other) not in node.id]
    assert {node.id for node in part_of(nodes, {str(ALLOCATED)})} == {
        str(COMMAND),
        str(REGISTERED),
        f"{REGISTERED}:b",
        str(ALLOCATED),
        f"{ALLOCATED}:c",
    }


def test_a_delivery_counts_for_the_command_that_began_it_all() -> None:
    """Two commands may be parts of one story."""
    other, its_event = uuid4(), uuid4()
    rows = [
        a_row(handler="b"),
        a_row(ALLOCATED, "c", **CAUSED, completed_at=at(107)),
        a_row(its_event, "d", causation_id=other, completed_at=None, state="retrying"),
    ]

    first, second = summed_up(tree(CODEC, [a_command(), a_command(other)], rows), [COMMAND, other])

    assert (first.done, first.pending, first.seconds) == (2, 0, 7)
    assert (second.done, second.pending, second.seconds) == (0, 1, None)


def test_the_seconds_of_a_command_end_with_what_was_settled_last() -> None:
    """Parked is settled; a replay, perhaps a year later, is another matter."""
    rows = [
        a_pending_row("a", parked_at=at(105), state="parked"),
        a_row(handler="b", completed_at=at(999), replay=True),
        a_row(handler="b", completed_at=at(999), replay=True, attempt=1),
    ]

    (row,) = summed_up(tree(CODEC, [a_command()], rows), [COMMAND])

    assert (row.done, row.parked, row.seconds, row.about) == (1, 1, 5, "the user")


@pytest.mark.parametrize(
    ("state", "attempts", "is_settled"),
    [
        ("scheduled", 0, True),
        ("retrying", 1, False),
        ("due", 0, False),
        *((state, 1, True) for state in ("paused", "parked", "discarded")),
    ],
)
def test_who_follows_a_trace_does_not_wait_for_what_is_paused_or_for_later(
    state: str, attempts: int, is_settled: bool
) -> None:
    """It may be weeks; what is tried again is waited for."""
    rows = [a_pending_row("a", state=state, attempts=attempts)]

    *_, node = tree(CODEC, [a_command()], rows)

    assert node.is_settled is is_settled


def test_of_many_users_one_is_named_and_the_others_are_counted() -> None:
    """An import is a line like another."""
    data = '{"user_id":"7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11","name":"Иван","email":"i@x.de"}'
    rows = [a_row(uuid4(), "b", data=data) for _ in range(3)]

    rows = [a_row(uuid4(), type="users_imported"), *rows]

    (row,) = summed_up(tree(CODEC, [a_command()], rows), [COMMAND])

    assert (row.about, row.done) == ("Иван <i@x.de> and 2 more", 3)


def test_a_circle_of_causes_ends() -> None:
    """Nobody stores one, but whoever looks for what is wrong has to get an answer."""
    rows = [a_row(handler="a", causation_id=REGISTERED)]

    assert summed_up(tree(CODEC, [a_command()], rows), [COMMAND])[0].done == 0
    assert [node.kind for node in tree(CODEC, [a_command()], rows)] == ["command"]


USER = '{"user_id":"7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"'


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (("user_registered", 2, USER + ',"name":"Иван","email":"i@x.de"}'), "Иван <i@x.de>"),
        (("user_registered", 1, USER + ',"email":"i@x.de"}'), "i <i@x.de>"),
        (
            ("email_changed", 1, USER + ',"old_email":"a@x.de","new_email":"b@x.de"}'),
            "a@x.de → b@x.de",
        ),
        (("coupon_allocated", 1, USER + ',"batch_reference":"W","code":"W-7"}'), "W-…"),
        (("coupon_batch_exhausted", 1, '{"batch_reference":"W"}'), "W"),
        (("coupon_denied", 1, USER + "}"), ""),
        (("user_vanished", 1, USER + "}"), ""),
        (("user_registered", 99, USER + "}"), ""),
        (("user_registered", 2, "no JSON"), ""),
        (("user_registered", 2, "\udcff"), ""),
    ],
)
def test_an_event_is_summed_up_by_its_fields(event: tuple[str, int, str], words: str) -> None:
    """Whatever event it is, as long as it can be read; and without the code, which is money."""
    assert summary(CODEC, *event) == words


def test_an_event_that_cannot_be_upcast_has_no_words() -> None:
    """Whatever an upcaster raises: the rest of the history is shown."""
    upcasters: Upcasters = {("user_registered", 1): lambda old: old.name}  # type: ignore[attr-defined]
    codec = Codec(
        source="/", events=[UserRegistered], upcasters=upcasters, describe=lambda event: "?"
    )

    assert summary(codec, "user_registered", 1, USER + "}") == ""


def test_a_command_that_a_handler_has_returned_hangs_under_its_delivery() -> None:
    """So a trace shows what the outside has answered, and what followed."""
    answer = a_command(UUID(int=4), source="a", causation_id=REGISTERED, accepted_at=101)

    nodes = tree(
        CODEC, [a_command(), answer], [a_row(handler="a"), a_row(ALLOCATED, causation_id=answer.id)]
    )

    parents = {node.id: node.parent for node in nodes}
    assert parents[str(answer.id)] == f"{REGISTERED}:a"
    assert parents[str(ALLOCATED)] == str(answer.id)
