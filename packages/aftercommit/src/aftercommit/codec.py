"""The wire format: how messages are written, to the database and for other services.

The attributes are those of CloudEvents 1.0 (https://cloudevents.io). The wire name of a type is
made from its class name and never changes: a renamed class keeps it by an alias. When the fields of
a message change, its version grows, and an upcaster turns the data of each version into those of
the next, so that everything ever written can still be read.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from aftercommit.envelopes import Envelope, EventId, MessageContext
from aftercommit.errors import InvalidPayload, UnknownEventType, WiringError

CONTEXT = tuple(field.name for field in fields(MessageContext))  # columns of the same names
MAX_EVENT_LENGTH = 1_000_000  # characters of JSON: store anything longer elsewhere

NOT_JSON = """an event has a field that JSON cannot hold. Use str, int, float, bool, None, Decimal,
UUID, datetime, enums, dataclasses, or lists, sets and dicts of these. It is"""
UNKNOWN = """events that the Codec does not know; name each in its `events`, or move it into the
module that `message_types` reads them from"""

Data = dict[str, Any]
Upcaster = Callable[[Data], Data]
"""Turns the data of one version of a message into those of the next."""
Upcasters = Mapping[tuple[str, int], Upcaster]
"""Upcasters by wire name and old version."""
M = TypeVar("M")
E_co = TypeVar("E_co", covariant=True)


class Codec(Generic[E_co]):
    """Describes an application's messages: their classes, wire names and versions.

    `source` names the application in its events, for other services. `aliases` holds the wire names
    of renamed classes. `describe` says in a few words, to operators, what an event is about.

    :raises WiringError: if JSON cannot hold a field of an event, or if two events have one name

    >>> from dataclasses import dataclass
    >>> from aftercommit import Codec
    >>> @dataclass
    ... class OrderPlaced:
    ...     order_id: int
    >>> def number_is_order_id(data):  # of version 1 in version 2
    ...     return {"order_id": data["number"]}
    >>> upcasters = {("order_placed", 1): number_is_order_id}
    >>> codec = Codec(source="/shop", events=[OrderPlaced], upcasters=upcasters)
    >>> codec.read("order_placed", 1, '{"number": 7}', OrderPlaced)
    OrderPlaced(order_id=7)
    """

    def __init__(
        self,
        *,
        source: str,
        events: Iterable[type[E_co]],
        upcasters: Upcasters = MappingProxyType({}),
        aliases: Mapping[type[Any], str] = MappingProxyType({}),
        describe: Callable[[Any], str] = lambda event: "",
    ) -> None:
        self.source, self._upcasters, self._aliases = source, upcasters, aliases
        self.describe = describe
        self._versions = dict[str, int]()  # the current ones of upcast messages
        for name, old in upcasters:
            self._versions[name] = max(old + 1, self._versions.get(name, 1))
        self.events: dict[str, type[E_co]] = {}
        self.written: dict[type[Any], tuple[str, int]] = {}  # wire name and version of each class
        for event in events:
            _check_json(event)
            if (known := self.events.setdefault(name := self.name_of(event), event)) is not event:
                both = (f"{each.__module__}.{each.__qualname__}" for each in (known, event))
                raise WiringError(f"two events are called {name}; give one an alias", *both)
            self.written[event] = name, self.version_of(name)

    def name_of(self, message_type: type[Any]) -> str:
        """Return what a message type is called on the wire: UserRegistered is user_registered."""
        name = message_type.__name__
        return self._aliases.get(message_type) or re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()

    def version_of(self, name: str) -> int:
        """Return the current version of a message: one more than the newest upcast version."""
        return self._versions.get(name, 1)

    @property
    def versions(self) -> dict[str, int]:
        """The current version of each event, by its wire name."""
        return {name: self.version_of(name) for name in self.events}

    def require(self, *events: type[Any]) -> None:
        """Raise WiringError unless these events, such as those of the table, can be read again."""
        if unknown := [each.__name__ for each in events if each not in self.written]:
            raise WiringError(UNKNOWN, *unknown)

    def to_row(self, envelope: Envelope) -> Data:
        """Return the columns of the events table for `envelope`.

        :raises WiringError: if it could not be read again: the codec does not know its class
        :raises InvalidPayload: if it is too long, or has a value that JSON cannot hold
        """
        name = envelope.type
        if type(envelope.event) not in self.written:
            raise WiringError(UNKNOWN, type(envelope.event).__name__)
        try:
            data = msgspec.json.encode(envelope.event).decode()
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise InvalidPayload(name, str(error)) from error
        if len(data) > MAX_EVENT_LENGTH:
            raise InvalidPayload(name, f"{len(data)} characters, more than {MAX_EVENT_LENGTH}")
        return {
            "id": envelope.id,
            "source": envelope.source,
            "type": name,
            "schema_version": envelope.schema_version,
            "subject": envelope.subject,
            "time": envelope.time,
            "data": data,
            **{name: getattr(envelope.context, name) for name in CONTEXT},
        }

    def from_row(self, row: Mapping[Any, Any]) -> Envelope:
        """Return the envelope that was stored as `row`; each value may also be text.

        :raises UnknownEventType: if no event has this wire name
        :raises InvalidPayload: if what is stored makes no envelope, for whatever reason
        """
        name = row["type"]
        if name not in self.events:
            raise UnknownEventType(name)
        try:
            event_id, version = EventId(UUID(str(row["id"]))), int(row["schema_version"])
            time = datetime.fromisoformat(str(row["time"]))
            time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
            said = {name: row[name] for name in CONTEXT}
            context = msgspec.convert(said, MessageContext, strict=False)
        except (ValueError, OverflowError, msgspec.MsgspecError) as error:
            raise InvalidPayload("an event", str(error)) from error
        try:
            event = self.read(name, version, row["data"], self.events[name])
        except InvalidPayload as error:
            if version == self.version_of(name):
                hint = f"if its class has changed, give the Codec an upcaster for {name, version}"
                error.args = (f"{error}; {hint}",)
            raise
        except Exception as error:  # in an upcaster, or in the class of the event
            raise InvalidPayload(name, f"{type(error).__name__}: {error}") from error
        return Envelope(
            id=event_id,
            source=row["source"],
            type=name,
            schema_version=self._versions.get(name, 1),  # the event's current version
            event=event,
            subject=row["subject"],
            time=time,
            context=context,
        )

    def read(self, name: str, version: int, data: str | bytes, message_type: type[M]) -> M:
        """Return the message of this wire name and version.

        :raises InvalidPayload: if there is no such version, or if the data do not fit
        """
        present = self._versions.get(name, 1)
        if version == present:
            return decode(name, data, message_type)
        if not 1 <= version < present:
            reason = f"its version {version} is not known, only those up to {present}"
            raise InvalidPayload(name, reason)
        fields: Data = decode(name, data, dict)
        try:
            for old in range(version, present):
                fields = self._upcasters[name, old](fields)
            return msgspec.convert(fields, message_type)
        except (msgspec.MsgspecError, KeyError) as error:
            raise InvalidPayload(name, f"version {version}: {error}") from error


def fingerprint(what: str, data: bytes) -> str:
    """Return a text that differs for messages that say different things, however they spell it.

    It is made of what was received, and not of what this program reads in it: a process that knows
    more fields recognizes a repetition, too. The number in front is that of this form.
    """
    try:
        said = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        said = data.hex()  # no JSON, such as a file
    return f"1:{sha256(msgspec.json.encode([what, said], order='sorted')).hexdigest()}"


def _check_json(event: type[Any]) -> None:
    """Raise WiringError if JSON cannot hold a field of an event."""
    try:
        msgspec.json.schema(event, schema_hook=any_json)
    except NameError as error:
        problem = "an event has a field of a type that is not imported when the program runs"
        raise WiringError(problem, f"{event.__name__} ({error})") from error
    except Exception as error:
        problem = NOT_JSON if is_dataclass(event) else "an event has to be a dataclass, unlike"
        raise WiringError(problem, f"{event.__name__} ({error})") from error


def any_json(custom: type[Any]) -> Data:
    """Return the schema for a type that msgspec does not know, such as object."""
    if any(issubclass(each, custom) for each in (str, int, float, list, dict)):
        return {"type": "object"}
    raise TypeError(custom.__name__)


def decode(name: str, data: str | bytes, message_type: type[M]) -> M:
    """Return the message in some JSON, or raise InvalidPayload."""
    try:
        return msgspec.json.decode(data, type=message_type)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidPayload(name, str(error)) from error
