"""Reads what has changed, once for all who look, and only while somebody does.

What is shown is kept as it was when it last changed, with a number that grows with each change.
What a viewer has not seen is whatever has a greater number than the last that he was sent: so
nobody has a queue of his own, however slowly he reads, and who comes back catches up by a number.
"""

import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any
from uuid import UUID

import msgspec
from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, sleep
from anyio.abc import TaskGroup

from allocation.adapters.database import Database, Session
from allocation.adapters.page import owed, stories
from allocation.adapters.page.stories import Progress
from allocation.domain.exceptions import Unavailable
from allocation.entrypoints.page.telling import told
from allocation.entrypoints.running import StopSignal

MAX_STORIES = 1000  # that are kept, and shown: the newest
READ_AT_ONCE = 50
LATE_SECONDS = 10.0  # how long a command may take to commit, and still be found
BUSY_SECONDS, IDLE_SECONDS, AGAIN_SECONDS = 0.25, 0.6, 2.0  # pauses between two looks
LOOKS_UNTIL_ALL = 10  # even stories that are settled can change: by a replay, or by hand
LOOKS_UNTIL_OWED = 3  # what is owed can be that of stories which are not shown

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """Something that is shown, as JSON; when it changed, by the clock of the event loop."""

    version: int
    changed_at: float
    json: bytes


class Reader:
    """What is shown, kept up to date while somebody looks. Its size does not grow with time."""

    def __init__(self, database: Database, stop: StopSignal) -> None:
        self.stories: dict[UUID, Part] = {}
        self.owed = self.trouble = Part(0, 0.0, b"null")
        self.version = 0
        self.name = secrets.token_hex(4)  # numbers of another reader say nothing
        self._database, self._stop = database, stop
        self._times: dict[UUID, float] = {}  # when the last command of each story was accepted
        self._progress: dict[UUID, Progress | None] = {}  # as it was when the story was read
        self._viewers = self._looks = 0
        self.is_running = False
        self._seconds_ahead: float | None = (
            None  # the clock of the database, of that of the event loop
        )
        self._changed, self._pause = Event(), StopSignal()

    @property
    def now(self) -> float | None:
        """The time by the clock of the database, as soon as it has been asked."""
        return None if self._seconds_ahead is None else current_time() + self._seconds_ahead

    @property
    def is_over(self) -> bool:
        """Whether the process is about to stop."""
        return self._stop.is_set

    @contextmanager
    def looked_at(self, group: TaskGroup) -> Iterator[None]:
        """Read for one more viewer; who is the first of them has it begin, in this group."""
        self._viewers += 1
        if not self.is_running:
            self.is_running = True
            group.start_soon(self._run)
        try:
            yield
        finally:
            self._viewers -= 1
            self._pause.wake()

    def look_now(self) -> None:
        """Do not wait for the next look: something has just been changed."""
        self._looks = 0
        self._pause.wake()

    def changed_since(self, version: int) -> list[UUID]:
        """Return the stories that have changed since then, the newest first."""
        found = [id_ for id_, part in self.stories.items() if part.version > version]
        return sorted(found, key=lambda id_: self._times.get(id_, 0.0), reverse=True)

    def seconds_behind(self, version: int) -> float:
        """Return for how long somebody who has seen only this could have seen more."""
        parts = (*self.stories.values(), self.owed, self.trouble)
        times = (part.changed_at for part in parts if part.version > version)
        return max(0.0, current_time() - min(times, default=inf))

    async def wait(self, version: int, *, limit: float) -> None:
        """Return when there is something newer, or when the process is to stop, or in time."""
        with move_on_after(limit):
            while self.version <= version and not self.is_over:
                await self._changed.wait()

    async def _run(self) -> None:
        async with create_task_group() as group:
            group.start_soon(self._end, group.cancel_scope)
            while self._viewers:
                try:
                    async with self._database.listening(self._pause.wake):
                        await self._look_until_nobody_does()
                except Exception as error:  # nothing in the database may end the server
                    unexpected = not isinstance(error, Unavailable)
                    logger.error("%s; the page tries again", error, exc_info=unexpected)
                    self._set_trouble("the log has the reason" if unexpected else str(error))
                    self._tell()
                    await self._pause.sleep(AGAIN_SECONDS)
            group.cancel_scope.cancel()
        self.is_running = False

    async def _end(self, scope: CancelScope) -> None:
        await self._stop.wait()
        self._tell()
        scope.cancel()

    async def _look_until_nobody_does(self) -> None:
        while self._viewers:
            before = self.version
            more = await self._look()
            self._set_trouble(None)
            if self.version != before:
                self._tell()
            if not more:
                await sleep(BUSY_SECONDS)  # whoever calls meanwhile: a few times a second, no more
            if self.version == before:
                await self._pause.sleep(IDLE_SECONDS - BUSY_SECONDS)

    async def _look(self) -> bool:
        """Read what has changed, the newest first; return whether there is more of it."""
        async with self._database.reading() as session:
            if self._looks == 0:
                self._seconds_ahead = await owed.clock(session, self._database) - current_time()
            changed = await self._find_changed(session)
            now = [*changed][:READ_AT_ONCE]
            for story in await stories.stories(self._database, session, now) if now else ():
                self._progress[story.id] = changed[story.id]
                self._set_story(story.id, told(story, self._times[story.id]))
            if now or self._looks % LOOKS_UNTIL_OWED == 0:
                await self._read_owed(session)
        self._looks = (self._looks + 1) % LOOKS_UNTIL_ALL
        return len(changed) > len(now)

    async def _read_owed(self, session: Session) -> None:
        counts = await owed.counts(session, self._database)
        self._set_owed({"counts": counts, "first": await owed.first(session, self._database)})

    async def _find_changed(self, session: Session) -> dict[UUID, Progress | None]:
        """Return the stories that have to be read, the newest first, and how far they are."""
        since = max(self._times.values(), default=LATE_SECONDS) - LATE_SECONDS
        times = self._times | dict(await stories.begun(session, since, MAX_STORIES))
        newest = sorted(times, key=lambda id_: times[id_], reverse=True)[:MAX_STORIES]
        self._times = {id_: times[id_] for id_ in newest}
        for gone in self.stories.keys() - self._times.keys():
            del self.stories[gone], self._progress[gone]
        asked = [id_ for id_ in newest if self._has_to_be_asked_for(id_)]
        found = await stories.progress(session, asked) if asked else {}
        return {
            id_: found.get(id_)
            for id_ in asked
            if id_ not in self.stories or found.get(id_) != self._progress[id_]
        }

    def _has_to_be_asked_for(self, id_: UUID) -> bool:
        known = self._progress.get(id_)
        return self._looks == 0 or id_ not in self.stories or not (known and known.is_settled)

    def _set_story(self, id_: UUID, json: bytes) -> None:
        known = self.stories.get(id_)
        if known is None or known.json != json:
            self.stories[id_] = self._part(json)

    def _set_owed(self, content: dict[str, Sequence[Any]]) -> None:
        if (json := msgspec.json.encode(content)) != self.owed.json:
            self.owed = self._part(json)

    def _set_trouble(self, trouble: str | None) -> None:
        if (json := msgspec.json.encode(trouble)) != self.trouble.json:
            self.trouble = self._part(json)

    def _part(self, json: bytes) -> Part:
        self.version += 1
        return Part(self.version, current_time(), json)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = Event()
