"""The settings, and the only reader of the environment. Read by bootstrap and entrypoints only.

Every field, also of the settings of a room, is an environment variable: `handler_timeout_seconds`
is `ALLOCATION_HANDLER_TIMEOUT_SECONDS`. The text in its annotation says why its default is that.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from pkgutil import resolve_name
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from allocation.domain.exceptions import InvalidValue
from allocation.domain.values import EmailAddress
from allocation.rooms import EVENT_LOOPS, LOG_FORMATS, ROOMS

S = TypeVar("S")

Seconds = Annotated[float, Meta(gt=0, le=10**9, description="seconds")]
Count = Annotated[int, Meta(ge=1, le=1000, description="how many")]
Factor = Annotated[float, Meta(ge=1, le=100, description="factor")]
LogLevel = Literal["debug", "info", "warning", "error"]
Find = Callable[[str], str | None]  # the value of a variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. URLs may hold passwords, so they never show in `repr`."""

    database_url: Annotated[str, "no server"] = field(default="sqlite:///allocation.db", repr=False)
    mail_url: Annotated[str | None, "kept beside a SQLite file"] = field(default=None, repr=False)
    sender_email: Annotated[str, "nobody's real address"] = "allocation@localhost"
    marketing_email: Annotated[str, "nobody's real address"] = "marketing@localhost"
    backend: Annotated[str, "comes with Python; brokers need it"] = "asyncio"
    process_name: Annotated[str | None, "its host and number tell it from others"] = None
    log_level: Annotated[LogLevel | None, "error; info for what runs until it is stopped"] = None
    log_format: Annotated[str, "people read it first"] = "text"
    dispatch: Annotated[Literal["inline", "worker"], "needs no second process"] = "inline"
    pool_size: Annotated[Count, "some processes fit into PostgreSQL's usual 100 connections"] = 10
    concurrency: Annotated[Count, "twice the connections: half of them wait for mail servers"] = 20
    lease_seconds: Annotated[Seconds, "longer than a handler may take, with time to commit"] = 30.0
    handler_timeout_seconds: Annotated[Seconds, "a mail server's slow answer takes less"] = 20.0
    retry_base_seconds: Annotated[Seconds, "most trouble is a restart, and soon over"] = 1.0
    retry_factor: Annotated[Factor, "the cap is reached after the seventh attempt"] = 4.0
    retry_cap_seconds: Annotated[Seconds, "an hour after an outage all is tried"] = 3600.0
    grace_seconds: Annotated[Seconds, "with 5 more to tidy up, below Kubernetes' 30"] = 10.0
    max_attempts: Annotated[Count, "spans 1¾ to 3½ hours; then a person decides"] = 10
    of_rooms: tuple[Any, ...] = ()
    """The settings of the rooms, each of a class of its own."""

    def of(self, room: type[S]) -> S:
        """Return the settings of a room, by their class; its defaults if they were not read."""
        return next((found for found in self.of_rooms if isinstance(found, room)), None) or room()

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
        for name, known in (("backend", EVENT_LOOPS), ("log_format", LOG_FORMATS)):
            if getattr(self, name) not in known:
                raise InvalidValue(variable(name), f"is not acceptable: none of {', '.join(known)}")
        for name in ("sender_email", "marketing_email"):
            try:
                EmailAddress(getattr(self, name))
            except InvalidValue:
                raise InvalidValue(variable(name), "is not an e-mail address") from None
        if self.handler_timeout_seconds >= self.lease_seconds:
            problem = (
                "has to be shorter than ALLOCATION_LEASE_SECONDS, "
                "or a handler could still run when another process takes its delivery over"
            )
            raise InvalidValue("ALLOCATION_HANDLER_TIMEOUT_SECONDS", problem)
        if self.retry_base_seconds > self.retry_cap_seconds:
            problem = "must not be longer than ALLOCATION_RETRY_CAP_SECONDS"
            raise InvalidValue("ALLOCATION_RETRY_BASE_SECONDS", problem)


def load(overrides: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the environment, overridden by those given and not None.

    :raises InvalidValue: if one is not acceptable; its value is not repeated, it may be a secret
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    kinds = [resolve_name(room.settings) for room in ROOMS.values() if room.settings]
    known = {setting.name for kind in (Settings, *kinds) for setting in fields(kind)}
    if unknown := given.keys() - known:
        raise TypeError(f"there are no settings {', '.join(unknown)}")
    find: Find = environment.get
    for way in (room.environment for room in ROOMS.values() if room.environment):
        find = resolve_name(way)(find)
    given["of_rooms"] = tuple(_read(kind, given, find) for kind in kinds)
    settings: Settings = _read(Settings, given, find)
    return settings


def _read(kind: Any, given: Mapping[str, Any], find: Find) -> Any:
    values: dict[str, Any] = {}
    for setting in fields(kind):
        name = setting.name
        value = given[name] if name in given else find(variable(name)) or None
        if value is not None:
            values[name] = _converted(value, setting.type, name)
    return kind(**values)


def _converted(value: object, annotation: Any, name: str) -> Any:
    try:
        return msgspec.convert(value, annotation, strict=False)
    except msgspec.ValidationError as error:
        reason = re.split(""" ['"]""", str(error))[0]  # what follows is the value
        raise InvalidValue(variable(name), f"is not acceptable: {reason}") from None
    except UnicodeError:
        raise InvalidValue(variable(name), "is not valid UTF-8") from None


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"ALLOCATION_{name.upper()}"
