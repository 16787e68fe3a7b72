"""The lines that a user reads of what happens."""

from string import Formatter

from aftercommit import PUBLISH
from aftercommit.handler_entries import handler_of

from allocation.entrypoints.console_texts import MESSAGES
from allocation.service_layer.handlers import HANDLERS


def test_there_are_lines_only_for_what_exists() -> None:
    """A line under an old name would never be printed again, and nobody would notice."""
    subscribers = [handler_of(each) for listed in HANDLERS.events.values() for each in listed]
    names = {each.__name__ for each in subscribers if each is not PUBLISH}
    texts = "".join(text for listed in MESSAGES.values() for text in listed)
    filled = {name.partition(".")[0] for _, name, *_ in Formatter().parse(texts) if name}

    assert filled <= {"0", "sent", "kept", *(event.__name__ for event in HANDLERS.events)}
    assert MESSAGES.keys() <= names | {command.__name__ for command in HANDLERS.commands}
