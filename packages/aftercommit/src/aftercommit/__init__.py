"""Message bus, unit of work, and durable delivery of events after the commit.

The engine knows no application: an application passes in its parts. Begin with `bus.py` and
`attempt.py`; `deliveries` stores everything in a `database`, `process` runs it, and each of the
optional `extensions` has an extra of the same name.

Examples in docstrings run as they stand. There, `shop` is the project of `aftercommit new shop`.

The public names are listed here, and for type checkers in `__init__.pyi`; a test compares both.
Each is imported when it is first used, so that `--help` does not import a database library.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "bus": ["MessageBus"],
    "claims": ["IdempotencyKey"],
    "codec": ["Codec"],
    "envelope_factory": ["EnvelopeFactory"],
    "envelopes": ["Envelope", "MessageOrigin", "message_types"],
    "errors": ["InvalidValue", "Refused", "TransientError", "Unavailable"],
    "handler_binding": ["Dependencies", "bind"],
    "giving_up": ["GivenUp"],
    "handler_entries": [
        "PUBLISH",
        "Later",
        "Limited",
        "Ordered",
        "Otherwise",
        "Unsubscribed",
        "on",
    ],
    "handler_table": ["Handlers"],
    "observers": ["Observer", "Outcome"],
    "outbox.outbox": ["Outbox"],
    "ports": ["Publisher"],
    "process.app": ["App"],
    "cli.command_context": ["CommandLine"],
    "process.application": ["Application"],
    "process.open_application": ["open_application"],
    "cli.command_group": ["command_line"],
    "process.parts": ["Extension", "Parts"],
    "schedules": ["Every"],
    "settings": ["EngineSettings", "Seconds"],
    "clock_and_ids": ["Sources"],
    "database.aggregate_versions": ["ensure_versions"],
    "database.database": ["Database"],
    "database.exceptions": ["CommitOutcomeUnknown", "ConnectionLost"],
    "database.migrations.history": ["History"],
    "deliveries.store": ["new_delivery_store"],
    "database.schema": ["ensure_schema"],
    "database.metadata": ["NAMING_CONVENTION", "UtcDateTime"],
    "database.transaction": ["Refusals", "Transaction"],
    "deliveries.unit_of_work_scope": ["open_unit_of_work"],
    "repository": ["AggregateStore", "Repository"],
}
__all__ = tuple(name for names in _NAMES.values() for name in names)
_HOMES = {name: home for home, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"{__name__} has no public name {name}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
