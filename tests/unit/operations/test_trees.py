"""From rows to nodes: what hangs under what, in which order, and what state it is in."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from allocation.adapters.operations.history import summed_up
from allocation.adapters.operations.summaries import summary
from allocation.adapters.operations.trees import tree

COMMAND = UUID(int=1)
REGISTERED, ALLOCATED = UUID(int=2), UUID(int=3)


def a_command(command_id: UUID = COMMAND, *, accepted_at: float = 100) -> Any:
    return SimpleNamespace(
        id=command_id,
        type="register_user",
        source="cli",
        correlation_id=UUID(int=9),
        accepted_at=accepted_at,
    )


def a_row(event_id: UUID = REGISTERED, handler: str | None = None, **values: Any) -> Any:
    """An event, and a delivery of it that is done."""
    defaults = {
        "type": "user_registered",
        "schema_version": 2,
        "subject": "the user",
        "data": None,
        "causation_id": COMMAND,
        "committed_by": None,
        "recorded_at": 100,
        "attempts": 1,
        "token": 1,
        "process": None,
        "due_at": None,
        "due_in": None,
        "parked_at": None,
        "finished_at": 101,
        "seconds": 0.5,
        "replay": False,
        "last_error": None,
        "attempt": None,
        "failed_at": None,
        "failed_in": None,
        "error": None,
    }
    return SimpleNamespace(**{"id": event_id, "handler": handler, **defaults, **values})


def a_pending_row(handler: str = "b", **values: Any) -> Any:
    return a_row(handler=handler, **{"finished_at": None, "seconds": None, **values})


CAUSED: dict[str, Any] = {"causation_id": REGISTERED, "committed_by": "b", "type": "allocated"}


def test_an_event_hangs_under_the_delivery_that_caused_it() -> None:
    """Depth first, deliveries by handler: as it is read, and the same each time."""
    rows = [a_row(handler="b"), a_row(handler="a"), a_row(ALLOCATED, "c", **CAUSED)]

    nodes = tree([a_command()], rows)

    assert [(node.id, node.parent) for node in nodes] == [
        (str(COMMAND), None),
        (str(REGISTERED), str(COMMAND)),
        (f"{REGISTERED}:a", str(REGISTERED)),
        (f"{REGISTERED}:b", str(REGISTERED)),
        (str(ALLOCATED), f"{REGISTERED}:b"),
        (f"{ALLOCATED}:c", str(ALLOCATED)),
    ]


def test_an_event_whose_delivery_is_not_known_hangs_under_the_event_that_caused_it() -> None:
    """Older rows say only that much."""
    rows = [a_row(handler="b"), a_row(ALLOCATED, **{**CAUSED, "committed_by": None})]

    nodes = tree([a_command()], rows)

    assert nodes[-1].parent == str(REGISTERED)


def test_an_event_whose_command_is_not_known_hangs_under_nothing() -> None:
    """It is older than the commands that are kept; and it is shown in its time."""
    old, new = uuid4(), uuid4()
    rows = [
        a_row(old, causation_id=uuid4(), recorded_at=50),
        a_row(new, causation_id=uuid4(), recorded_at=150),
    ]

    nodes = tree([a_command(accepted_at=100)], rows)

    assert [node.id for node in nodes] == [str(old), str(COMMAND), str(new)]
    assert {node.parent for node in nodes} == {None}


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"finished_at": 101}, "done"),
        ({"parked_at": 101, "due_in": -5}, "parked"),
        ({"process": "host:1", "due_in": 5}, "leased"),
        ({"process": "host:1", "due_in": -5}, "waiting"),
        ({"due_in": 5}, "waiting"),
        ({"due_in": -5}, "waiting"),
    ],
)
def test_the_state_of_a_delivery_is_that_of_now(values: dict[str, Any], state: str) -> None:
    """A lease that is over holds nobody off: the delivery waits for any process."""
    node = tree([], [a_pending_row(**values)])[-1]

    assert (node.state, node.is_settled) == (state, state in ("done", "parked"))


def test_a_delivery_has_its_failures_in_order() -> None:
    """There is a row for each of them."""
    failed: dict[str, Any] = {"failed_at": 100, "failed_in": "host:1"}
    rows = [
        a_row(handler="b", attempts=3, attempt=1, error="first", **failed),
        a_row(handler="b", attempts=3, attempt=2, error="second", **failed),
    ]

    *_, node = tree([], rows)

    assert [(failure.attempt, failure.error) for failure in node.failures] == [
        (1, "first"),
        (2, "second"),
    ]


def test_a_delivery_counts_for_the_command_that_began_it_all() -> None:
    """Two commands may be parts of one story."""
    other, its_event = uuid4(), uuid4()
    rows = [
        a_row(handler="b"),
        a_row(ALLOCATED, "c", **CAUSED, finished_at=107),
        a_row(its_event, "d", causation_id=other, finished_at=None, due_in=5),
    ]

    first, second = summed_up([a_command(), a_command(other)], rows)

    assert (first.done, first.waiting, first.seconds) == (2, 0, 7)
    assert (second.done, second.waiting, second.seconds) == (0, 1, None)


def test_the_seconds_of_a_command_end_with_what_was_settled_last() -> None:
    """Parked is settled; a replay, perhaps a year later, is another matter."""
    rows = [
        a_pending_row("a", parked_at=105, due_in=-1),
        a_row(handler="b", finished_at=999, replay=True),
        a_row(handler="b", finished_at=999, replay=True, attempt=1),
    ]

    (row,) = summed_up([a_command()], rows)

    assert (row.done, row.parked, row.seconds, row.about) == (1, 1, 5, "the user")


def test_a_command_that_changed_nothing_has_no_deliveries() -> None:
    """Such as a registration that is repeated."""
    (row,) = summed_up([a_command()], [])

    assert (row.done, row.waiting, row.parked, row.seconds, row.about) == (0, 0, 0, None, "")


def test_a_circle_of_causes_ends() -> None:
    """Nobody stores one, but whoever looks for what is wrong has to get an answer."""
    rows = [a_row(handler="a", causation_id=REGISTERED)]

    assert summed_up([a_command()], rows)[0].done == 0
    assert [node.kind for node in tree([a_command()], rows)] == ["command"]


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
        (("coupons_ran_out", 1, '{"batch_reference":"W"}'), "W"),
        (("out_of_coupons", 1, USER + "}"), ""),
        (("user_vanished", 1, USER + "}"), ""),
        (("user_registered", 99, USER + "}"), ""),
        (("user_registered", 2, "no JSON"), ""),
        (("user_registered", 2, None), ""),
    ],
)
def test_an_event_is_summed_up_by_its_fields(
    event: tuple[str, int, str | None], words: str
) -> None:
    """Whatever event it is, as long as it can be read; and without the code, which is money."""
    assert summary(*event) == words
