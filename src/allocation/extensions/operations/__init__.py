"""The extension "operations": for those who look after an installation and fill it with data.

The import of users, the deliveries that need a decision, the past for a handler that was added
later, the end of old history, the list of users rebuilt, a log for machines, passwords in files.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from allocation.process.extension import Extension
from allocation.service_layer.error_kinds import InvalidValue
from allocation.service_layer.exceptions import install_hint

if TYPE_CHECKING:
    import logging

    import click
    from fastapi import APIRouter

    from allocation.process.runtime import Service
    from allocation.service_layer.instrumentation import Observer
    from allocation.settings import EngineSettings, EnvLookup


class OperationsExtension(Extension):
    """What it brings to the program."""

    name = "operations"
    commands = {
        "Use": {"import-users": "Register the users of a CSV file."},
        "Inspect": {
            "history": "List the latest commands, and how far each has come.",
            "trace": "Show everything that a command has caused.",
            "deliveries": "List, retry, pause, discard and replay deliveries.",
            "coupon-batches": "List the coupon batches, and how many coupons are left.",
        },
        "Maintain": {
            "events": "Prune the history of events.",
            "rebuild-users": "Rebuild the list of users from the stored users.",
            "erase-user": "Erase the name and all addresses of a user, for good.",
        },
    }
    log_formats = ("json",)

    def command(self, name: str) -> click.Command:
        from allocation.extensions.operations import cli

        return cli.commands.commands[name]

    def settings(self) -> type:
        from allocation.extensions.operations.settings import OperationsSettings

        return OperationsSettings

    def env_lookup(self, lookup: EnvLookup) -> EnvLookup:
        from allocation.extensions.operations.env_from_file import env_from_file

        return env_from_file(lookup)

    def log_formatter(self) -> logging.Formatter:
        try:
            from allocation.extensions.operations.json_logs import JsonFormatter
        except ModuleNotFoundError as error:
            problem = f"needs {error.name}; {install_hint(self.name)}"
            raise InvalidValue("the log format json", problem) from None
        return JsonFormatter()

    def observer(self, settings: EngineSettings) -> AbstractContextManager[Observer]:
        from allocation.extensions.operations.stuck_handlers import watching

        return watching()

    def worker_services(self, settings: EngineSettings) -> Sequence[Service]:
        from allocation.extensions.operations.worker_services import worker_services

        return worker_services(settings)

    def operator_routes(self) -> APIRouter:
        from allocation.extensions.operations.routes import router

        return router
