"""The wires between processes and PostgreSQL: what is sent arrives after a moment, or never.

asyncpg is as it is: it gets a transport of asyncio, which has no socket. What it has written at one
moment is one call; faults happen before it has arrived, and after its effect.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from math import inf
from typing import Any, NamedTuple

from simulation.faults import BUSY_IS_LONG, Fault, Faults
from simulation.protocol import (
    CANCEL_REQUEST,
    DISK_FULL,
    IDLE_TIMEOUT,
    READ_ONLY,
    USER_REQUEST,
    WRITING,
    Message,
    Refusal,
    bind,
    error_of,
    notification,
    parse,
    query,
    split,
)
from simulation.server_limits import Limit, taken_out
from simulation.sessions import Session, Sessions
from simulation.statement_names import name_of
from simulation.world import Loop

UNINTERESTING = ("SELECT", "BEGIN", "SHOW", "SET", "select", "show", "WITH typebases")
CUT = "the connection was cut"


class Statement(NamedTuple):
    """What a client has prepared."""

    sql: str
    name: str
    writes: bool = False
    limits: Sequence[Limit] = ()
    listens_to: str = ""
    notifies: str = ""


@cache
def statement_of(sql: str) -> Statement:
    """Return a statement as the server is to execute it.

    Notifications are the world's own: the server would send them whenever it comes to it.
    """
    sql, limits = taken_out(sql)
    match sql.split():
        case ["LISTEN", channel]:
            return Statement(
                "SET simulation.channel = 'listen'", sql, listens_to=channel.strip('"')
            )
        case ["NOTIFY", channel]:
            return Statement("SET simulation.channel = 'notify'", sql, notifies=channel.strip('"'))
    return Statement(sql, name_of(sql), bool(WRITING.search(sql)), limits)


def has_written(statement: Statement, answers: Iterable[Message]) -> bool:
    """Tell whether a statement may have changed something, by the number of rows in its answer."""
    if not statement.writes:
        return False
    tags = [each.texts[0] for each in answers if each.kind == b"C"]
    is_one_thing = statement.name == "CLAIM" or not statement.sql.startswith("WITH")
    return not (is_one_thing and all(tag.endswith(" 0") for tag in tags))


class Network:
    """All wires of a world."""

    def __init__(self, faults: Faults, sessions: Sessions, changed: Callable[[], None]) -> None:
        self.faults, self.world, self.sessions = faults, faults.world, sessions
        self.changed = changed
        self._wires = 0
        self.by_pid: dict[int, Wire] = {}

    async def connect(self, loop: Loop, new_protocol: Callable[[], Any]) -> tuple["Wire", Any]:
        """Connect, as `create_unix_connection` of the event loop.

        :raises ConnectionRefusedError: if the server is down
        """
        await asyncio.sleep(self.latency())
        if self.faults.is_down:
            raise ConnectionRefusedError("the server is down")
        protocol = new_protocol()
        self._wires += 1
        wire = Wire(self, loop, protocol, self._wires)
        protocol.connection_made(wire)
        return wire, protocol

    def latency(self) -> float:
        """Draw how long a way takes."""
        return self.world.random.expovariate(1 / self.world.latency)

    def notify(self, channel: str) -> None:
        """Tell all who listen."""
        for session in self.sessions.listening:
            if channel in session.channels and session.answered:
                session.answered([notification(channel)])


class Wire(asyncio.Transport):
    """One connection. A session of the server is at its other end, until one of them hangs up."""

    def __init__(self, network: Network, loop: Loop, protocol: Any, number: int) -> None:
        super().__init__()
        self._network, self._world, self._faults = network, network.world, network.faults
        self._loop, self._process, self._protocol = loop, loop.process, protocol
        self._number = number
        self._session: Session | None = None
        self._out, self._in = b"", b""
        self._is_sending = self._is_delivering = False
        self._is_closed = self._is_hung_up = False  # for the server, and for the process
        self._ends: tuple[BaseException | None] | None = None  # with this error
        self._statements: dict[str, Statement] = {}
        self._asked: Statement | None = None
        self._fault: Fault | None = None
        self._is_dirty = False  # what its transaction has done so far is not nothing
        self._idle_since, self._watches = 0.0, False
        self._asked_at = 0.0
        self._process.connections.append(self)

    # what asyncpg calls

    def write(self, data: Any) -> None:
        self._out += bytes(data)
        if not self._is_sending and not self._is_closed:
            self._is_sending = True
            self._world.after(self._network.latency(), self._arrive)

    def close(self) -> None:
        if not self._is_hung_up:
            self._is_hung_up = True
            self.drop()
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._is_hung_up

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None: ...

    # to the server

    def _arrive(self) -> None:
        """Let what was written arrive at the server, unless something is faster."""
        self._is_sending = False
        if self._is_closed:
            return
        data, self._out = self._out, b""
        if self._session is None:
            self._begin(data)
            return
        messages, self._out = split(data)
        if any(each.kind == b"X" for each in messages):
            self.drop()
            return
        messages, self._asked = self._understood(messages)
        if self._asked is None:
            self._send(messages)
            return
        fault = self._faults.of_call(self._process, self._asked.name)
        if fault and fault.moment == "before":
            self._faults.strike(fault, self._process, self, self._asked.name)
            self._world.soon(partial(self._execute, messages, self._asked, None), self._process)
        else:
            self._execute(messages, self._asked, fault)

    def _execute(self, messages: list[Message], asked: Statement, fault: Fault | None) -> None:
        if not self._is_closed:
            self._fault, self._asked_at = fault, self._world.now
            self._send(self._refused(messages, asked))

    def _begin(self, data: bytes) -> None:
        if int.from_bytes(data[4:8], "big") == CANCEL_REQUEST:
            other = self._network.by_pid.get(int.from_bytes(data[8:12], "big"))
            self._end(None)
            if other and other._session and other._session.waits_for:
                self._network.sessions.cancel(other._session, USER_REQUEST)
            return
        self._session = self._network.sessions.take(self._answered)
        self._network.by_pid[self._session.pid] = self
        self._deliver(self._session.greeting)

    def _send(self, messages: Sequence[Message]) -> None:
        assert self._session
        self._network.sessions.send(self._session, messages)

    def _understood(self, messages: Iterable[Message]) -> tuple[list[Message], Statement | None]:
        """Return messages as the server is to get them, and what they ask for, if anything."""
        understood, asked = list[Message](), None
        for message in messages:
            match message.kind:
                case b"P":
                    name, sql, *_ = message.texts
                    start = len(name.encode()) + len(sql.encode()) + 2
                    self._statements[name] = statement = statement_of(sql)
                    message = parse(name, statement.sql, message.body[start:])
                case b"B":
                    asked = self._statements[message.texts[1]]
                case b"Q":
                    asked = statement_of(message.texts[0])
                    message = query(asked.sql)
            understood.append(message)
        return understood, asked

    def _refused(self, messages: list[Message], asked: Statement) -> list[Message]:
        """Let the server refuse what it cannot do when it is full, or takes no writes."""
        refusal: Refusal | None = None
        if self._faults.refusal(asked.name) and asked.name != "COMMIT":
            refusal = DISK_FULL if self._faults.is_full else READ_ONLY
        elif self._faults.is_read_only and asked.name.endswith("FOR UPDATE"):
            refusal = READ_ONLY
        if not refusal:
            return messages
        refused = bind("refuse", refusal.code, refusal.text)
        return [refused if each.kind == b"B" else each for each in messages]

    # from the server

    def _answered(self, messages: Sequence[Message]) -> None:
        """Take the answers of the server: its effects are there, but nobody may hear of them."""
        session, asked = self._session, self._asked
        assert session
        if messages[0].kind == b"A":
            self._deliver(messages)
            return
        if asked:
            self._asked = None
            if self._world.now - self._asked_at > BUSY_IS_LONG:
                self._process.waited_at = self._world.now
            self._note_effects(session, asked, messages)
        if session.status != b"I":
            self._idle_since = self._world.now
            self._watch()
        fault, self._fault = self._fault, None
        if fault:
            what = asked.name if asked else ""
            self._world.after(0.0, partial(self._suffer_after, fault, what, messages))
        else:
            self._deliver(messages)

    def _note_effects(
        self, session: Session, asked: Statement, messages: Sequence[Message]
    ) -> None:
        if errors := [error_of(each) for each in messages if each.kind == b"E"]:
            self._tell(f"{asked.name} → {errors[0]}")
        else:
            is_nothing = asked.name == "ROLLBACK" and not self._is_dirty
            if not is_nothing and not asked.name.startswith(UNINTERESTING):
                self._tell(asked.name)
            self._is_dirty |= has_written(asked, messages)
            self._keep(session, asked)
        if session.status == b"I":
            if self._is_dirty and not errors and asked.name != "ROLLBACK":
                self._network.changed()
            self._is_dirty = False

    def _keep(self, session: Session, asked: Statement) -> None:
        """Do what the world does in the place of the server."""
        for limit in asked.limits:
            session.limits.set(limit)
        if asked.listens_to:
            session.channels.add(asked.listens_to)
        if asked.notifies:
            self._network.notify(asked.notifies)

    def _tell(self, what: str) -> None:
        self._world.story.tell(self._process, f"{what} [{self._number}]", detail=True)

    def _suffer_after(self, fault: Fault, what: str, messages: Sequence[Message]) -> None:
        if self._is_closed or self._process.is_dead:
            return
        self._faults.strike(fault, self._process, self, what)
        self._deliver(messages)

    def _deliver(self, messages: Sequence[Message]) -> None:
        """Let answers be on their way to the process; what comes later arrives later."""
        if not self._is_closed:
            self._in += b"".join(each.data for each in messages)
            self._deliver_soon()

    def _deliver_soon(self) -> None:
        if not self._is_delivering:
            self._is_delivering = True
            self._world.soon(self._delivered, self._process)

    def _delivered(self) -> None:
        self._is_delivering = False
        data, self._in = self._in, b""
        self._loop.call_soon(self._received, data)

    def _received(self, data: bytes) -> None:
        """Be a transport that has heard something: in the event loop, unless it is closed there."""
        if data and not self._is_hung_up:
            self._protocol.data_received(data)
        if self._ends and not self._is_hung_up:
            self._is_hung_up = True
            self._protocol.connection_lost(*self._ends)

    # ends

    def _watch(self) -> None:
        """Let the server end a transaction in which nothing is asked for too long."""
        assert self._session
        limit = self._session.limits["idle_in_transaction_session_timeout"]
        if not self._watches and limit < inf:
            self._watches = True
            self._world.after(self._idle_since + limit - self._world.now, self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        self._watches = False
        session = self._session
        if session is None or session.status == b"I" or session.due or session.is_in_pipeline:
            return
        limit = session.limits["idle_in_transaction_session_timeout"]
        if self._idle_since + limit > self._world.now + 1e-6:
            self._watch()
            return
        self._world.story.tell(self._process, "is idle in a transaction for too long")
        self._deliver([IDLE_TIMEOUT.message])
        self._end(None)

    def break_off(self) -> None:
        """Be cut: the server rolls back, the process learns of it a moment later."""
        if not self._is_closed:
            self._in = b""
            self._end(ConnectionResetError(CUT))

    def _end(self, error: BaseException | None) -> None:
        self.drop()
        self._ends = (error,)
        self._deliver_soon()

    def drop(self) -> None:
        """Vanish without a word."""
        if self._is_closed:
            return
        self._is_closed = True
        if self in self._process.connections and not self._process.is_dead:
            self._process.connections.remove(self)
        session, self._session = self._session, None
        if session:
            del self._network.by_pid[session.pid]
            self._network.sessions.release(session)
