"""An observer that prints a line for each command and handler, for an application's command line.

Nothing has to be configured for a new one: a line begins with its name in the code. An application
names it as its `reporter`; any extension may import this.
"""

from collections.abc import Callable
from typing import Any

from aftercommit.observers import Observer, Outcome
from aftercommit.terminal.escaping import escape_controls

WIDTH = 24  # of the name


class ConsoleReporter(Observer):
    """Prints what was done, in this order, and which events it caused.

    `describe` returns what a line says of a command or an event: for whom it was, for example. The
    output goes to journals, too, so it should be no secret. An event is shown with its subject.

    >>> import click
    >>> from aftercommit.extensions.console_reporter import ConsoleReporter
    >>> reporter = ConsoleReporter(click.echo, describe=lambda message: message.email)
    """

    def __init__(
        self, print_line: Callable[[str], None], *, describe: Callable[[Any], str]
    ) -> None:
        self._print, self._describe = print_line, describe

    def finished(self, outcome: Outcome) -> None:
        """Print a line for a command or a handler that has succeeded.

        A handler that has returned a command has no line of its own, because the command has one.
        A command that caused no event says so: that shows a repetition.
        """
        if outcome.status != "succeeded" or outcome.committed.answer:
            return
        name = outcome.handler or outcome.work.name
        events = outcome.committed.events
        caused = ", ".join(f"{type(each.event).__name__} {each.subject}" for each in events)
        news = f"→ {caused}" if caused else "" if outcome.handler else "→ no event"
        line = f"{name:{WIDTH}}", self._describe(outcome.work.message), news
        self._print(escape_controls(" ".join(filter(None, line)).rstrip()))
