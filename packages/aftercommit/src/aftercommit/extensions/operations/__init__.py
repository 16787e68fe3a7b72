"""The extension "operations": for those who look after an installation.

The deliveries that need a decision, the past for a handler that was added later, the end of old
history, a log for machines, passwords in files, the watchdog of systemd. For the commands of an
application: long work in batches, and what an erasure needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING

from aftercommit.errors import InvalidValue, install_hint
from aftercommit.extensions.operations.subjects import (
    FindsSubjects,
    FindSubjects,
    nothing_but_ids,
)
from aftercommit.extensions.operations.subjects import SubjectQuery as SubjectQuery
from aftercommit.process.extension import Extension

if TYPE_CHECKING:
    import logging

    import click
    from fastapi import APIRouter

    from aftercommit.observers import Observer
    from aftercommit.process.application import Application
    from aftercommit.process.runtime import Service, Shutdown
    from aftercommit.settings import EngineSettings, EnvLookup


class OperationsExtension(FindsSubjects, Extension):
    """What it brings to the program.

    For `find_subjects` see `subjects.py`. `form` is the JSON Schema of the texts that it takes, for
    the description of the HTTP interface.

    >>> from aftercommit import Extensions
    >>> from aftercommit.extensions.operations import OperationsExtension
    >>> extensions = Extensions([OperationsExtension()])
    >>> extensions.log_formats
    ('text', 'json')
    """

    def __init__(
        self,
        find_subjects: FindSubjects = nothing_but_ids,
        form: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.find_subjects, self._form = find_subjects, form

    name = "operations"
    commands = {
        "Inspect": {
            "history": "List the latest commands, and how far each has come.",
            "trace": "Show everything that a command has caused.",
            "deliveries": "List, retry, pause, discard and replay deliveries.",
        },
        "Maintain": {"events": "Prune the history of events."},
    }
    log_formats = ("json",)

    def command(self, name: str) -> click.Command:
        from aftercommit.extensions.operations import cli

        return cli.commands.commands[name]

    def settings(self) -> type:
        from aftercommit.extensions.operations.settings import OperationsSettings

        return OperationsSettings

    def env_lookup(self, lookup: EnvLookup) -> EnvLookup:
        from aftercommit.extensions.operations.env_from_file import env_from_file

        return env_from_file(lookup)

    def log_formatter(self) -> logging.Formatter:
        try:
            from aftercommit.extensions.operations.json_logs import JsonFormatter
        except ModuleNotFoundError as error:
            problem = f"needs {error.name}; {install_hint(self.name)}"
            raise InvalidValue("the log format json", problem) from None
        return JsonFormatter()

    def observer(self, settings: EngineSettings) -> AbstractContextManager[Observer]:
        from aftercommit.extensions.operations.stuck_handlers import watching

        return watching()

    def worker_services(self, settings: EngineSettings) -> Sequence[Service]:
        from aftercommit.extensions.operations.worker_services import worker_services

        return worker_services(settings)

    def lifespan(
        self, settings: EngineSettings, application: Application, stop: Shutdown
    ) -> AbstractAsyncContextManager[None]:
        from aftercommit.extensions.operations.systemd import notifying

        return notifying(stop)

    def operator_routes(self) -> APIRouter:
        from aftercommit.extensions.operations.routes import routes

        return routes(self.find_subjects, self._form)
