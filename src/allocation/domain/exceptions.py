"""Every error of this application, in one tree. Any layer may import this module.

    AllocationError
    ├── Malformed                     the input can never be right: correct it
    │   ├── InvalidValue
    │   └── InvalidMessage
    │       ├── UnknownEventType
    │       ├── UnknownCommandType
    │       └── InvalidPayload
    ├── Refused                       well-formed, but a rule says no
    │   ├── EmailAlreadyRegistered
    │   ├── UserAlreadyRegistered
    │   ├── UserNotFound
    │   ├── CouponBatchAlreadyAdded
    │   └── DeliveryNotFound
    ├── Conflict                      somebody else was faster: worth another try
    │   ├── ConcurrentUpdate
    │   ├── DeliverySuperseded
    │   └── MessageAlreadyHandled
    ├── Unavailable                   a resource is missing: nothing is wrong with the input
    │   ├── DatabaseUnavailable
    │   │   ├── ConnectionLost
    │   │   └── CommitOutcomeUnknown
    │   ├── BrokerUnavailable
    │   ├── SchemaOutdated
    │   ├── SchemaTooNew
    │   └── HandlerTimeout
    └── Mistake                       the program is wrong: somebody has to mend it
        └── WiringError               found at start

An error takes facts and composes its own sentence; callers never format messages. `slug` is its
stable name for machines, made from the class name; `heals` tells whether time may help. Entrypoints
map the kinds to exit codes, each in one place.
"""

import re
from typing import ClassVar


class AllocationError(Exception):
    """Base of all errors this application raises on purpose.

    `heals`: trying the same again later may succeed. What does not heal is never retried.
    """

    slug: ClassVar[str] = "allocation-error"
    heals: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        cls.slug = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


class Malformed(AllocationError):
    """The input can never be accepted as it is."""

    heals = False


class Refused(AllocationError):
    """The input is well-formed, but a business rule refuses it."""

    heals = False


class Conflict(AllocationError):
    """Somebody else was faster. The transaction was rolled back; trying anew is safe."""


class Unavailable(AllocationError):
    """A resource this service needs is not available."""


class Mistake(AllocationError):
    """The program is wrong. It heals only in so far as a mended program may run tomorrow."""


class WiringError(Mistake):
    """The program is put together wrongly; raised at start, before any message is handled."""

    def __init__(self, problem: str, *names: str) -> None:
        super().__init__(f"{problem}: {', '.join(sorted(names))}")


class InvalidValue(Malformed):
    """A value object or a setting was given a value outside its rules."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} {reason}")


class InvalidMessage(Malformed):
    """A stored or received message cannot be handled, however often it is tried."""


class UnknownEventType(InvalidMessage):
    """No event of this wire name exists in this version of the program."""

    def __init__(self, wire_name: str) -> None:
        super().__init__(f"unknown event type {wire_name!r}")


class UnknownCommandType(InvalidMessage):
    """No command of this wire name exists in this version of the program."""

    def __init__(self, wire_name: str) -> None:
        super().__init__(f"unknown command type {wire_name!r}")


class InvalidPayload(InvalidMessage):
    """The data of a message does not fit its type."""

    def __init__(self, wire_name: str, reason: str) -> None:
        super().__init__(f"invalid payload of {wire_name}: {reason}")


class EmailAlreadyRegistered(Refused):
    """Another user holds this e-mail address (compared case-insensitively)."""

    def __init__(self, email: object) -> None:
        super().__init__(f"e-mail address {email} is already registered")


class UserAlreadyRegistered(Refused):
    """The user id was registered before, with other data."""

    def __init__(self, user_id: object) -> None:
        super().__init__(f"user {user_id} is already registered with another name or e-mail")


class UserNotFound(Refused):
    """No user has this id."""

    def __init__(self, user_id: object) -> None:
        super().__init__(f"there is no user {user_id}")


class CouponBatchAlreadyAdded(Refused):
    """The reference was used before, for a batch of another quantity."""

    def __init__(self, reference: object, quantity: int) -> None:
        super().__init__(f"coupon batch {reference} was already added with quantity {quantity}")


class DeliveryNotFound(Refused):
    """No delivery of this event to this handler is owed."""

    def __init__(self, event_id: object, handler: str) -> None:
        super().__init__(f"there is no delivery of event {event_id} to {handler}")


class ConcurrentUpdate(Conflict):
    """What was read has changed before it was written."""

    def __init__(self) -> None:
        super().__init__("the data was changed by somebody else at the same time; try again")


class DeliverySuperseded(Conflict):
    """The lease on a delivery ended and somebody else owns it now, or has done it."""

    def __init__(self, event_id: object, handler: str) -> None:
        super().__init__(f"the delivery of event {event_id} to {handler} has another owner now")


class MessageAlreadyHandled(Conflict):
    """A message has arrived again, after its command was stored: it only has to be acknowledged."""

    def __init__(self, source: str, message_id: str) -> None:
        super().__init__(f"message {message_id!r} from {source!r} has been handled already")


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, is locked, full or read-only."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database is not available: {reason}")


class ConnectionLost(DatabaseUnavailable):
    """The connection to the database broke; the transaction was rolled back."""


class CommitOutcomeUnknown(DatabaseUnavailable):
    """The connection broke while committing. Repeating a command with the same ids is safe."""

    def __init__(self) -> None:
        super().__init__(
            "the connection was lost while committing, so it is not known whether anything was "
            "stored; repeat the command to make sure"
        )


class BrokerUnavailable(Unavailable):
    """A message broker cannot be reached, or does not confirm what it is sent."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"{broker} is not available: {reason}")


class SchemaOutdated(Unavailable):
    """The database has an older schema than this program needs."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f'the database schema is outdated (revision {found}); run "allocation db upgrade"'
        )


class SchemaTooNew(Unavailable):
    """The database has a schema this program does not know."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"the database schema (revision {found}) is not known to this version of allocation; "
            "install a newer one"
        )


class HandlerTimeout(Unavailable):
    """A handler was stopped because it took longer than its time limit."""

    def __init__(self, handler: str, seconds: float) -> None:
        super().__init__(f"{handler} took longer than {seconds:g} s")
