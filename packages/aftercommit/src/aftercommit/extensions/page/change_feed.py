"""Reads what has changed, once for all viewers, and only while somebody watches.

Each fragment is kept as of its last change, with a version that grows with every change. A viewer
is a cursor: the version it has seen. So even a slow viewer needs no queue, and one that comes back
gets what it has missed.
"""

import logging
import re
import secrets
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from math import inf
from typing import Any
from uuid import UUID

import msgspec
from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, sleep
from anyio.abc import TaskGroup

from aftercommit.database.transaction import Transaction
from aftercommit.errors import TransientError
from aftercommit.extensions.operations.trace_queries import Traces
from aftercommit.extensions.page import queries
from aftercommit.extensions.page.queries import Fingerprint, is_settled
from aftercommit.process.application import Application
from aftercommit.process.running_services import Shutdown, Wakeup

MAX_TRACES = 1000  # that are kept and shown: the newest
PIECE = 50  # that are read, or sent, together
MARGIN_SECONDS = 5.0  # more than a handler's time limit, so that late commits are found
BUSY_SECONDS, IDLE_SECONDS, RETRY_SECONDS = 0.25, 0.6, 2.0  # between two polls
WAIT_SECONDS = 5.0  # for which a viewer waits for news
WATCHED_SECONDS = 10.0  # after the last request
POLLS_UNTIL_ALL = 10  # even finished traces can change: by a replay, or by an operator
MAX_BYTES = 65536  # that are kept of a trace
POLLS_UNTIL_BACKLOG = 3  # outstanding deliveries can belong to traces that are not shown

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of the page, as JSON, and when it changed, by the event loop's clock."""

    version: int
    changed_at: float
    json: bytes


class ChangeFeed:
    """The content of the page, kept current while somebody watches. Its size is bounded."""

    def __init__(self, application: Application, stop: Shutdown) -> None:
        self.fragments: dict[UUID | str, Fragment] = {}  # by trace or name; latest change last
        self.is_running = False
        self._version = 0
        self._name = secrets.token_hex(4)
        self._database, self._handlers = application.database, application.handlers
        self._stop, self._limits = stop, application.bus.delivery_store.limits
        self._every = application.every
        self._late = application.bus.policy.handler_timeout_seconds + MARGIN_SECONDS
        self._times: dict[UUID, float] = {}  # when the last command of each trace was accepted
        self._fingerprints: dict[UUID, Fingerprint | None] = {}  # when each was read
        self._long: set[UUID] = set()  # traces of which only the beginning is read
        self._older_exist = False
        self._polls = 0
        self._asked_at = -inf
        self._clock_offset: float | None = None  # of the database's clock, minus the event loop's
        self._changed, self._pause = Event(), Wakeup()

    async def changes(self, group: TaskGroup, after: str) -> bytes:
        """Return what a viewer has not seen: at once, or after a while, even if there is nothing.

        A viewer without a cursor, or with that of another process, gets everything, in pieces. The
        first viewer starts the reader, in the task group.
        """
        found = re.fullmatch(rf"{self._name}\.(\d{{1,15}})", after)
        seen = int(found[1]) if found else 0
        self._asked_at = current_time()
        if not self.is_running:
            self.is_running = True
            group.start_soon(self._run)
        if found:
            await self._wait(seen)
        return self._piece(seen, full=not found)

    def _piece(self, seen: int, *, full: bool) -> bytes:
        unsent = [(key, each) for key, each in self.fragments.items() if each.version > seen]
        piece = unsent[:PIECE]
        offset, now = self._clock_offset, current_time()
        news = {
            "full": full,
            "most": MAX_TRACES,
            "older": self._older_exist,
            "last": len(piece) == len(unsent),
            "behind": now - unsent[0][1].changed_at if seen and unsent else 0.0,
            "now": None if offset is None else now + offset,
            "cursor": f"{self._name}.{piece[-1][1].version if piece else seen}",
            "traces": [msgspec.Raw(each.json) for key, each in piece if isinstance(key, UUID)],
        }
        others = {key: msgspec.Raw(each.json) for key, each in piece if isinstance(key, str)}
        return msgspec.json.encode(news | others)

    async def _wait(self, version: int) -> None:
        with move_on_after(WAIT_SECONDS):
            while self._version <= version and not self._stop.is_set():
                await self._changed.wait()

    @property
    def _is_watched(self) -> bool:
        return current_time() - self._asked_at < WATCHED_SECONDS

    async def _run(self) -> None:
        async with create_task_group() as group:
            group.start_soon(self._end, group.cancel_scope)
            while self._is_watched:
                try:
                    async with self._database.listen(self._pause.wake):
                        await self._poll_while_watched()
                except Exception as error:  # no error of the database may end the server
                    unexpected = not isinstance(error, TransientError)
                    logger.error("%s; the page tries again", error, exc_info=unexpected)
                    self._set("error", "the log has the reason" if unexpected else str(error))
                    self._notify()
                    await self._pause.sleep(RETRY_SECONDS)
            self.is_running = False
            group.cancel_scope.cancel()

    async def _end(self, scope: CancelScope) -> None:
        await self._stop.wait()
        self._notify()
        scope.cancel()

    async def _poll_while_watched(self) -> None:
        while self._is_watched:
            before = self._version
            more = await self._poll()
            self._set("error", None)
            if self._version != before:
                self._notify()
            if not more:
                await sleep(BUSY_SECONDS)  # for all viewers: a few times a second, no more
            if self._version == before:
                await self._pause.sleep(IDLE_SECONDS - BUSY_SECONDS)

    async def _poll(self) -> bool:
        """Read what has changed, newest first; return whether there is more."""
        async with self._database.read_transaction() as transaction:
            await self._find_newest(transaction)
            changed = await self._find_changed(transaction)
            ids = [*changed][:PIECE]
            found = await queries.traces(transaction, self._database, ids) if ids else {}
            for id_, trace in found.items():
                self._fingerprints[id_] = changed[id_]
                self._set(id_, _content(id_, self._times[id_], trace))
                if trace.read_at:
                    self._clock_offset = trace.read_at.timestamp() - current_time()
            if ids or self._polls % POLLS_UNTIL_BACKLOG == 0:
                left = await queries.backlog(
                    transaction, self._database, self._handlers, self._limits, self._every
                )
                self._set("outstanding", left)
        self._polls = (self._polls + 1) % POLLS_UNTIL_ALL
        return len(changed) > len(ids)

    async def _find_newest(self, transaction: Transaction) -> None:
        since = max(self._times.values(), default=self._late) - self._late
        times = self._times | dict(await queries.recent(transaction, since, MAX_TRACES + 1))
        newest = sorted(times, key=lambda id_: times[id_], reverse=True)[:MAX_TRACES]
        self._older_exist |= len(times) > MAX_TRACES
        for gone in self._fingerprints.keys() - newest:
            del self.fragments[gone], self._fingerprints[gone]
        self._times = {id_: times[id_] for id_ in newest}

    async def _find_changed(self, transaction: Transaction) -> Mapping[UUID, Fingerprint | None]:
        """Return the traces that have to be read, newest first, with their fingerprints."""
        known = self._fingerprints
        asked = [i for i in self._times if self._polls == 0 or not is_settled(known.get(i))]
        self._long.intersection_update(known)
        short = [id_ for id_ in asked if id_ not in self._long]
        found = {**await queries.fingerprints(transaction, self._database, short)}
        self._long.update(id_ for id_, sums in found.items() if sums.rows > queries.TRACE_ROWS)
        for id_ in [i for i in asked if i in self._long]:
            beginning = await queries.fingerprint_of_beginning(transaction, self._database, id_)
            if beginning:
                found[id_] = beginning
        return {i: found.get(i) for i in asked if i not in known or found.get(i) != known[i]}

    def _set(self, key: UUID | str, content: Any) -> None:
        json, known = msgspec.json.encode(content), self.fragments.get(key)
        if known is None or known.json != json:
            self.fragments.pop(key, None)
            self._version += 1
            self.fragments[key] = Fragment(self._version, current_time(), json)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = Event()


def _content(id_: UUID, at: float, trace: Traces) -> dict[str, Any]:
    """Return what is sent of a trace; if it is very long, the beginning and a note."""
    shown = (replace(node, failures=()) for node in trace.nodes)  # its history contains them
    nodes = [msgspec.Raw(msgspec.json.encode(node)) for node in shown]
    count = bisect([*accumulate(map(len, nodes))], MAX_BYTES)
    more = count < len(nodes) or not trace.is_whole
    return {"id": id_, "at": at, "more": more, "nodes": nodes[:count]}
