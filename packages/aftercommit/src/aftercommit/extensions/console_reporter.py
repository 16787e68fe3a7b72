"""An observer that prints a line for each command and handler, for an application's command line.

Without a line of its own, a command or handler is printed by its name, so that nothing has to be
configured. An application names it as its `reporter`; any extension may import this.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import Any

from aftercommit.observers import Observer, Outcome
from aftercommit.terminal.escaping import escape_controls

PUBLISH_TO = "publish_event_to_"
WIDTH = 17  # of the speaker in brackets


class ConsoleReporter(Observer):
    """Prints what was done, in the order of the events.

    `lines` holds texts by the name of a command, or by the current name of a handler. Printed is
    the first text whose fields can be filled with the message, {0}, with the events it caused, by
    their class, and with `words`; an empty list prints nothing. For what is not in `lines`, a
    general line begins with the name of the `application`, unless a handler of an event had nothing
    to do: it ran in a transaction, and caused no event.

    >>> import click
    >>> from aftercommit.extensions.console_reporter import ConsoleReporter
    >>> lines = {"PlaceOrder": ["[Orders] {0.email} has ordered {OrderPlaced.pieces} pieces"]}
    >>> reporter = ConsoleReporter(click.echo, lines, application="shop")
    """

    def __init__(
        self,
        print_line: Callable[[str], None],
        lines: Mapping[str, Sequence[str]],
        *,
        application: str,
        words: Mapping[str, str] | None = None,
    ) -> None:
        self._print, self._lines, self._words = print_line, lines, words or {}
        self._application = application

    def finished(self, outcome: Outcome) -> None:
        """Print a line for a command or a handler that has succeeded.

        A handler that has returned a command has no line of its own, because the command has one.
        """
        has_a_line = outcome.status == "succeeded" and not outcome.committed.answer
        if has_a_line and (line := self._line(outcome)):
            self._print(escape_controls(line))

    def _line(self, outcome: Outcome) -> str:
        done, message = outcome.handler or outcome.work.name, outcome.work.message
        if done not in self._lines:
            is_news = outcome.committed.events or (outcome.handler and not outcome.in_transaction)
            if outcome.handler and not is_news:
                return ""
            return self._generic_line(done, message, is_news=is_news)
        caused = {type(each.event).__name__: each.event for each in outcome.committed.events}
        for text in self._lines[done]:
            with suppress(KeyError):
                return text.format(message, **caused, **self._words)
        return ""

    def _generic_line(self, done: str, message: Any, *, is_news: object) -> str:
        """Return a line with the first field of the message, if any, which says what it is about.

        If a command caused no events, the line says so: that shows a repetition.
        """
        if done.startswith(PUBLISH_TO):
            to = done[len(PUBLISH_TO) :]
            return f"{'[Publisher]':{WIDTH}}{type(message).__name__} published to {to}"
        words = re.sub("_|(?<!^)(?=[A-Z])", " ", done).lower()
        news = "" if is_news else "; no event followed"
        who = f"[{self._application.capitalize()}]"
        return f"{who:{WIDTH}}{words} {[*astuple(message), ''][0]}{news}"
