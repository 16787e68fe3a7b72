"""The errors of the extension, including those that a publisher raises; see `ports.Publisher`.

`MessageRefusedError` and `ConfirmTimeoutError` count as attempts. `BrokerUnavailable` and
`QueueFull` do not: the event is retried until the broker is back, or the queue is not full.
"""

from aftercommit.errors import InvalidMessage, TransientError, Unavailable


class UnknownCommandType(InvalidMessage):
    """No command of this wire name exists in this version of the program."""

    def __init__(self, wire_name: str) -> None:
        super().__init__(f"unknown command type {wire_name!r}")


class MessageTooLarge(InvalidMessage):
    """A message that means a command is longer than any command may be."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the message has {size:,} bytes; a command may have {limit:,}")


class MessageIdReused(InvalidMessage):
    """A message has the source and id of an earlier message, but another content."""

    def __init__(self, source: str, message_id: str | None) -> None:
        super().__init__(f"message {message_id!r} from {source!r} had another content before")


class NotDecoded(InvalidMessage):
    """A message could not be decoded: its body is unknown, and only its place is known."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the message cannot be decoded: {reason}")


class UntranslatableMessage(InvalidMessage):
    """The function that translates a subscription's messages has raised an error."""

    def __init__(self, subscription: str, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {error}"
        super().__init__(f"the subscription {subscription} cannot translate a message: {reason}")


class BrokerUnavailable(Unavailable):
    """A message broker cannot be reached, or the connection was lost."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"{broker} is not available: {reason}")
        self.reason = reason


class MissingTopic(TransientError):
    """A topic does not exist, and this program is not allowed to create it."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"{broker} is not available: {reason}")


class SourceMissing(TransientError):
    """The topic of another service does not exist, at least not yet."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"{broker}: {reason}")


class TargetMissing(Unavailable):
    """The queue or topic for another service's commands does not exist, at least not yet."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"{broker}: {reason}")


class QueueFull(Unavailable):
    """A broker has rejected a message for now, because a queue is full.

    RabbitMQ does so for a queue with `x-overflow` "reject-publish". It does not say which queue,
    and all other queues that are bound for this message may have it already.
    """

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"{broker} rejects a message for now, as a full queue does: {reason}")


class OrderNotKept(TransientError):
    """The queue of a subscription `in_order` exists, and is not the one that we make."""

    def __init__(self, queue: str, reason: str) -> None:
        super().__init__(
            f"the queue {queue} may keep no order ({reason}); the page on brokers says how to"
            " replace it; until then, nothing is consumed from it"
        )


class UndecodableMessage(TransientError):
    """A message broke the connection, because the AMQP library cannot decode it."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"{broker} is not available: {reason}")


class ConfirmTimeoutError(TimeoutError):
    """A message broker has not confirmed a message, but may have received it."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"{broker} has not confirmed a message: {reason}")


class MessageRefusedError(OSError):
    """A message broker does not accept this message."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"{broker} refuses a message: {reason}")
