"""New events, stored with a delivery for each of their handlers. Nothing else stores them.

Events come from two places. A unit of work is short, and has locked the lanes of its events. A
session of the application may take long, and locks other rows after it has recorded something. So
for a session nothing is claimed, and neither pauses nor lanes are locked where others can write at
the same time. Claims leave out paused deliveries; `outbox/lanes_at_commit.py` locks lanes right
before the COMMIT.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningInsert

from aftercommit.claims import Claim, CommandWork, NewDelivery
from aftercommit.database.backend import DatabaseBackend
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries import states
from aftercommit.deliveries.ends import ClaimKey
from aftercommit.deliveries.pauses import pause_of
from aftercommit.deliveries.tables import deliveries, events

ROWS_TOGETHER = 100  # of one INSERT: each has subqueries, and SQLite compares them with each other

_EVENT = sa.bindparam("of_event", type_=sa.Uuid)
FORGET = [
    sa.delete(deliveries).where(deliveries.c.event_id == _EVENT),
    sa.delete(events).where(events.c.id == _EVENT),
]

Row = dict[str, Any]
WriteAtOnce = Callable[
    [Transaction, Sequence[Row], Sequence[Row], Claim | None, CommandWork | None], Awaitable[None]
]
"""Writes events, deliveries without lanes, the end of a delivery and a command, or raises."""


class FirstAttempts(NamedTuple):
    """The committing process makes first attempts, in a lease; some handlers are excluded."""

    claimed: Row  # the values of a claimed delivery's row
    lease_seconds: float
    leased_at: float  # by the event loop's clock, and not after the database's
    not_to: Collection[str]  # they are paused, or have a limit, which only claims respect


class Stored(NamedTuple):
    """What can be done with new deliveries."""

    claims: Sequence[Claim] = ()
    firsts: Sequence[ClaimKey] = ()  # of the lanes: nothing blocks these, and nobody claims them
    unplaced: Collection[str] = ()  # lanes in which rows wait for their places


def rows_of(
    new: Sequence[NewDelivery], first_attempts: FirstAttempts | None
) -> tuple[list[Row], list[Row], list[Claim]]:
    """Decide what is claimed here and what is left to workers, however it is stored.

    Return the rows of new deliveries, those of deliveries in lanes, and the claims.
    """
    rows, in_lanes, lanes, claims = list[Row](), list[Row](), set[str](), list[Claim]()
    for envelope, handler, delay, lane, within in new:
        row: Row = {"event_id": envelope.id, "handler": handler, "subscriber": handler}
        row["schema_version"] = envelope.schema_version
        row["given_up_after"] = None if within is None else delay + within
        if lane:
            row |= {"lane": lane, "in_lane": lane, "of_event": envelope.id}
            in_lanes.append(row | {"is_behind": lane in lanes})
            lanes.add(lane)
        elif first_attempts is None or delay or handler in first_attempts.not_to:
            rows.append(row | {"attempts": 0, "owner": None, "seconds": delay})
        else:
            claimed, seconds, leased_at, _ = first_attempts
            row |= {"seconds": seconds, "subscriber": ""}  # a pause does not extend the lease
            rows.append(row | claimed)
            claim = Claim(envelope=envelope, handler=handler, attempt=1, leased_at=leased_at)
            claims.append(claim)
    return rows, in_lanes, claims


class NewEvents:
    """Stores new events. Statements are built once, since that costs as much as sending them.

    They differ between units of work and the application's sessions, `in_sessions`.
    """

    def __init__(
        self,
        backend: DatabaseBackend | type[DatabaseBackend],
        now: sa.ColumnElement[float],
        *,
        in_sessions: bool,
    ) -> None:
        self._due = now if in_sessions else now + pause_of(sa.bindparam("subscriber"))
        self._places_wait = in_sessions and backend.lock_lanes is not None
        later = self._due + sa.bindparam("seconds", type_=sa.Double)
        self._insert_events = sa.insert(events).values(recorded_at=now, **backend.position)
        self._end = now + sa.bindparam("given_up_after", type_=sa.Double)
        self._insert_deliveries = sa.insert(deliveries).values(self._new(later))

    def _new(self, due: sa.ColumnElement[float], **place: object) -> Row:
        return states.new(due, give_up_at=self._end, **place)

    def store(
        self,
        connection: sa.Connection,
        rows: Sequence[Row],
        new: Sequence[NewDelivery],
        first_attempts: FirstAttempts | None = None,
    ) -> Stored:
        """Insert events, as the codec has written them, with their deliveries.

        A delivery is due at once, or when its delay is over. With `first_attempts`, due deliveries
        are claimed, unless they are in a lane, or their handler is paused or limited. If one
        delivery cannot be stored, no row remains: a caller that catches the error may commit.
        """
        connection.execute(self._insert_events, rows)
        try:
            return self._store_deliveries(connection, new, first_attempts)
        except Exception:
            with suppress(Exception):  # on PostgreSQL, nothing can be committed after this
                for statement in FORGET:
                    connection.execute(statement, [{"of_event": row["id"]} for row in rows])
            raise

    def _store_deliveries(
        self,
        connection: sa.Connection,
        new: Sequence[NewDelivery],
        first_attempts: FirstAttempts | None,
    ) -> Stored:
        rows, in_lanes, claims = rows_of(new, first_attempts)
        if rows:
            connection.execute(self._insert_deliveries, rows)
        if not in_lanes:
            return Stored(claims)
        lanes = {row["lane"] for row in in_lanes}
        if self._places_wait:
            connection.execute(self._insert_unplaced, in_lanes)
            return Stored(claims, unplaced=lanes)
        found = connection.execute(self._insert_in_lanes, in_lanes)
        firsts = [ClaimKey(row.event_id, row.handler, 1) for row in found if not row.blocked]
        return Stored(claims, firsts)

    @cached_property  # built, like the next one, if there are ordered handlers
    def _insert_unplaced(self) -> sa.Insert:
        """The statement for lanes that are not locked yet: none of their deliveries may begin."""
        return sa.insert(deliveries).values(self._new(self._due, blocked=True))

    @cached_property
    def _insert_in_lanes(self) -> ReturningInsert[Any]:
        """The statement for lanes that nobody else changes now; it returns the blocked rows.

        `is_behind` says whether an earlier row of its lane is stored with the same statement.
        """
        row, earlier = deliveries.c, deliveries.alias()
        last = sa.select(sa.func.max(earlier.c.position)).where(
            earlier.c.lane == sa.bindparam("in_lane"), earlier.c.completed_at.is_(None)
        )
        of_event = sa.select(events.c.position).where(events.c.id == _EVENT)
        is_behind = sa.bindparam("is_behind", type_=sa.Boolean)
        blocked = sa.or_(is_behind, last.scalar_subquery().is_not(None))
        place = {"position": of_event.scalar_subquery(), "blocked": blocked}
        stored = sa.insert(deliveries).values(self._new(self._due, **place))
        stored = stored.returning(row.event_id, row.handler, row.blocked)
        return stored.execution_options(insertmanyvalues_page_size=ROWS_TOGETHER)
