"""A command that is known by name and summary, and imported when somebody calls it."""

from pkgutil import resolve_name
from typing import Any

import click


class LazyCommand(click.Command):
    """Stands for a command, so that the others need not wait for what only this one imports.

    Click's documentation, "Lazily Loading Subcommands", loads all of them to list them: so this one
    brings the summary, as is proposed there under "Further Deferring Imports".
    """

    def __init__(self, where: str, summary: str) -> None:
        """Take "module:attribute", and the first sentence of the command's own help."""
        super().__init__(name=None, help=summary)
        self._where = where

    def load(self) -> click.Command:
        """Import the command."""
        command: click.Command = resolve_name(self._where)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Begin a call: from here on it is the command itself that works."""
        return self.load().make_context(info_name, args, parent, **extra)
