"""The settings of the engine, and the only reader of the environment.

An application adds its own settings in a subclass, and extensions have their own classes. Every
field is an environment variable: `handler_timeout_seconds` of `shop` is
`SHOP_HANDLER_TIMEOUT_SECONDS`. The text in its annotation gives the reason for its default.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta

from aftercommit.delivery_policy import DeliveryPolicy
from aftercommit.errors import InvalidValue, WiringError
from aftercommit.secret_text import SecretText

S = TypeVar("S", bound="EngineSettings")
E = TypeVar("E")

NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")  # also in capitals, unquoted in SQL, as a package
DAY = 86400.0
Seconds = Annotated[float, Meta(gt=0, le=10**9, description="seconds")]
"""A duration in seconds, above 0 and finite.

>>> from dataclasses import dataclass
>>> from typing import Annotated, ClassVar
>>> from aftercommit import EngineSettings, Seconds
>>> @dataclass(frozen=True, slots=True, kw_only=True)
... class Settings(EngineSettings):
...     application: ClassVar[str] = "shop"
...     patience: Annotated[Seconds, "a customer waits no longer"] = 5.0
"""
Count = Annotated[int, Meta(ge=1, le=1000, description="how many")]
Factor = Annotated[float, Meta(ge=1, le=100, description="factor")]
EventLoop = Literal["asyncio", "trio"]
LogLevel = Literal["debug", "info", "warning", "error"]
EnvLookup = Callable[[str], str | None]
"""Returns the value of an environment variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings(DeliveryPolicy):
    """The settings that every application has.

    A field with `repr=False`, such as a URL, may contain a secret. It is read as `SecretText`, so
    that even printing the value itself does not show the secret.

    >>> from dataclasses import dataclass
    >>> from typing import ClassVar
    >>> from aftercommit import EngineSettings
    >>> @dataclass(frozen=True, slots=True, kw_only=True)
    ... class Settings(EngineSettings):
    ...     application: ClassVar[str] = "shop"
    ...     currency: str = "EUR"
    >>> Settings.variable("currency")
    'SHOP_CURRENCY'
    """

    application: ClassVar[str]
    """The name of the application, with which channels, queues and metrics begin.

    So applications can share servers. It has the form `NAME`, which is safe everywhere.
    """

    database_url: str = field(repr=False)
    event_loop: Annotated[EventLoop, "comes with Python; brokers need it"] = "asyncio"
    instance_name: Annotated[str | None, "host and process number"] = None
    log_level: Annotated[LogLevel | None, "error; info for commands that run until stopped"] = None
    log_format: Annotated[str, "for people"] = "text"
    dispatch: Annotated[Literal["inline", "worker"], "needs no second process"] = "inline"
    pool_size: Annotated[Count, "some processes fit into PostgreSQL's usual 100 connections"] = 10
    worker_concurrency: Annotated[Count, "twice the connections: half wait for mail"] = 20
    max_handlers: Annotated[Count, "more of them wait, or are left to workers"] = 50
    max_dispatches: Annotated[Count, "as many as a worker's deliveries"] = 20
    lease_seconds: Annotated[Seconds, "longer than a handler may take, with time to commit"] = 30.0
    handler_timeout_seconds: Annotated[Seconds, "longer than a slow mail server takes"] = 20.0
    retry_initial_seconds: Annotated[Seconds, "most outages are restarts, and short"] = 1.0
    retry_factor: Annotated[Factor, "the cap is reached after the seventh attempt"] = 4.0
    retry_max_seconds: Annotated[Seconds, "all is retried within an hour of an outage"] = 3600.0
    shutdown_grace_seconds: Annotated[Seconds, "with 5 to clean up, below Kubernetes' 30"] = 10.0
    max_attempts: Annotated[Count, "spans 1¾ to 3½ hours; then an operator decides"] = 10
    of_extensions: tuple[Any, ...] = ()
    """The settings of the extensions, an object of each class."""

    def __init_subclass__(cls) -> None:
        if not NAME.fullmatch(cls.application):
            raise WiringError(f"an application's name has to match {NAME.pattern}", cls.application)
        if isinstance(default := vars(cls).get("database_url"), str):
            cls.database_url = field(default=default, repr=False)  # type: ignore[misc]  # it would show

    @classmethod
    def variable(cls, name: str) -> str:
        """Return the environment variable of a setting."""
        return f"{cls.application.upper()}_{name.upper()}"

    def of(self, extension: type[E]) -> E:
        """Return the settings of an extension, by their class; the defaults if none were read."""
        found = (each for each in self.of_extensions if isinstance(each, extension))
        return next(found, extension())

    @classmethod
    def refused(cls, name: str, problem: str) -> InvalidValue:
        """Return the error about a setting, without its value, which may be a secret."""
        return InvalidValue(cls.variable(name), problem)

    def __post_init__(self) -> None:
        if self.handler_timeout_seconds >= self.lease_seconds:
            problem = (
                f"has to be shorter than {self.variable('lease_seconds')}; "
                "otherwise, a handler could still run when another process takes its delivery over"
            )
            raise self.refused("handler_timeout_seconds", problem)
        if self.retry_initial_seconds > self.retry_max_seconds:
            longest = self.variable("retry_max_seconds")
            raise self.refused("retry_initial_seconds", f"must not be longer than {longest}")


def load(
    kind: type[S],
    overrides: Mapping[str, Any],
    find: EnvLookup = os.environ.get,
    *,
    of_extensions: Collection[Any] = (),
    log_formats: Collection[str] = ("text",),
) -> S:
    """Return the settings of the environment, overridden by the given ones that are not None.

    :raises InvalidValue: if one is wrong; its value is not quoted, because it may be a secret
    :raises WiringError: if two of these classes, or one and the engine, have the same setting
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    names = [setting.name for each in (kind, *of_extensions) for setting in fields(each)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise WiringError("two settings have the same name", *twice)
    overridden = {each.name for each in fields(EngineSettings) if each.default is not MISSING}
    if clashing := overridden & {*kind.__annotations__}:
        raise WiringError("settings have the name of a setting of the engine", *clashing)
    if unknown := given.keys() - names:
        raise TypeError(f"unknown settings {', '.join(unknown)}")
    read = tuple(_read(kind, each, given, find) for each in of_extensions)
    settings: S = _read(kind, kind, {**given, "of_extensions": read}, find)
    if settings.log_format not in log_formats:
        raise kind.refused(
            "log_format", f"is not acceptable: it has to be one of {', '.join(log_formats)}"
        )
    return settings


def _read(
    application: type[EngineSettings], kind: Any, given: Mapping[str, Any], find: EnvLookup
) -> Any:
    values: dict[str, Any] = {}
    for setting in fields(kind):
        name = setting.name
        value = given[name] if name in given else find(application.variable(name)) or None
        if value is not None:
            values[name] = _converted(application, value, setting.type, name)
    settings = kind(**values)
    for name in (setting.name for setting in fields(kind) if not setting.repr):
        if isinstance(value := getattr(settings, name), str):
            object.__setattr__(settings, name, SecretText(value))
    return settings


def _converted(application: type[EngineSettings], value: object, annotation: Any, name: str) -> Any:
    if isinstance(value, SecretText):
        value = value[:]  # as a text that msgspec converts
    try:
        str(value).encode()  # msgspec accepts surrogates
        return msgspec.convert(value, annotation, strict=False)
    except msgspec.ValidationError as error:
        reason = re.split(""" ['"]""", str(error))[0]  # the rest is the value
        raise application.refused(name, f"is not acceptable: {reason}") from None
    except UnicodeError:
        raise application.refused(name, "is not valid UTF-8") from None
