"""This application, as the engine starts it: its commands, its settings, its bootstrap."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, ClassVar

from aftercommit import App

from allocation.extension_list import EXTENSIONS

if TYPE_CHECKING:
    import click
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
        "Use": {
            "register-user": "Register a user; a welcome e-mail and a coupon follow.",
            "change-email": "Change a user's e-mail address, and notify the old one.",
            "redeem-coupon": "Redeem the coupon with CODE.",
            "add-coupon-batch": "Make QUANTITY more welcome coupons available.",
            "users": "List all users with their coupons.",
            "demo": "Execute some commands in a temporary database.",
            "import-users": "Register the users of a CSV file.",
        },
        "Inspect": {
            "coupon-batches": "List the coupon batches, and how many coupons are left.",
        },
        "Maintain": {
            "rebuild-users": "Rebuild the list of users from the stored users.",
            "erase-user": "Erase the name and all addresses of a user, for good.",
        },
    }
    options: ClassVar = {
        "--mail-url": "Where e-mails go: maildir:FOLDER or smtp://user:password@host:port or"
        " smtps://user:password@host:port. Default: allocation-mail, beside the SQLite file"
    }

    def command(self, name: str) -> click.Command:
        """Import one of the commands."""
        match name:
            case "demo":
                from allocation.entrypoints.demo import demo as command
            case "import-users":
                from allocation.user_import.command_line import import_users as command
            case "rebuild-users":
                from allocation.rebuild_users import rebuild_users as command
            case "erase-user":
                from allocation.erase_user.command_line import erase_user as command
            case _:
                from allocation.entrypoints.users import commands

                return commands.commands[name]
        return command

    def handlers(self) -> Handlers[Command, Event]:
        """Return the table of handlers."""
        from allocation.service_layer.handlers import HANDLERS

        return HANDLERS

    def codec(self) -> Codec[Event]:
        """Return what is said of messages."""
        from allocation.messages import CODEC

        return CODEC

    def history(self) -> History:
        """Return the migrations of its tables."""
        from allocation.adapters.migrations import HISTORY

        return HISTORY

    def settings(self) -> type[Settings]:
        """Return the class of its settings."""
        from allocation.config import Settings

        return Settings

    def open(
        self, settings: Settings, *, observers: Sequence[Observer] = (), delivers: bool = True
    ) -> AbstractAsyncContextManager[Application]:
        """Open everything the settings ask for."""
        from allocation.bootstrap import bootstrap

        return bootstrap(self, settings, observers=observers, delivers=delivers)

    def warn_operators(self, settings: Settings, *, delivers: bool) -> None:
        """Log where e-mails stay, if they are to be sent and are not."""
        if delivers and settings.mail_folder:
            logger.warning("e-mails are not sent, but kept in %s", settings.mail_folder)

    def reporter(self, settings: Settings) -> Observer:
        """Return what prints what happens."""
        import click

        from allocation.entrypoints.console_reporter import ConsoleReporter

        return ConsoleReporter(click.echo, settings.mail_folder)


APP = Allocation()
