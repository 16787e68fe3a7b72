"""The story: what a person is told of what happens, also of what it has no line for."""

from dataclasses import dataclass

from allocation.domain.commands import Command
from allocation.domain.events import UserId
from allocation.entrypoints.story import EMAILS, LINES, Story
from allocation.service_layer.facts import Delivered, Executed
from allocation.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from tests.builders import a_delivery, a_user_id, an_envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class DeactivateUser(Command):
    """A command that is new."""

    user_id: UserId
    reason: str


def test_a_new_command_is_told_in_the_words_of_its_name() -> None:
    """Whoever adds a use case need not think of the story; a secret may be in any other field."""
    told: list[str] = []
    command = DeactivateUser(user_id=a_user_id(), reason="a secret")

    Story(told.append)(Executed(command, (an_envelope(),)))
    Story(told.append)(Executed(command, ()))

    line = f"[Allocation]     deactivate user {command.user_id}"
    assert told == [line, f"{line}; no event followed"]


def test_what_a_new_handler_did_is_told_in_the_words_of_its_name() -> None:
    """The same for handlers of events."""
    told: list[str] = []
    delivery = a_delivery(handler="send_farewell_email")

    Story(told.append)(Delivered(delivery, ()))

    [line] = told
    assert line.startswith("[Allocation]     send farewell email ")
    assert str(delivery.envelope.event).split("'")[1] in line


def test_of_a_read_model_nobody_is_told() -> None:
    """The story is about what happened, not about how it is kept."""
    told: list[str] = []

    Story(told.append)(Delivered(a_delivery(handler="refresh_user_view"), ()))

    assert told == []


def test_there_are_lines_only_for_what_exists() -> None:
    """A line under an old name would never be told again, and nobody would notice."""
    names = {handler.__name__ for handlers in EVENT_HANDLERS.values() for handler in handlers}

    assert LINES.keys() | EMAILS.keys() <= COMMAND_HANDLERS.keys() | names
