"""This application, as the engine starts it. A command that is used imports what it needs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, ClassVar

from aftercommit import App, command_line

from allocation.extension_list import EXTENSIONS

if TYPE_CHECKING:
    from aftercommit import Application, Codec, Handlers, History, Observer

    from allocation.config import Settings
    from allocation.domain.commands import Command
    from allocation.domain.events import Event

logger = logging.getLogger(__name__)


class Allocation(App["Settings"]):
    """Registers users, and gives each of them a welcome e-mail and a coupon."""

    name = "allocation"
    summary = "Register users, and give each of them a welcome e-mail and a coupon."
    extensions = EXTENSIONS
    page_scripts = ("/register-form.js",)
    default_database_url = "sqlite:///allocation.db"
    commands: ClassVar = {
        "Use": [
            "allocation.entrypoints.users",
            "allocation.entrypoints.demo",
            "allocation.user_import.command_line",
        ],
        "Maintain": ["allocation.rebuild_users", "allocation.erase_user.command_line"],
    }
    options: ClassVar = {
        "--mail-url": "Where e-mails go: maildir:FOLDER or smtp://user:password@host:port or"
        " smtps://user:password@host:port. Default: allocation-mail, beside the SQLite file"
    }

    def handlers(self) -> Handlers[Command, Event]:
        from allocation.service_layer.handlers import HANDLERS

        return HANDLERS

    def codec(self) -> Codec[Event]:
        from allocation.messages import CODEC

        return CODEC

    def history(self) -> History:
        from allocation.adapters.migrations import HISTORY

        return HISTORY

    def settings(self) -> type[Settings]:
        from allocation.config import Settings

        return Settings

    def open(
        self, settings: Settings, *, observers: Sequence[Observer] = (), delivers: bool = True
    ) -> AbstractAsyncContextManager[Application]:
        from allocation.bootstrap import bootstrap

        return bootstrap(self, settings, observers=observers, delivers=delivers)

    def warn_operators(self, settings: Settings, *, delivers: bool) -> None:
        """Log where e-mails stay, if they are to be sent and are not."""
        if delivers and settings.mail_folder:
            logger.warning("e-mails are not sent, but kept in %s", settings.mail_folder)

    def reporter(self, settings: Settings) -> Observer:
        import click

        from allocation.entrypoints.console_reporter import ConsoleReporter

        return ConsoleReporter(click.echo, settings.mail_folder)


APP = Allocation()
cli = command_line(APP)
