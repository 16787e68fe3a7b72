"""Sessions of a real PostgreSQL server, one message at a time, and never in real time.

A statement of a session is sent, and then the world waits until each session has answered, or waits
for a lock that another one holds: PostgreSQL's isolationtester does the same. What a session waits
for, `pg_locks` says. A client that ends leaves its session to the next client, as a pooler would do
it: `DISCARD ALL` costs less than a new process of the server.
"""

import socket
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from select import poll
from typing import Any

from simulation.protocol import (
    DEADLOCK,
    EXECUTE,
    LOCK_TIMEOUT,
    STATEMENT_TIMEOUT,
    SYNC,
    Message,
    Refusal,
    bind,
    parse,
    query,
    split,
    startup,
)
from simulation.server_limits import Limits
from simulation.world import World

DEADLOCK_SECONDS = 1.0  # after which the server looks for one
FIRST_PAUSE, LONGEST_PAUSE = 5, 50  # milliseconds of real time, in which a session may answer
CLOCK = "SELECT set_config('simulation.now', $1, false)"
REFUSE = "SELECT simulation_refuse($1, $2)"
WAITING = """SELECT pid, concat_ws(' ', locktype, relation, page, tuple, transactionid, classid,
objid, objsubid) FROM pg_locks WHERE NOT granted AND pid = ANY(CAST(%s AS int[]))"""
BLOCKING = "SELECT pid, pg_blocking_pids(pid) FROM unnest(CAST(%s AS int[])) AS pid"


class Session:
    """One process of the server; it may outlive its client, if it waits for a lock."""

    def __init__(self, path: str, settings: dict[str, str], number: int) -> None:
        self.number = number
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._buffer = b""
        self._swallowed = list[bytes]()  # kinds of answers to what the world has asked in between
        self.fileno = self._socket.fileno()
        self.pid, self.status = 0, b"I"
        self.is_in_pipeline = False  # a statement is there, and not all of what is asked for
        self.limits = Limits()
        self.greeting = self._ask(startup(settings), due=1)
        self._prepare([])

    def _ask(self, data: bytes, due: int) -> Sequence[Message]:
        """Ask the server, and return its answers, which come at once."""
        self.due, self._flushes = due, 0
        self.received: list[Message] = []
        self._socket.sendall(data)
        while self.due:
            self.receive()
        answers, self.received = self.received, []
        return answers

    def _prepare(self, before: Sequence[Message]) -> None:
        """Have the statements of the world, and no state of any client."""
        messages = [*before, parse("clock", CLOCK), parse("refuse", REFUSE), SYNC]
        due = sum(each.kind in (b"Q", b"S") for each in messages)
        self._ask(b"".join(each.data for each in messages), due)
        self.limits, self.is_in_pipeline = Limits(), False
        self.channels = set[str]()
        self.waits_for, self.waits, self.statements = "", 0, 0
        self.refusal: Refusal | None = None
        self.answered: Callable[[Sequence[Message]], None] | None = None

    def reset(self) -> None:
        """Roll back, and have no state of this client any longer."""
        before = [query("ROLLBACK"), query("DISCARD ALL")]
        self._prepare([SYNC, *before] if self.is_in_pipeline else before)

    def send(self, messages: Sequence[Message], now: float) -> None:
        """Send what its client has sent, with the time of the world for what is executed."""
        self.statements += 1
        data, due = list[bytes](), 0
        for each in messages:
            due += each.kind in (b"S", b"Q", b"H")
            self._flushes += each.kind == b"H"
            if each.kind == b"B" and self.status != b"E":
                data += [bind("clock", repr(now)).data, EXECUTE.data]
                self._swallowed += [b"2", b"D", b"C"]
            data.append(each.data)
        self.due += due
        self.is_in_pipeline = bool(messages) and messages[-1].kind not in (b"S", b"Q")
        self._socket.sendall(b"".join(data))

    def receive(self) -> None:
        """Take what the server has answered."""
        data = self._socket.recv(1 << 18)
        assert data, f"the server has ended session {self.number}"
        messages, self._buffer = split(self._buffer + data)
        for each in messages:
            if self._swallowed and self._swallowed[0] == each.kind:
                del self._swallowed[0]
                continue
            if each.kind == b"E":
                self._swallowed.clear()  # the server skips what comes after an error
            self._take(each)

    def _take(self, message: Message) -> None:
        match message.kind:
            case b"K":
                self.pid = int.from_bytes(message.body[:4], "big")
            case b"Z":
                self.due -= 1
                self.status = message.body
                if self.status == b"I":
                    self.limits.transaction_ends()
            case b"T" | b"n" | b"E" if self._flushes:
                self.due -= 1
                self._flushes -= 1
        if message.kind == b"E" and self.refusal:
            message, self.refusal = self.refusal.message, None
        self.received.append(message)


class Sessions:
    """All sessions of a world; they are kept for the next one."""

    def __init__(self, path: str, settings: dict[str, str], control: Any) -> None:
        self._path, self._settings, self._control = path, settings, control
        self._all, self._free = list[Session](), list[Session]()
        self._active, self._ghosts = list[Session](), set[Session]()

    def begin_world(self, world: World, settled: Callable[[], None]) -> None:
        """Serve this world; `settled` is called whenever all have answered, or wait."""
        self._world, self._settled = world, settled

    def take(self, answered: Callable[[Sequence[Message]], None]) -> Session:
        """Return a session for a client, which is told of the answers."""
        if self._free:
            session = self._free.pop(0)
        else:
            session = Session(self._path, self._settings, len(self._all) + 1)
            self._all.append(session)
        session.answered = answered
        return session

    def release(self, session: Session) -> None:
        """Let a session end, as the server does it when it hears no more of the client.

        One that waits for a lock notices nothing, until its statement is done.
        """
        session.answered = None
        if session.due:
            self._ghosts.add(session)
            return
        self._free_again(session)
        self.complete()

    def _free_again(self, session: Session) -> None:
        session.reset()
        self._free.append(session)
        self._free.sort(key=lambda each: each.number)

    @property
    def listening(self) -> Sequence[Session]:
        """Those that listen to something."""
        return [each for each in self._all if each.channels]

    def send(self, session: Session, messages: Sequence[Message]) -> None:
        """Send what a client has sent, and wait until nothing goes on by itself."""
        session.send(messages, self._world.wall_clock)
        if session not in self._active:
            self._active.append(session)
        self.complete()

    def complete(self) -> None:
        """Wait until each session has answered, or waits for a lock; tell who has answered."""
        pause = FIRST_PAUSE
        while active := [each for each in self._active if each.due]:
            polled = poll()
            for each in active:
                polled.register(each.fileno, 1)
            all_waited = all(each.waits_for for each in active)
            if ready := {fileno for fileno, _ in polled.poll(0 if all_waited else pause)}:
                for each in active:
                    if each.fileno in ready:
                        each.receive()
            elif self._wait(active):
                break
            else:
                pause = min(pause * 2, LONGEST_PAUSE)
        self._tell()

    def _wait(self, active: Sequence[Session]) -> bool:
        """Tell whether all of these wait for locks."""
        pids = [each.pid for each in active]
        waiting = dict(self._control.execute(WAITING, [pids]).fetchall())
        for each in active:
            each.waits_for = each.waits_for if each.pid in waiting else ""
        if len(waiting) < len(active):
            return False
        for each in active:
            if each.waits_for != waiting[each.pid]:
                each.waits_for = waiting[each.pid]
                self._begins_to_wait(each)
        return True

    def _begins_to_wait(self, session: Session) -> None:
        session.waits += 1
        after, now = self._world.after, session.waits
        after(DEADLOCK_SECONDS, partial(self._look_for_deadlock, session, now))
        if (limit := session.limits["lock_timeout"]) < inf:
            after(limit, partial(self._give_up, session, now, LOCK_TIMEOUT))
        if (limit := session.limits["statement_timeout"]) < inf:
            after(limit, partial(self._give_up_statement, session, session.statements))
        self._world.story.tell("", f"session {session.number} waits for a lock", detail=True)

    def _tell(self) -> None:
        done = [each for each in self._active if not each.due]
        self._active = [each for each in self._active if each.due]
        ghosts = list[Session]()
        for each in sorted(done, key=lambda each: each.number):
            if each.waits_for:
                each.waits += 1
                each.waits_for = ""
            received, each.received = each.received, []
            if each.answered:
                each.answered(received)
            else:
                ghosts.append(each)
        self._settled()
        for each in ghosts:
            self._ghosts.discard(each)
            self._free_again(each)
        if ghosts:
            self.complete()

    def cancel(self, session: Session, refusal: Refusal) -> None:
        """Let the server end what a session waits for, for a reason of the world's own."""
        session.refusal = refusal
        self._control.execute("SELECT pg_cancel_backend(%s)", [session.pid])
        session.waits_for = ""
        self.complete()

    def _give_up(self, session: Session, wait: int, refusal: Refusal) -> None:
        if session.waits_for and session.waits == wait:
            self.cancel(session, refusal)

    def _give_up_statement(self, session: Session, statement: int) -> None:
        if session.waits_for and session.statements == statement:
            self.cancel(session, STATEMENT_TIMEOUT)

    def _look_for_deadlock(self, session: Session, wait: int) -> None:
        """End the wait of a session that waits for itself, by way of others."""
        if not session.waits_for or session.waits != wait:
            return
        pids = [each.pid for each in self._active]
        blocking = dict(self._control.execute(BLOCKING, [pids]).fetchall())
        reached, todo = set[int](), [*blocking[session.pid]]
        while todo:
            if (pid := todo.pop()) not in reached:
                reached.add(pid)
                todo += blocking.get(pid, [])
        if session.pid in reached:
            self._world.story.tell("database", f"ends a deadlock, in session {session.number}")
            self.cancel(session, DEADLOCK)

    def end_world(self) -> None:
        """Be ready for the next world, when all clients have gone."""
        self._settled = lambda: None
        while self._active:
            self.cancel(self._active[0], DEADLOCK)
        for each in self._all:
            if each not in self._free:
                self._free_again(each)
        self._ghosts.clear()
