"""What a replay can be asked for; the rest is in the integration tests."""

from types import SimpleNamespace

import pytest
from aftercommit.errors import InvalidValue
from aftercommit.extensions.operations.cli_parts import is_wanted
from aftercommit.extensions.operations.replay import Replay, replay_of
from aftercommit.handler_table import Unsubscribed

from allocation.domain.events import UserRegistered
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import HANDLERS, FakeApplication


async def count_users(event: UserRegistered, uow: UnitOfWork) -> None:
    """Count the users."""


def renamed() -> FakeApplication:
    return FakeApplication(
        event_handlers={**HANDLERS, UserRegistered: [count_users]},
        renamed={"add_users_up": "count_users"},
    )


def the_replay(handler: str, *types: str, application: FakeApplication | None = None) -> Replay:
    bus = (application or FakeApplication()).bus
    return replay_of(bus, handler, types, until=0)


def test_all_events_of_the_handler_are_meant_unless_some_are_named() -> None:
    """A handler is told of several types."""
    everything = the_replay("refresh_user_view")
    some = the_replay("refresh_user_view", "email_changed")

    assert {"user_registered", "email_changed"} < set(everything.event_types)
    assert list(some.event_types) == ["email_changed"]


def test_a_handler_knows_the_names_it_had() -> None:
    """What it has done under them, it has done."""
    found = the_replay("count_users", application=renamed())

    assert sorted(found.aliases) == ["add_users_up", "count_users"]


@pytest.mark.parametrize("handler", ["add_users_up", "register_user", "nobody"])
def test_a_handler_that_does_not_exist_is_refused(handler: str) -> None:
    """Nor an old name, nor the handler of a command; what there is, is named."""
    with pytest.raises(InvalidValue, match=f"'{handler}' is no handler of events.*count_users"):
        the_replay(handler, application=renamed())


def test_a_handler_that_is_unsubscribed_is_refused() -> None:
    """It gets nothing new: neither of today nor of the past."""
    application = FakeApplication(
        event_handlers={**HANDLERS, UserRegistered: [Unsubscribed(count_users)]}
    )

    with pytest.raises(InvalidValue, match="'count_users' is unsubscribed"):
        the_replay("count_users", application=application)


@pytest.mark.parametrize("event_type", ["email_changed", "user_vanished"])
def test_an_event_that_the_handler_is_not_told_of_is_refused(event_type: str) -> None:
    """It could do nothing with it."""
    with pytest.raises(InvalidValue, match=f"'{event_type}' is none of .*: user_registered$"):
        the_replay("log_registration", event_type)


@pytest.mark.parametrize(
    ("count", "yes", "terminal", "answer", "wanted"),
    [
        (2, False, True, True, True),
        (2, False, True, False, False),
        (2, False, False, False, True),
        (2, True, True, False, True),
        (0, False, True, False, True),
    ],
)
def test_a_person_is_asked_where_there_is_one(
    count: int,
    yes: bool,
    terminal: bool,
    answer: bool,
    wanted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be a million deliveries; a script has nobody to ask."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.setattr("click.confirm", lambda *_, **__: answer)

    assert is_wanted(count, yes=yes) is wanted


def test_nobody_is_asked_if_standard_input_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor may give a process none."""
    monkeypatch.setattr("sys.stdin", None)

    assert is_wanted(2, yes=False)
