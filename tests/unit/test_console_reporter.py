"""The story: what a person is told of what happens, also of what it has no line for."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from string import Formatter
from uuid import uuid4

import pytest
from aftercommit.claims import CommandWork, Committed
from aftercommit.handler_table import PUBLISH, handler_of
from aftercommit.observers import Outcome

from allocation.entrypoints.console_reporter import MESSAGES, ConsoleReporter
from allocation.service_layer.handlers import HANDLERS as TABLE
from tests.builders import FakeApplication, a_delivery, a_registration, an_envelope
from tests.things import RenameThing, a_thing_id


def test_a_new_command_is_told_in_the_words_of_its_name() -> None:
    """Whoever adds a use case need not think of the story; a secret may be in any other field."""
    told: list[str] = []
    command = RenameThing(thing_id=a_thing_id(), name="a secret")

    envelope = CommandWork(id=uuid4(), type="", message=command)
    reporter = ConsoleReporter(told.append)

    reporter.finished(Outcome(envelope, "succeeded", Committed((an_envelope(),))))
    reporter.finished(Outcome(envelope, "succeeded"))

    line = f"[Allocation]     rename thing {command.thing_id}"
    assert told == [line, f"{line}; no event followed"]


def test_what_a_new_handler_did_is_told_in_the_words_of_its_name() -> None:
    """The same for handlers of events."""
    told: list[str] = []
    delivery = a_delivery(handler="send_letter")

    outcome = Outcome(delivery, "succeeded", handler="send_letter")
    ConsoleReporter(told.append).finished(outcome)

    [line] = told
    assert line.startswith("[Allocation]     send letter ")
    assert str(delivery.envelope.event).split("'")[1] in line


def test_of_a_read_model_nobody_is_told() -> None:
    """The story is about what happened, not about how it is kept."""
    told: list[str] = []

    outcome = Outcome(a_delivery(), "succeeded", handler="refresh_user_view")
    ConsoleReporter(told.append).finished(outcome)

    assert told == []


@pytest.mark.anyio
async def test_a_delivery_under_an_old_name_is_told_as_what_its_handler_is_called_now() -> None:
    """After a renaming there are some, and lines stand under the present names only."""
    told: list[str] = []
    old = {"keep_users": "refresh_user_view", "log_users": "log_registration"}
    application = FakeApplication(renamed=old, observers=[ConsoleReporter(told.append)])
    claims = (await application.bus.execute(a_registration(email="i@example.com"))).claims
    stored = application.database.deliveries
    for name, now in old.items():
        [claim] = [replace(each, handler=name) for each in claims if each.handler == now]
        stored[claim.envelope.id, name] = stored.pop((claim.envelope.id, now))
        await application.bus.run([claim])

    assert told[1:] == ["[Log Service]    user registered: i@example.com"]


def fields(texts: Iterable[str]) -> Iterator[str]:
    """Yield what is filled into these texts."""
    for text in texts:
        yield from (name for _, name, *_ in Formatter().parse(text) if name)


def test_there_are_lines_only_for_what_exists() -> None:
    """A line under an old name would never be told again, and nobody would notice."""
    subscribers = chain.from_iterable(TABLE.events.values())
    names = {handler_of(each).__name__ for each in subscribers if each is not PUBLISH}

    events = {event.__name__ for event in TABLE.events}
    filled = {name.partition(".")[0] for texts in MESSAGES.values() for name in fields(texts)}

    assert filled <= {"0", "sent", "kept"} | events
    assert MESSAGES.keys() <= TABLE.commands.keys() | names
