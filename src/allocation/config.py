"""The settings, and the only reader of the environment. Read by bootstrap and entrypoints only.

Every field, also of the settings of a room, is an environment variable: `handler_timeout_seconds`
is `ALLOCATION_HANDLER_TIMEOUT_SECONDS`. Each may also be in a file, such as a Docker secret, which
`ALLOCATION_HANDLER_TIMEOUT_SECONDS_FILE` names; so passwords need not be in the environment.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePath
from pkgutil import resolve_name
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from allocation.domain.exceptions import InvalidValue
from allocation.domain.values import EmailAddress
from allocation.rooms import ROOMS

PREFIX = "ALLOCATION_"
OLD_NAMES = {"mail_url": "smtp_url"}

S = TypeVar("S")

Seconds = Annotated[float, Meta(gt=0, le=10**9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. URLs may hold passwords, so they never show in `repr`."""

    database_url: str = field(default="sqlite:///allocation.db", repr=False)
    mail_url: str | None = field(default=None, repr=False)
    sender_email: str = "allocation@localhost"
    marketing_email: str = "marketing@localhost"
    backend: Literal["asyncio", "trio"] = "asyncio"
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    log_format: Literal["text", "json"] = "text"
    dispatch: Literal["inline", "worker"] = "inline"
    pool_size: Annotated[int, Meta(ge=1, le=1000)] = 10
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 20
    lease_seconds: Seconds = 30.0
    handler_timeout_seconds: Seconds = 20.0
    retry_base_seconds: Seconds = 1.0
    retry_factor: Annotated[float, Meta(ge=1, le=100)] = 4.0
    retry_cap_seconds: Seconds = 3600.0
    grace_seconds: Seconds = 10.0
    max_attempts: Annotated[int, Meta(ge=1, le=1000)] = 10
    of_rooms: tuple[Any, ...] = ()
    """The settings of the rooms, each of a class of its own."""

    def of(self, room: type[S]) -> S:
        """Return the settings of a room, by their class; its defaults if they were not read."""
        return next((found for found in self.of_rooms if isinstance(found, room)), None) or room()

    @property
    def mail_folder(self) -> str | None:
        """The folder in which e-mails are kept: the one named, else one beside a SQLite file.

        None if they are sent, or if nobody has said where to.
        """
        if self.mail_url is not None:
            scheme, _, folder = self.mail_url.partition(":")
            return folder if scheme == "maildir" and folder else None
        if match := re.match(r"sqlite(?:\+\w+)?:///(?:file:)?([^?]+)", self.database_url):
            file = PurePath(match[1])
            return f"{file.parent / file.stem}-mail"
        return None

    def __post_init__(self) -> None:
        for name in ("sender_email", "marketing_email"):
            try:
                EmailAddress(getattr(self, name))
            except InvalidValue:
                raise InvalidValue(_variable(name), "is not an e-mail address") from None
        if self.handler_timeout_seconds >= self.lease_seconds:
            raise InvalidValue(
                "ALLOCATION_HANDLER_TIMEOUT_SECONDS",
                "has to be shorter than ALLOCATION_LEASE_SECONDS, "
                "or a handler could still run when another process takes its delivery over",
            )
        if self.retry_base_seconds > self.retry_cap_seconds:
            raise InvalidValue(
                "ALLOCATION_RETRY_BASE_SECONDS",
                "must not be longer than ALLOCATION_RETRY_CAP_SECONDS",
            )


def load(overrides: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the environment, overridden by those given and not None.

    :raises InvalidValue: if one is not acceptable; its value is not repeated, it may be a secret
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    kinds = [resolve_name(room.settings) for room in ROOMS.values() if room.settings]
    if unknown := given.keys() - set().union(*map(_names, (Settings, *kinds))):
        raise TypeError(f"there are no settings {', '.join(unknown)}")
    of_rooms = tuple(_read(kind, given, environment) for kind in kinds)
    return _read(Settings, given, environment, of_rooms=of_rooms)


def _read(
    kind: type[S], given: Mapping[str, Any], environment: Mapping[str, str], **read: Any
) -> S:
    found = {name: _found(name, environment) for name in _names(kind) - given.keys() - read.keys()}
    values = {name: value for name, value in found.items() if value}
    values |= {name: given[name] for name in _names(kind) & given.keys()}
    converted = {name: _converted(kind, name, value) for name, value in values.items()}
    return kind(**converted, **read)


def _names(kind: Any) -> set[str]:
    return {setting.name for setting in fields(kind)}


def _found(name: str, environment: Mapping[str, str]) -> str | None:
    """Return what the environment says of a setting, under its name or its old one."""
    value = _in_variable_or_file(_variable(name), environment)
    if name not in OLD_NAMES:
        return value
    old_value = _in_variable_or_file(_variable(OLD_NAMES[name]), environment)
    if value and old_value and value != old_value:
        old = _variable(OLD_NAMES[name])
        raise InvalidValue(_variable(name), f"and {old}, its old name, differ: set only one")
    return value or old_value


def _in_variable_or_file(variable: str, environment: Mapping[str, str]) -> str | None:
    value, file = environment.get(variable), environment.get(f"{variable}_FILE")
    if not file:
        return value
    if value:
        raise InvalidValue(variable, f"and {variable}_FILE are both set: set only one")
    try:
        content = Path(file).read_text("utf-8").removesuffix("\n")
    except UnicodeError:
        raise InvalidValue(f"{variable}_FILE", "names a file that is not valid UTF-8") from None
    except OSError as error:
        problem = f"names a file that cannot be read: {error.strerror}"
        raise InvalidValue(f"{variable}_FILE", problem) from None
    if not content:
        raise InvalidValue(f"{variable}_FILE", "names an empty file")
    return content


def _converted(kind: type, name: str, value: object) -> Any:
    try:
        return msgspec.convert(value, kind.__annotations__[name], strict=False)
    except msgspec.ValidationError as error:
        reason = re.split(""" ['"]""", str(error))[0]  # what follows is the value
        raise InvalidValue(_variable(name), f"is not acceptable: {reason}") from None
    except UnicodeError:
        raise InvalidValue(_variable(name), "is not valid UTF-8") from None


def _variable(name: str) -> str:
    return PREFIX + name.upper()
