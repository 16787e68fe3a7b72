"""This application, as the engine starts it: its commands, its settings, its bootstrap."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from allocation.extension_list import EXTENSIONS
from allocation.process.app import App

if TYPE_CHECKING:
    import click

    from allocation.adapters.engine_migrations.history import History
    from allocation.application import Application
    from allocation.config import Settings
    from allocation.domain.commands import Command
    from allocation.service_layer.codec import Codec
    from allocation.service_layer.handler_table import Handlers
    from allocation.service_layer.instrumentation import Observer

logger = logging.getLogger(__name__)


class Allocation(App["Settings"]):
    """Registers users, and gives each of them a welcome e-mail and a coupon."""

    name = "allocation"
    summary = "Register users, and give each of them a welcome e-mail and a coupon."
    extensions = EXTENSIONS
    default_database_url = "sqlite:///allocation.db"
    commands: ClassVar = {
        "Use": {
            "register-user": "Register a user; a welcome e-mail and a coupon follow.",
            "change-email": "Change a user's e-mail address, and notify the old one.",
            "redeem-coupon": "Redeem the coupon with CODE.",
            "add-coupon-batch": "Make QUANTITY more welcome coupons available.",
            "users": "List all users with their coupons.",
            "demo": "Execute some commands in a temporary database.",
        },
    }
    options: ClassVar = {
        "--mail-url": "Where e-mails go: maildir:FOLDER or smtp://user:password@host:port or"
        " smtps://user:password@host:port. Default: allocation-mail, beside the SQLite file"
    }

    def command(self, name: str) -> click.Command:
        """Import one of the commands."""
        from allocation.entrypoints import demo, users

        return demo.demo if name == "demo" else users.commands.commands[name]

    def handlers(self) -> Handlers:
        """Return the table of handlers."""
        from allocation.service_layer.handlers import HANDLERS

        return HANDLERS

    def codec(self) -> Codec:
        """Return what is said of messages."""
        from allocation.messages import CODEC

        return CODEC

    def history(self) -> History:
        """Return the migrations of its tables."""
        from allocation.adapters.migrations import HISTORY

        return HISTORY

    def accepted_from_brokers(self) -> Sequence[type[Command]]:
        """Return the commands that others may send by a message broker."""
        from allocation.messages import ACCEPTED_FROM_BROKERS

        return ACCEPTED_FROM_BROKERS

    def load(self, overrides: Mapping[str, Any]) -> Settings:
        """Return the settings, as the environment and these say."""
        from allocation.config import load

        return load(overrides)

    def open(
        self, settings: Settings, *, observers: Sequence[Observer] = (), delivers: bool = True
    ) -> AbstractAsyncContextManager[Application]:
        """Open everything the settings ask for."""
        from allocation.bootstrap import bootstrap

        return bootstrap(settings, handlers=self.handlers(), observers=observers, delivers=delivers)

    def warn_operators(self, settings: Settings, *, delivers: bool) -> None:
        """Log where e-mails stay, if they are to be sent and are not."""
        if delivers and settings.mail_folder:
            logger.warning("e-mails are not sent, but kept in %s", settings.mail_folder)

    def reporter(self, settings: Settings) -> Observer:
        """Return what prints what happens."""
        import click

        from allocation.entrypoints.console_reporter import ConsoleReporter

        return ConsoleReporter(click.echo, settings.mail_folder)
