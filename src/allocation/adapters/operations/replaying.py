"""Owes past events to a handler: to a new one, or once more to one that has done them.

Where a replay is, stands in its row of `replays`, and moves in the transaction that makes
deliveries due. So whoever is killed, repeats it or runs it twice at once: each event is owed at
most once by one replay. The deliveries are like any other then, but wait for all that is not
replayed.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from allocation.adapters.database import Database, Session
from allocation.adapters.operations.batches import Key, in_batches, next_after, page
from allocation.adapters.operations.exceptions import ReplayNotFound, ReplayUnderWay
from allocation.adapters.orm import FINISHED, deliveries, events, replays
from allocation.adapters.outbox import NEXT_TOKEN

_DONE = sa.and_(FINISHED, deliveries.c.seconds.is_not(None))  # not discarded by hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Which past events are to be owed to a handler."""

    handler: str
    known_as: Collection[str]  # its name, and those that it had: what it did then, it has done
    event_types: Sequence[str]  # wire names
    since: float | None = None  # not what is older than so many seconds
    again: bool = False  # what it has done, too, unless a person has discarded it

    @property
    def scope(self) -> str:
        """The options that ask for this replay: what has to be the same to go on with it."""
        types = [f"--event-type {name}" for name in sorted(self.event_types)]
        since = [] if self.since is None else [f"--since {self.since:.0f}s"]
        return " ".join([*types, *since, *["--again"] * self.again])


async def is_under_way(database: Database, replay: Replay) -> bool:
    """Tell whether this replay was begun, and has not come to its end.

    :raises ReplayUnderWay: if one of this handler was that has another scope
    """
    return await _begun(database, replay) is not None


async def count(database: Database, replay: Replay) -> int:
    """Return how many deliveries it would make due if it began, or went on, now.

    :raises ReplayUnderWay: as above
    """
    begun = await _begun(database, replay)
    if begun is None:
        async with database.reading() as session:
            begun = (await session.execute(sa.select(*_start(database, replay)))).one()
    count_page = partial(_count_page, database, replay, begun.until)
    return await in_batches(count_page, (begun.after, begun.after_id), pause=0)


async def run(database: Database, replay: Replay, told: Callable[[int], object]) -> int:
    """Begin a replay, or go on with it, to its end; return how many deliveries are due by it.

    What others make due, who run the same at the same time, is theirs to count. Events that are
    recorded after its begin are no part of it: whoever recorded them knew the handler, or is an
    older process. `told` hears of each batch when it is committed.

    :raises ReplayUnderWay: if one of this handler with another scope has not come to its end
    """
    await _begin(database, replay)
    begun = await _begun(database, replay)
    until = begun and begun.until
    return await in_batches(partial(_owe_page, database, replay, told), until)


async def drop(database: Database, handler: str) -> None:
    """Forget the replay that is under way; what it has made due stays due.

    :raises ReplayNotFound: if there is none
    """
    async with database.writing() as session:
        if not await session.write(sa.delete(replays).where(replays.c.handler == handler)):
            raise ReplayNotFound(handler)
        await session.commit()


async def _begin(database: Database, replay: Replay) -> None:
    begin = sa.insert(replays).values(handler=replay.handler, scope=replay.scope)
    start = {column.name: column.element for column in _start(database, replay)}
    async with database.writing() as session:
        try:
            await session.execute(begin.values(start))
        except IntegrityError:  # it was begun before, or by another process at the same time
            return
        await session.commit()


def _start(database: Database, replay: Replay) -> Sequence[sa.Label[Any]]:
    """Return where a replay begins, and which events are no part of it any more."""
    now = database.clock
    after = sa.literal(0.0) if replay.since is None else now - replay.since
    no_id = sa.literal(UUID(int=0), sa.Uuid())
    return now.label("until"), after.label("after"), no_id.label("after_id")


async def _begun(database: Database, replay: Replay) -> sa.Row[Any] | None:
    async with database.reading() as session:
        of_handler = sa.select(replays).where(replays.c.handler == replay.handler)
        row = (await session.execute(of_handler)).one_or_none()
    if row is not None and row.scope != replay.scope:
        raise ReplayUnderWay(replay.handler, row.scope)
    return row


async def _count_page(
    database: Database, replay: Replay, until: float, after: Key
) -> tuple[int, Key | None]:
    async with database.reading() as session:
        rows = (await session.execute(_page(after, until))).all()
        owed = sa.or_(_never_owed(replay), sa.and_(_done_before(replay), sa.literal(replay.again)))
        found = sa.select(sa.func.count()).where(_wanted(replay, rows), owed)
        number: int = (await session.execute(found)).scalar_one()
    return number, next_after(rows)


async def _owe_page(
    database: Database, replay: Replay, told: Callable[[int], object], until: float
) -> tuple[int, float | None]:
    """Owe the next events, and move the position, or end the replay, in one transaction."""
    async with database.writing() as session:
        begun = await _locked(session, replay, until)
        if begun is None:  # another process has ended it
            return 0, None
        # who forgets events locks them, too, and passes by what is locked
        following = _page((begun.after, begun.after_id), until)
        kept = following.with_for_update(read=True, key_share=True)
        rows = (await session.execute(kept)).all()
        number = await _owe(session, database, replay, rows)
        position = next_after(rows)
        await _move(session, replay, position)
        await session.commit()
    told(number)
    return number, position and until


async def _locked(session: Session, replay: Replay, until: float) -> sa.Row[Any] | None:
    """Return where this replay is; others that run the same wait until the transaction ends."""
    this = replays.c.handler == replay.handler, replays.c.until == until
    locked = sa.select(replays).where(*this).with_for_update()
    return (await session.execute(locked)).one_or_none()


async def _owe(
    session: Session, database: Database, replay: Replay, rows: Sequence[sa.Row[Any]]
) -> int:
    numbers = {"attempts": sa.literal(0), "token": sa.literal(1)}
    fresh = {**numbers, "due_at": database.clock, "replay": sa.true()}
    values = sa.select(events.c.id, sa.literal(replay.handler), *fresh.values())
    never_owed = values.where(_wanted(replay, rows), _never_owed(replay))
    insert = sa.insert(deliveries).from_select(["event_id", "handler", *fresh], never_owed)
    owed = (await session.execute(insert.returning(deliveries.c.event_id))).all()
    number = len(owed)
    if replay.again:
        number += await _owe_again(session, database, replay, rows)
    if number:
        await session.execute_if_needed(database.kind.wake_workers)
    return number


async def _owe_again(
    session: Session, database: Database, replay: Replay, rows: Sequence[sa.Row[Any]]
) -> int:
    these = sa.select(events.c.id).where(_wanted(replay, rows))
    done = deliveries.c.handler.in_(replay.known_as), deliveries.c.event_id.in_(these), _DONE
    nothing = dict.fromkeys(("finished_at", "seconds", "process", "lost_by", "last_error"))
    due = {"attempts": 0, "token": NEXT_TOKEN, "due_at": database.clock, "replay": True}
    return await session.write(sa.update(deliveries).where(*done).values(**nothing, **due))


async def _move(session: Session, replay: Replay, to: Key | None) -> None:
    this = replays.c.handler == replay.handler
    if to is None:
        await session.write(sa.delete(replays).where(this))
    else:
        moved = dict(zip(("after", "after_id"), to, strict=True))
        await session.write(sa.update(replays).where(this).values(**moved))


def _page(after: Key, until: float) -> sa.Select[Any]:
    """Select events of all types, so that a batch has the same size however rare one is."""
    return page(events.c.recorded_at, events.c.id, after).where(events.c.recorded_at <= until)


def _wanted(replay: Replay, rows: Sequence[sa.Row[Any]]) -> sa.ColumnElement[bool]:
    these = events.c.id.in_([row.id for row in rows])
    return sa.and_(these, events.c.type.in_(replay.event_types))


def _never_owed(replay: Replay) -> sa.ColumnElement[bool]:
    return ~_of(replay)


def _done_before(replay: Replay) -> sa.ColumnElement[bool]:
    return _of(replay).where(_DONE)


def _of(replay: Replay) -> sa.Exists:
    its = deliveries.c.event_id == events.c.id, deliveries.c.handler.in_(replay.known_as)
    return sa.exists().where(*its)
