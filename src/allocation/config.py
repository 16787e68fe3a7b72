"""The settings, and the only reader of the environment. Read by bootstrap and entrypoints only.

Every field, also of an extension's settings, is an environment variable: `handler_timeout_seconds`
is `ALLOCATION_HANDLER_TIMEOUT_SECONDS`. The text in its annotation says why its default is that.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from allocation.domain.error_kinds import InvalidValue
from allocation.domain.values import EmailAddress
from allocation.extensions import EXTENSIONS, LOG_FORMATS
from allocation.service_layer.delivery_model import DeliveryPolicy

S = TypeVar("S")

DAY = 86400.0
Seconds = Annotated[float, Meta(gt=0, le=10**9, description="seconds")]
Count = Annotated[int, Meta(ge=1, le=1000, description="how many")]
Factor = Annotated[float, Meta(ge=1, le=100, description="factor")]
EventLoop = Literal["asyncio", "trio"]
EVENT_LOOPS: tuple[EventLoop, ...] = get_args(EventLoop)
LogLevel = Literal["debug", "info", "warning", "error"]
EnvLookup = Callable[[str], str | None]
"""Returns the value of an environment variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(DeliveryPolicy):
    """Everything that can be set. URLs may hold passwords, so they never show in `repr`."""

    database_url: Annotated[str, "no server"] = field(default="sqlite:///allocation.db", repr=False)
    mail_url: Annotated[str | None, "a folder, if on SQLite"] = field(default=None, repr=False)
    mail_from: Annotated[str, "not a real address"] = "allocation@example.invalid"
    marketing_email: Annotated[str, "not a real address"] = "marketing@example.invalid"
    event_loop: Annotated[EventLoop, "comes with Python; brokers need it"] = "asyncio"
    instance_name: Annotated[str | None, "host and process number"] = None
    log_level: Annotated[LogLevel | None, "error; info for what runs until it is stopped"] = None
    log_format: Annotated[str, "for people"] = "text"
    dispatch: Annotated[Literal["inline", "worker"], "needs no second process"] = "inline"
    pool_size: Annotated[Count, "some processes fit into PostgreSQL's usual 100 connections"] = 10
    worker_concurrency: Annotated[Count, "twice the connections: half wait for mail"] = 20
    max_handlers: Annotated[Count, "more of them wait, or go to workers"] = 50
    max_dispatches: Annotated[Count, "as many as a worker's deliveries"] = 20
    lease_seconds: Annotated[Seconds, "longer than a handler may take, with time to commit"] = 30.0
    handler_timeout_seconds: Annotated[Seconds, "longer than a slow mail server takes"] = 20.0
    retry_initial_seconds: Annotated[Seconds, "most outages are restarts, and short"] = 1.0
    retry_factor: Annotated[Factor, "the cap is reached after the seventh attempt"] = 4.0
    retry_max_seconds: Annotated[Seconds, "within an hour after an outage, all is retried"] = 3600.0
    shutdown_grace_seconds: Annotated[Seconds, "with 5 to tidy up, below Kubernetes' 30"] = 10.0
    max_attempts: Annotated[Count, "spans 1¾ to 3½ hours; then a person decides"] = 10
    coupon_reminder_seconds: Annotated[Seconds, "25 days: five are left to redeem"] = 25 * DAY
    coupon_expiry_seconds: Annotated[Seconds, "30 days: then others may have it"] = 30 * DAY
    of_extensions: tuple[Any, ...] = ()
    """The settings of the extensions, each of a class of its own."""

    def of(self, extension: type[S]) -> S:
        """Return the settings of an extension, by their class; defaults if they were not read."""
        found = (each for each in self.of_extensions if isinstance(each, extension))
        return next(found, extension())

    @property
    def mail_folder(self) -> str | None:
        """The folder in which e-mails are kept: the one named, else one beside a SQLite file."""
        scheme, _, folder = (self.mail_url or "").partition(":")
        beside = re.match(r"sqlite(?:\+\w+)?:///(?:file:)?([^?]+)", self.database_url)
        if self.mail_url is None and beside:
            file = PurePath(beside[1])
            return f"{file.parent / file.stem}-mail"
        return folder if scheme == "maildir" and folder else None

    def __post_init__(self) -> None:
        if self.log_format not in LOG_FORMATS:
            formats = ", ".join(LOG_FORMATS)
            raise _refused("log_format", f"is not acceptable: none of {formats}")
        for name in ("mail_from", "marketing_email"):
            try:
                EmailAddress(getattr(self, name))
            except InvalidValue:
                raise _refused(name, "is not an e-mail address") from None
        if self.handler_timeout_seconds >= self.lease_seconds:
            problem = (
                "has to be shorter than ALLOCATION_LEASE_SECONDS, "
                "or a handler could still run when another process takes its delivery over"
            )
            raise _refused("handler_timeout_seconds", problem)
        if self.retry_initial_seconds > self.retry_max_seconds:
            longest = env_var("retry_max_seconds")
            raise _refused("retry_initial_seconds", f"must not be longer than {longest}")


def load(overrides: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the environment, overridden by those given and not None.

    :raises InvalidValue: if one is not acceptable; its value is not repeated, it may be a secret
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    kinds = settings_of_extensions()
    known = {setting.name for kind in (Settings, *kinds) for setting in fields(kind)}
    if unknown := given.keys() - known:
        raise TypeError(f"there are no settings {', '.join(unknown)}")
    find: EnvLookup = environment.get
    for extension in EXTENSIONS.values():
        find = extension.env_lookup(find)
    given["of_extensions"] = tuple(_read(kind, given, find) for kind in kinds)
    settings: Settings = _read(Settings, given, find)
    return settings


def settings_of_extensions() -> list[Any]:
    """Return the classes of the settings of all extensions."""
    return [kind for extension in EXTENSIONS.values() if (kind := extension.settings())]


def _read(kind: Any, given: Mapping[str, Any], find: EnvLookup) -> Any:
    values: dict[str, Any] = {}
    for setting in fields(kind):
        name = setting.name
        value = given[name] if name in given else find(env_var(name)) or None
        if value is not None:
            values[name] = _converted(value, setting.type, name)
    return kind(**values)


def _converted(value: object, annotation: Any, name: str) -> Any:
    try:
        str(value).encode()  # msgspec lets surrogates pass
        return msgspec.convert(value, annotation, strict=False)
    except msgspec.ValidationError as error:
        reason = re.split(""" ['"]""", str(error))[0]  # what follows is the value
        raise _refused(name, f"is not acceptable: {reason}") from None
    except UnicodeError:
        raise _refused(name, "is not valid UTF-8") from None


def _refused(name: str, problem: str) -> InvalidValue:
    return InvalidValue(env_var(name), problem)


def env_var(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"ALLOCATION_{name.upper()}"
