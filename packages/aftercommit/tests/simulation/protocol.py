"""PostgreSQL's protocol, as far as the world has to understand it.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import re
import struct
from collections.abc import Mapping
from typing import NamedTuple

CANCEL_REQUEST = 80877102  # in the place of the protocol's version
WRITING = re.compile(r"\b(INSERT INTO|UPDATE \w+|DELETE FROM)\b")


class Message(NamedTuple):
    """One message of either side."""

    kind: bytes
    body: bytes

    @property
    def data(self) -> bytes:
        """It as it is sent."""
        return self.kind + struct.pack("!i", len(self.body) + 4) + self.body

    @property
    def texts(self) -> list[str]:
        """The texts that it begins with; what comes after them is no text."""
        return [each.decode(errors="replace") for each in self.body.split(b"\0")]


def split(data: bytes) -> tuple[list[Message], bytes]:
    """Return the messages that are there as a whole, and what has arrived of the next one."""
    messages, position = list[Message](), 0
    while position + 5 <= len(data):
        (length,) = struct.unpack_from("!i", data, position + 1)
        end = position + 1 + length
        if end > len(data):
            break
        messages.append(Message(data[position : position + 1], data[position + 5 : end]))
        position = end
    return messages, data[position:]


SYNC, FLUSH = Message(b"S", b""), Message(b"H", b"")
EXECUTE = Message(b"E", b"\0" + struct.pack("!i", 0))


def startup(settings: Mapping[str, str]) -> bytes:
    """Return what a client begins with."""
    texts = "".join(f"{name}\0{value}\0" for name, value in settings.items())
    body = struct.pack("!i", 3 << 16) + texts.encode() + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def query(sql: str) -> Message:
    """Return a query without parameters."""
    return Message(b"Q", sql.encode() + b"\0")


def parse(name: str, sql: str, rest: bytes = b"\0\0") -> Message:
    """Return what prepares a statement; `rest` are the types of its parameters."""
    return Message(b"P", f"{name}\0{sql}\0".encode() + rest)


def bind(statement: str, *values: str) -> Message:
    """Return what gives a prepared statement its parameters, as texts."""
    parts = [b"\0", statement.encode(), b"\0", struct.pack("!hh", 0, len(values))]
    for each in values:
        encoded = each.encode()
        parts += [struct.pack("!i", len(encoded)), encoded]
    return Message(b"B", b"".join([*parts, struct.pack("!h", 0)]))


class Refusal(NamedTuple):
    """An error as the server tells it, by its SQLSTATE."""

    code: str
    text: str
    severity: str = "ERROR"

    @property
    def message(self) -> Message:
        """What the server sends."""
        fields = {"S": self.severity, "V": self.severity, "C": self.code, "M": self.text}
        body = "".join(f"{name}{value}\0" for name, value in fields.items())
        return Message(b"E", body.encode() + b"\0")


LOCK_TIMEOUT = Refusal("55P03", "canceling statement due to lock timeout")
STATEMENT_TIMEOUT = Refusal("57014", "canceling statement due to statement timeout")
USER_REQUEST = Refusal("57014", "canceling statement due to user request")
IDLE_TIMEOUT = Refusal(
    "25P03", "terminating connection due to idle-in-transaction timeout", severity="FATAL"
)
DEADLOCK = Refusal("40P01", "deadlock detected")
DISK_FULL = Refusal("53100", "could not extend file: No space left on device")
READ_ONLY = Refusal("25006", "cannot write in a read-only transaction")


def notification(channel: str) -> Message:
    """Return what tells a client of a NOTIFY."""
    return Message(b"A", struct.pack("!i", 0) + f"{channel}\0\0".encode())


def error_of(message: Message) -> str:
    """Say in a few words what an error says."""
    fields = {text[:1]: text[1:] for text in message.texts}
    return f"{fields.get('C')} {fields.get('M')}"
