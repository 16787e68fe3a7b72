"""The extension "operations": for the operators of an installation.

It decides about parked deliveries, replays past events for a handler that was added later, prunes
old history, writes logs for machines, reads passwords from files, and answers the watchdog of
systemd. For commands of an application, it offers long work in batches, and erasing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from aftercommit.errors import InvalidValue, install_hint
from aftercommit.extensions.operations.subject_lookup import FindSubjects, nothing_but_ids
from aftercommit.extensions.operations.subject_lookup import SubjectQuery as SubjectQuery
from aftercommit.process.parts import Extension, Parts

if TYPE_CHECKING:
    import logging

    from fastapi import APIRouter

    from aftercommit.observers import Observer
    from aftercommit.process.application import Application
    from aftercommit.process.running_services import Service, Shutdown
    from aftercommit.settings import EngineSettings, EnvLookup

NAME = "operations"
COMMANDS = {
    "Inspect": {
        "aftercommit.extensions.operations.cli_history:history": (
            "List the latest commands, and how far each has come."
        ),
        "aftercommit.extensions.operations.cli_history:trace": (
            "Show everything that a command has caused."
        ),
        "aftercommit.extensions.operations.cli_deliveries:deliveries": (
            "List, retry, pause, discard and replay deliveries."
        ),
        "aftercommit.extensions.operations.cli_limits:limits": (
            "List the limits of handlers, and change their numbers."
        ),
        "aftercommit.extensions.operations.cli_schedules:schedules": (
            "List schedules, and forget those that were removed."
        ),
    },
    "Maintain": {
        "aftercommit.extensions.operations.cli_check:check": (
            "Check database, schema, writes, handlers, clock and connections."
        ),
        "aftercommit.extensions.operations.cli_history:events": "Prune the history of events.",
    },
}


class OperationsExtension(Extension):
    """Adds commands, routes and settings for operators.

    `find_subjects` is explained in `subject_lookup.py`. `form` is the JSON Schema of the texts that
    it accepts, for the description of the HTTP interface.

    >>> from aftercommit.extensions.operations import OperationsExtension
    >>> [*OperationsExtension().parts().log_formats]
    ['json']
    """

    def __init__(
        self,
        find_subjects: FindSubjects = nothing_but_ids,
        form: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.find_subjects, self._form = find_subjects, form

    def parts(self) -> Parts:
        return Parts(
            name=NAME,
            commands=COMMANDS,
            settings="aftercommit.extensions.operations.settings:OperationsSettings",
            env_lookup=_env_lookup,
            log_formats={"json": _json_formatter},
            observers=[_observer],
            services=[_services],
            lifespans=[_lifespan],
            operator_routes=[partial(_routes, self.find_subjects, self._form)],
        )


def _env_lookup(lookup: EnvLookup) -> EnvLookup:
    from aftercommit.extensions.operations.secret_files import env_from_file

    return env_from_file(lookup)


def _json_formatter() -> logging.Formatter:
    try:
        from aftercommit.extensions.operations.json_logs import JsonFormatter
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}; {install_hint(NAME)}"
        raise InvalidValue("the log format json", problem) from None
    return JsonFormatter()


def _observer(settings: EngineSettings) -> AbstractContextManager[Observer]:
    from aftercommit.extensions.operations.stuck_handlers import watching

    return watching()


def _services(settings: EngineSettings) -> Sequence[Service]:
    from aftercommit.extensions.operations.worker_services import worker_services

    return worker_services(settings)


def _lifespan(
    settings: EngineSettings, application: Application, stop: Shutdown
) -> AbstractAsyncContextManager[None]:
    from aftercommit.extensions.operations.systemd import notifying

    return notifying(stop)


def _routes(find_subjects: FindSubjects, form: Mapping[str, str]) -> APIRouter:
    from aftercommit.extensions.operations.routes import routes

    return routes(find_subjects, form)
