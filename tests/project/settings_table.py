"""Reads the settings from their classes, for docs/settings.md: name, default, unit, and why.

What each one does is written here: a setting without a row in `WHAT` fails the test of the page.
"""

from collections.abc import Collection, Iterator
from dataclasses import MISSING, Field, fields
from inspect import get_annotations
from typing import Any, get_type_hints

from aftercommit.settings import EngineSettings
from msgspec import Meta

from allocation.config import Settings
from allocation.entrypoints.app import APP

WHAT = {
    "database_url": "the database: SQLite, or PostgreSQL with that extension",
    "mail_url": "where e-mails go: `maildir:FOLDER`, or a mail server",
    "mail_from": "the sender of all e-mails",
    "marketing_email": "recipient of the notice that a coupon batch is exhausted",
    "event_loop": "the event loop: `asyncio` or `trio`",
    "instance_name": "the name of the process in deliveries, logs and traces",
    "log_level": "which log lines are written",
    "log_format": "`text`, or `json` for machines",
    "dispatch": "who runs event handlers: the committing process (`inline`) or workers (`worker`)",
    "pool_size": "database connections of a process; on PostgreSQL, it uses up to 6 more",
    "worker_concurrency": "deliveries that a worker runs at the same time",
    "max_handlers": "handlers that a process runs at the same time; a worker may run more",
    "max_dispatches": "commands whose events `serve` and `consume` work on at the same time",
    "lease_seconds": "how long a claimed delivery is reserved for its process",
    "handler_timeout_seconds": "time limit of a handler",
    "retry_initial_seconds": "pause after the first failed attempt",
    "retry_factor": "by how much the pause grows with each attempt",
    "retry_max_seconds": "longest pause between two attempts",
    "shutdown_grace_seconds": "time for running work after SIGTERM",
    "max_attempts": "attempts before a delivery is parked",
    "coupon_reminder_seconds": "when a coupon's user is reminded of it, after it was allocated",
    "coupon_expiry_seconds": "when a coupon expires, after it was allocated",
    "broker_urls": "the message brokers, separated by spaces",
    "prefetch": "messages that the consumer fetches ahead",
    "retention_days": "age at which workers delete finished events and commands",
    "metrics_port": "port of metrics and health checks",
    "collect_metrics": "whether metrics are collected without a port of their own",
    "metrics_host": "address on which that port listens",
    "readiness_max_lag_seconds": "lag at which `/readyz` says that the process is not ready",
    "operator_token": "the token for everything but registering",
    "allowed_hosts": "values of the `Host` header that are accepted",
    "allowed_origins": "origins whose pages may read answers (CORS)",
    "http_host": "address on which `serve` listens",
    "http_port": "port on which `serve` listens",
    "http_max_body_bytes": "largest body of a request",
    "http_timeout_seconds": "how long an HTTP connection may be idle between two requests",
}


def settings() -> Iterator[str]:
    """Yield the table: the settings of the application, of the engine, and of each extension."""
    yield "| variable | what it does | default | unit | why that default |"
    yield "|---|---|---|---|---|"
    yield from _rows(Settings, get_annotations(Settings))
    yield from _rows(EngineSettings, get_annotations(EngineSettings))
    for kind in APP.extension_settings():
        yield from _rows(kind, get_annotations(kind))


def _rows(kind: Any, names: Collection[str]) -> Iterator[str]:
    annotations = get_type_hints(kind, include_extras=True)
    settings = {setting.name: setting for setting in fields(kind)}
    for setting in (settings[name] for name in names if name in settings):
        if said := getattr(annotations[setting.name], "__metadata__", ()):
            units = [str(meta.description) for meta in said if isinstance(meta, Meta)]
            why = said[-1]
            assert setting.name in WHAT, f"say in {__name__} what the setting {setting.name} does"
            cells = [WHAT[setting.name], _default(setting), "".join(units), why]
            yield f"| `{Settings.variable(setting.name)}` | {' | '.join(cells)} |"


def _default(setting: "Field[Any]") -> str:
    assert setting.default is not MISSING, f"{setting.name} has no default"
    default = setting.default
    return (
        "–"
        if default is None
        else f"`{default:.10g}`"
        if isinstance(default, float)
        else f"`{default}`"
    )
